"""The spec: defaults, what overrides them, and what is refused in plain words."""

from __future__ import annotations

from typing import Any

import pytest

from giq.catalog import Component, EngineValue, ServingConfiguration, load_catalog
from giq.documents import replace
from giq.engine.calibration import GPU_PRIOR
from giq.engine.spec import EngineSpec
from giq.errors import UnknownNameError, UsageError
from tests.engine.engines import CATALOG, config, engine, unit


def test_defaults_are_those_of_the_server_on_that_accelerator() -> None:
    """Without arguments the large GPU takes larger steps than the small one."""
    big, small = engine(accelerator="big"), engine(accelerator="small")
    assert (big.max_num_batched_tokens, big.max_num_seqs) == (8192, 1024)
    assert (small.max_num_batched_tokens, small.max_num_seqs) == (2048, 256)
    assert big.layout.block_size == 16
    assert big.server_version == "0.32.0"


def test_engine_arguments_override_defaults() -> None:
    """Each argument given takes effect, numbers as text too."""
    spec = engine(max_num_seqs=7, max_num_batched_tokens="512", max_model_len=2048, block_size=32)
    assert (spec.max_num_seqs, spec.max_num_batched_tokens, spec.max_model_len) == (7, 512, 2048)
    assert spec.layout.block_size == 32


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"max_num_seqs": 0}, "max_num_seqs"),
        ({"max_num_seqs": "many"}, "whole number"),
        ({"max_num_seqs": 2.5}, "whole number"),
        ({"gpu_memory_utilization": 1.5}, "no share of 1"),
        ({"max_num_batched_tokens": 64, "max_num_seqs": 128}, "below max_num_seqs"),
        ({"kv_cache_dtype": "int3"}, "kv_cache_dtype"),
    ],
)
def test_senseless_arguments_are_refused(arguments: dict[str, EngineValue], words: str) -> None:
    """An argument that no server would start with is a usage error that names it."""
    component = Component(model="dense-8b", accelerator="big", server="vllm", engine_args=arguments)
    with pytest.raises(UsageError, match=words):
        EngineSpec.of(ServingConfiguration(components=(component,)), CATALOG)


def test_a_cpu_is_refused_in_plain_words() -> None:
    """The engine knows GPUs and TPUs; the message says so and what to do instead."""
    with pytest.raises(UsageError, match="is a CPU") as caught:
        engine("dense-8b", "general")
    assert "giq profile" in str(caught.value)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"dp": 2}, "data parallel 2 needs 2 accelerators"),
        ({"ep": 2}, "expert parallel 2 is neither"),
        ({"accelerators_per_host": 2, "tp": 2, "ep": 2}, "has no experts"),
        ({"engine_args": {"data_parallel_size": 2}}, "contradicts the configuration's dp"),
        ({"accelerators_per_host": 64, "pp": 64}, "64 pipeline stages"),
        ({"tp": 4}, "needs 4 accelerators"),
        ({"tp": 3, "accelerators_per_host": 3}, "cannot be split over 3 ranks"),
        ({"precision": "int3"}, "unknown precision"),
    ],
)
def test_what_is_not_simulated_is_refused(changes: dict[str, object], words: str) -> None:
    """Nothing is predicted wrongly in silence."""
    component = replace(Component(model="dense-8b", accelerator="big", server="vllm"), **changes)
    with pytest.raises(UsageError, match=words):
        EngineSpec.of(ServingConfiguration(components=(component,)), CATALOG)


@pytest.mark.parametrize("roles", [("prefill",), ("both", "both"), ("prefill", "prefill"), ("image", "both")])
def test_other_components_than_prefill_and_decode_are_refused(roles: tuple[str, ...]) -> None:
    """Nothing else is simulated, and it says so."""
    parts = tuple(replace(Component(model="dense-8b", accelerator="big"), role=role) for role in roles)
    with pytest.raises(UsageError, match="does not model components with the roles"):
        EngineSpec.of(ServingConfiguration(components=parts), CATALOG)


@pytest.mark.parametrize(
    ("shared", "words"),
    [
        ({"kv_offload": "cpu"}, "KV offloading"),
        ({"router": "prefix-aware"}, "router 'prefix-aware'"),
        ({"speculative": "eagle"}, "from its acceptance rate"),
        ({"speculative": "tokens=3,acceptance=1.5"}, "from its acceptance rate"),
        ({"speculative": "tokens=3,acceptance=0.5,size=2"}, "from its acceptance rate"),
    ],
)
def test_what_a_unit_shares_is_simulated_or_refused(shared: dict[str, Any], words: str) -> None:
    """What is not modelled, or not told, is a usage error that names it."""
    parts = (Component(model="dense-8b", accelerator="big"),)
    with pytest.raises(UsageError, match=words):
        EngineSpec.of(ServingConfiguration(components=parts, **shared), CATALOG)


def test_a_cpu_is_simulated_once_it_is_calibrated() -> None:
    """With a calibration its memory and speed are the catalog's, and blocks those it was told to use."""
    spec = EngineSpec.of(config("dense-8b", "general", num_gpu_blocks_override=500), CATALOG, GPU_PRIOR)
    assert spec.hardware.kind == "cpu"
    assert spec.memory.kv_blocks == 500
    assert spec.max_model_len == 500 * 16


def test_experts_are_spread_over_all_data_parallel_ranks() -> None:
    """Each rank of a mixture holds a part of the experts, of a dense model everything."""
    mixture = [unit(model="mixture-20b", dp=ranks, accelerators_per_host=ranks) for ranks in (1, 4)]
    dense = [unit(dp=ranks, accelerators_per_host=ranks) for ranks in (1, 4)]
    assert mixture[1].memory.weights_bytes < 0.5 * mixture[0].memory.weights_bytes
    assert dense[1].memory.weights_bytes == dense[0].memory.weights_bytes


def test_an_unknown_name_gets_the_nearest() -> None:
    """A model that the catalog lacks is an error with known names."""
    with pytest.raises(UnknownNameError):
        engine("dance-8b")


def test_precision_chooses_weights_and_peak() -> None:
    """Weights in 8 bits are smaller and multiplied twice as fast; the model's first precision is the default."""
    specs = {
        precision: EngineSpec.of(
            ServingConfiguration(components=(Component(model="dense-8b", accelerator="big", precision=precision),)),
            CATALOG,
        )
        for precision in ("unknown", "bf16", "fp8")
    }
    assert specs["unknown"].precision == "bf16"
    assert specs["fp8"].weights_bytes < 0.6 * specs["bf16"].weights_bytes
    assert specs["fp8"].hardware.matrix_flops == 2 * specs["bf16"].hardware.matrix_flops


def test_every_pair_that_ships_fits_or_is_refused_with_a_reason() -> None:
    """For each model and shape of the shipped catalog there is an engine or a usage error."""
    shipped = load_catalog()
    fitting = 0
    for model in shipped.models:
        for accelerator in shipped.accelerators:
            for shape in accelerator.shapes:
                component = Component(
                    model=model.name,
                    accelerator=accelerator.name,
                    accelerators_per_host=shape.accelerators,
                    hosts=shape.hosts,
                    tp=shape.accelerators * shape.hosts,
                )
                reason = ""
                try:
                    spec = EngineSpec.of(ServingConfiguration(components=(component,)), shipped)
                except UsageError as error:
                    reason = str(error)
                if reason:
                    assert "GB weights" in reason or "cannot be split" in reason or "is a CPU" in reason
                    continue
                fitting += 1
                assert spec.memory.kv_blocks > 0
                assert spec.layout.blocks(spec.max_model_len) <= spec.memory.kv_blocks
    assert fitting > 100
