"""What a run is gone on with: what was asked for, which points are whole, and whose clock counts."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from giq import documents
from giq.catalog.use_cases import Lengths
from giq.cli.profile import profile
from giq.cli.resuming import FREE, MEANT
from giq.curve.targets import Target
from giq.errors import DataError, IncompatibleError, UsageError
from giq.profiling.clock import this_worker
from giq.profiling.configuration import Measured
from giq.profiling.options import AcceleratorRequest, Declared, ProfileOptions
from giq.profiling.resumption import (
    Asked,
    find_run,
    next_number,
    refuse_other_server,
    refuse_other_wishes,
    resumed_clock,
    whole_points,
)
from giq.store.run import create_run
from giq.store.run_manifest import RunManifest, Server, read_manifest
from giq.workload.workload import Arrival, ClosedLoad, OpenLoad, Stop, Workload
from tests.load.jobs import identity
from tests.store.examples import manifest, point

WORKLOAD = Workload(
    input_tokens=Lengths(distribution="uniform", mean=20.0, minimum=10, maximum=30),
    output_tokens=Lengths(mean=5.0), arrival=Arrival(law="gamma", shape=2.0),
)  # fmt: skip


def asked(**changes: Any) -> Asked:
    """A profile that was asked for in many words."""
    options = ProfileOptions(
        declared=Declared(
            model="llama-3-8b", accelerator=AcceleratorRequest(name="nvidia-l4", count=2), engine_args={"a": 1.5}
        ),
        workload=WORKLOAD, targets=(Target(metric="ttft", seconds=0.3),),
        loads=(ClosedLoad(concurrency=2), OpenLoad(rate_rps=1.5)), stop=Stop(requests=50, duration_s=30.0), seed=7,
        request_timeout_s=60.0, shared=True,
    )  # fmt: skip
    return Asked(source="launch", api="chat", python="/usr/bin/python3", options=documents.replace(options, **changes))


def kept(what: Asked, **fields: Any) -> RunManifest:
    """The run.json of a run of *what*."""
    options = what.options
    return manifest(
        workload=options.workload, seed=options.seed, loads=options.loads, targets=options.targets, asked=what.kept(),
        **fields,
    )  # fmt: skip


def test_what_was_asked_for_comes_back_from_run_json(tmp_path: Path) -> None:
    """Every option, the server's source and API are read as they were, from the file alone."""
    run = create_run(tmp_path, kept(asked()))
    run.finish("interrupted")

    assert Asked.of(read_manifest(run.path), run.path) == asked()


def test_defaults_are_spelled_out() -> None:
    """A default that a later giq changes does not change an old run; what run.json has anyway is not there twice."""
    spelled = set(asked().kept()["options"])

    assert spelled == set(ProfileOptions.__struct_fields__) - {"workload", "seed", "loads", "targets"}


def test_a_run_of_an_earlier_giq_is_not_guessed_at(tmp_path: Path) -> None:
    """A run.json that does not hold what was asked for is refused with its folder."""
    with pytest.raises(DataError, match="earlier giq"):
        Asked.of(manifest(), tmp_path)


@pytest.mark.parametrize(
    ("changes", "path", "words"),
    [
        ({"seed": 8}, "options.seed", "seed is 7 there, and 8"),
        ({"loads": ()}, "options.loads", "loads is 2 in flight, 1.5 req/s there, and not given"),
        (
            {"workload": documents.replace(WORKLOAD, arrival=Arrival())},
            "options.workload.arrival",
            "workload.arrival.law is gamma there, and poisson",
        ),
        (
            {"declared": Declared(model="gemma")},
            "options.declared.model",
            "model is llama-3-8b there, and gemma",
        ),
    ],
)
def test_a_wish_that_differs_is_named_with_both_values(changes: dict[str, Any], path: str, words: str) -> None:
    """What is given and differs is refused; what differs and is not given is no wish."""
    with pytest.raises(UsageError, match=words):
        refuse_other_wishes(asked(), asked(**changes), [path])
    refuse_other_wishes(asked(), asked(**changes), ["source", "options.stop"])


def test_every_option_of_the_command_is_thought_of() -> None:
    """Each option of `giq profile` may either be given anew, or decides fields that exist."""
    import inspect

    names = set(inspect.signature(profile).parameters) - {"context"}

    assert names == FREE | set(MEANT)
    for fields in MEANT.values():
        refuse_other_wishes(asked(), asked(), fields)


def measured(**config: Any) -> Measured:
    """What answers now: the configuration of the example run, changed."""
    main = documents.replace(manifest().config.main, **config)
    return Measured(documents.replace(manifest().config, components=(main,)), "measured", "declared", None, None, None)


def test_the_same_server_is_recognised() -> None:
    """Same name, version, model and configuration: nothing is refused."""
    server = Server(name="vllm", version="0.32.0")
    refuse_other_server(manifest(server=server), identity(), measured())


@pytest.mark.parametrize(
    ("server", "config", "field"),
    [
        ({"name": "unknown"}, {}, "server.name"),
        ({"version": "0.31.0"}, {}, "server.version"),
        ({}, {"model": "another"}, "model"),
        ({"simulated": {"config": {}}}, {}, "server.simulated"),
        ({}, {"accelerators_per_host": 8}, r"config.components\[0\].accelerators_per_host"),
    ],
)
def test_another_server_is_refused(server: dict[str, Any], config: dict[str, Any], field: str) -> None:
    """Whatever differs is named with both values."""
    known = Server(**{"name": "vllm", "version": "0.32.0"} | server)
    with pytest.raises(IncompatibleError, match=field):
        refuse_other_server(manifest(server=known), identity(), measured(**config))


def test_points_that_tell_nothing_are_measured_again() -> None:
    """Cut-off points, those without an answer, one with errors just before such, and foreign traffic are not whole."""
    points = [
        point("p001"),
        point("p002"),
        point("p003", flags=("ERRORS",), error_share=0.4),
        point("p004", flags=("ERRORS",), error_share=1.0),
        point("p005", flags=("ERRORS",), error_share=0.2),
        point("p006"),
        point("p007", flags=("FOREIGN_TRAFFIC",)),
    ]

    assert [one.point_id for one in whole_points(points, ["p002"], False)] == ["p001", "p005", "p006"]
    assert [one.point_id for one in whole_points(points, [], True)][-1] == "p007"


@settings(deadline=None)  # on a busy machine a call may wait
@given(st.sets(st.integers(1, 1200)))
def test_a_new_number_is_above_all_others(numbers: set[int]) -> None:
    """No point ever gets a number that has records; the first of a run is 1."""
    found = next_number([f"p{number:03d}" for number in numbers] + ["other"])

    assert found == max(numbers, default=0) + 1


def test_on_the_same_boot_the_zero_is_the_same_although_the_clock_was_set() -> None:
    """The monotonic reading counts, and no entry is added."""
    worker = documents.replace(this_worker(123), zero_unix_ns=5)
    known = manifest(workers=(worker,))

    assert resumed_clock(known) == (123, (worker,))


def test_after_a_reboot_times_go_on_on_the_same_axis() -> None:
    """The zero keeps its Unix time, though this boot's clock was not running then, and the new boot is noted."""
    zero_unix_ns = time.time_ns() - 10**18
    before = documents.replace(this_worker(0), boot_id="another", zero_unix_ns=zero_unix_ns)
    zero_ns, workers = resumed_clock(manifest(workers=(before, documents.replace(before, worker_id=1))))

    assert zero_ns < 0
    assert abs(time.monotonic_ns() - zero_ns - 10**18) < 10**10
    assert [worker.worker_id for worker in workers] == [0, 1, 0, 1]
    assert all(abs(worker.zero_unix_ns - zero_unix_ns) < 10**9 for worker in workers)


def test_runs_are_found_by_id_folder_or_as_the_latest(tmp_path: Path) -> None:
    """The latest is the one begun last; an id may stand with or without its prefix; others are refused with a list."""
    older, newer = (create_run(tmp_path, manifest(name)) for name in ("20260101T000000Z-aa", "20260201T000000Z-bb"))
    for run in (older, newer):
        run.finish("interrupted")

    assert find_run(tmp_path, "latest") == newer.path
    assert find_run(tmp_path, "20260101T000000Z-aa") == find_run(tmp_path, "run=20260101T000000Z-aa") == older.path
    assert find_run(Path("elsewhere"), str(older.path)) == older.path
    with pytest.raises(UsageError, match="no run nonsense"):
        find_run(tmp_path, "nonsense")
    with pytest.raises(UsageError, match="no run to go on with"):
        find_run(tmp_path / "empty", "latest")
