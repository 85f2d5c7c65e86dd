"""What is measured: announced, detected or declared, never assumed."""

from __future__ import annotations

import dataclasses

import pytest

from giq.catalog import load_catalog
from giq.errors import UsageError
from giq.load.identity import ServerIdentity
from giq.profiling.configuration import find_shape, identify
from giq.profiling.hardware import Hardware, Parallel
from giq.profiling.options import AcceleratorRequest, Declared, parse_accelerator

CATALOG = load_catalog()
L4 = Hardware("nvidia-l4", 2, "NVIDIA L4, driver 570", Parallel())


def identity(model: str = "meta-llama/Meta-Llama-3-8B-Instruct") -> ServerIdentity:
    """A real vLLM that serves *model*."""
    return ServerIdentity(
        server="vllm", version="0.24.0", models=(model,), model=model, max_model_len=4096, simulated=None,
        metrics=True, rtt_s=0.001, alphabet=None, accepts_token_ids=True, busy=0.0,
    )  # fmt: skip


def test_a_local_server_has_the_hardware_of_this_machine() -> None:
    """Model and version come from the server, the accelerator from the machine; precision stays unknown."""
    found = identify(Declared(), identity(), L4, CATALOG)

    main = found.config.main
    assert (main.model, main.server_version, main.accelerator) == ("llama-3-8b", "0.24.0", "nvidia-l4")
    assert (found.evidence, found.hardware_source) == ("measured", "detected")
    assert main.precision == "unknown"
    assert main.engine_args == {"max_model_len": 4096}


def test_elsewhere_the_hardware_is_what_was_declared() -> None:
    """Where the machine cannot be seen the declared accelerator stands, marked as declared."""
    declared = Declared(accelerator=parse_accelerator("l4:4"), precision="bf16")

    found = identify(declared, identity(), None, CATALOG)

    main = found.config.main
    assert found.hardware_source == "declared"
    assert (main.accelerator, main.accelerators_per_host, main.tp) == ("nvidia-l4", 4, 4)
    assert main.machine_type is None, "not declared"
    named = Declared(accelerator=parse_accelerator("l4"), machine_type="g2-standard-48")
    assert identify(named, identity(), None, CATALOG).config.main.machine_type == "g2-standard-48"


def test_nothing_known_is_unknown() -> None:
    """Without detection and declaration the accelerator is unknown, not assumed."""
    assert identify(Declared(), identity(), None, CATALOG).config.main.accelerator == "unknown"


@pytest.mark.parametrize("accelerator", ["h100", "cpu", "l4:4"])
def test_a_declaration_that_contradicts_the_machine_is_an_error(accelerator: str) -> None:
    """Another accelerator than the detected one, or more of them than there are, is refused with both values."""
    with pytest.raises(UsageError, match="contradicts"):
        identify(Declared(accelerator=parse_accelerator(accelerator)), identity(), L4, CATALOG)


def test_the_command_line_tells_how_many_serve() -> None:
    """Accelerators and parallelism are those of the server's command line, not one and not all of the machine."""
    eight = Hardware("nvidia-h100-80gb", 8, "H100", Parallel(tp=2, pp=2))

    main = identify(Declared(), identity(), eight, CATALOG).config.main

    assert (main.accelerators_per_host, main.tp, main.pp) == (4, 2, 2)
    for declared in (Declared(tensor_parallel_size=4), Declared(accelerator=parse_accelerator("h100:8"))):
        with pytest.raises(UsageError, match="contradicts"):
            identify(declared, identity(), eight, CATALOG)


def test_how_many_serve_is_never_guessed() -> None:
    """With several accelerators and nothing told the user has to say; one accelerator is one."""
    untold = Hardware("nvidia-l4", 4, "L4")

    with pytest.raises(UsageError, match="how many") as refused:
        identify(Declared(), identity(), untold, CATALOG)
    assert "--tensor-parallel-size" in (refused.value.hint or "")
    said = identify(Declared(tensor_parallel_size=2), identity(), untold, CATALOG).config.main
    counted = identify(Declared(accelerator=parse_accelerator("l4:4")), identity(), untold, CATALOG).config.main
    single = identify(Declared(), identity(), Hardware("nvidia-l4", 1, "L4"), CATALOG).config.main
    assert [(main.accelerators_per_host, main.tp) for main in (said, counted, single)] == [(2, 2), (4, 4), (1, 1)]


def test_a_cpu_is_one_accelerator() -> None:
    """The CPU counts as one, however many ranks share it."""
    main = identify(Declared(), identity(), Hardware("cpu", 1, "2 cores", Parallel(tp=2)), CATALOG).config.main

    assert (main.accelerators_per_host, main.tp) == (1, 2)


def test_the_context_is_recorded_only_where_it_is_not_the_models_own() -> None:
    """The model's own context is the default; another one, or any of an unknown model, is an engine argument."""
    own = dataclasses.replace(identity(), max_model_len=CATALOG.model("llama-3-8b").max_context)

    assert identify(Declared(), own, None, CATALOG).config.main.engine_args == {}
    assert identify(Declared(), identity("acme/tiny"), None, CATALOG).config.main.engine_args["max_model_len"] == 4096
    with pytest.raises(UsageError, match="contradicts"):
        identify(Declared(engine_args={"max_model_len": 512}), identity(), None, CATALOG)


def test_a_model_outside_the_catalog_keeps_its_name() -> None:
    """Any served name is measured, without catalog facts."""
    found = identify(Declared(), identity("acme/tiny"), None, CATALOG)

    assert found.config.main.model == "acme/tiny"
    assert found.model is None


def simulated() -> ServerIdentity:
    """A simulated engine of one L4."""
    component = {"model": "llama-3-8b", "accelerator": "nvidia-l4", "precision": "bf16"}
    announced = {"config": {"components": [component | {"engine_args": {"max_num_seqs": 64}}]}}
    return dataclasses.replace(identity("llama-3-8b"), simulated=announced)


def test_the_engines_announcement_is_the_configuration() -> None:
    """What the simulated engine announces is taken whole; the points are estimated; the same declared is no error."""
    same = Declared(
        model="llama-3-8b", accelerator=parse_accelerator("l4:1"), precision="bf16", tensor_parallel_size=1,
        engine_args={"max_num_seqs": 64},
    )  # fmt: skip

    found = identify(Declared(), simulated(), None, CATALOG)

    assert (found.evidence, found.hardware_source) == ("estimated", "simulated")
    assert identify(same, simulated(), None, CATALOG).config == found.config


@pytest.mark.parametrize(
    "declared",
    [
        Declared(accelerator=parse_accelerator("h100")),
        Declared(accelerator=parse_accelerator("l4:2")),
        Declared(accelerator=parse_accelerator("l4:1x1")),
        Declared(model="llama-3.1-8b"),
        Declared(precision="fp8"),
        Declared(tensor_parallel_size=2),
        Declared(engine_args={"max_num_seqs": 65}),
    ],
)
def test_a_declaration_that_contradicts_the_announcement_is_an_error(declared: Declared) -> None:
    """Anything declared of a simulated engine must be what it announces."""
    with pytest.raises(UsageError, match="contradicts"):
        identify(declared, simulated(), None, CATALOG)


def test_a_shape_is_found_by_count_topology_or_machine() -> None:
    """Counts, topologies and machine types name a shape; what does not exist is refused with what does."""
    l4, v6e = CATALOG.accelerator("l4"), CATALOG.accelerator("v6e")

    by_count = find_shape(l4, AcceleratorRequest(name="l4", count=8), None)
    by_topology = find_shape(v6e, AcceleratorRequest(name="v6e", topology="2x4"), None)

    assert by_count is not None
    assert by_count.machine_type == "g2-standard-96"
    assert by_topology is not None
    assert by_topology.accelerators * by_topology.hosts == 8
    assert find_shape(l4, AcceleratorRequest(name="l4"), None) is None
    with pytest.raises(UsageError, match="does not come as 3"):
        find_shape(l4, AcceleratorRequest(name="l4", count=3), None)
