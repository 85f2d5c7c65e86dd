"""What is remembered of the client, for how long and of what; which loads it is calibrated at; how many workers."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from giq.curve.client_error import ClientCalibration
from giq.documents import replace
from giq.load.client import run
from giq.profiling.client_calibration import Cores, Rung
from giq.profiling.known_client import (
    LADDER,
    LASTS_S,
    SEARCHED,
    Memory,
    Remembered,
    known_client,
    machine_id,
    rungs_for,
    workers_for,
)
from giq.workload.workload import ClosedLoad, Load, OpenLoad
from tests.curve.test_client_error import error

TINY = Rung(streams=2, output_tokens=8, first_s=0.01, gap_s=0.002, turns=2)
LOADS = st.one_of(
    st.integers(1, 5000).map(lambda count: ClosedLoad(concurrency=count)),
    st.floats(0.1, 5000).map(lambda rate: OpenLoad(rate_rps=rate)),
)


class Clock:
    """Unix seconds that only a test moves."""

    def __init__(self) -> None:
        self.now = 1_800_000_000.0

    def __call__(self) -> float:
        """The time."""
        return self.now


def remembered(memory: Memory, rung: Rung = TINY, workers: int = 1) -> None:
    """Put something known into memory, as of now."""
    memory.add(
        [
            Remembered(
                machine=machine_id(), workers=workers, own_core=Cores.here(workers).server is not None, rung=rung,
                at_unix_s=memory.clock(), error=error(0.123),
            )
        ]
    )  # fmt: skip


def test_what_is_remembered_is_not_measured_again_for_a_day(tmp_path: Path) -> None:
    """Within 24 h the same error is given and said to be cached; after that it is measured anew."""
    clock = Clock()
    memory = Memory(tmp_path, clock)
    remembered(memory)
    clock.now += LASTS_S - 1
    kept = run(known_client([TINY], 1, memory))
    clock.now += 1
    anew = run(known_client([TINY], 1, memory))

    assert (kept.cached, kept.errors[0].worst_s) == (True, 0.123)
    assert not anew.cached
    assert anew.errors[0].streams == 2
    assert anew.errors[0].measured_at != kept.errors[0].measured_at


def test_another_load_or_number_of_workers_is_another_matter(tmp_path: Path) -> None:
    """Only what was measured with as many workers at the same load is remembered; the rest is measured and added."""
    memory = Memory(tmp_path, Clock())
    remembered(memory, workers=2)
    other = replace(TINY, output_tokens=9)
    remembered(memory, rung=other)
    found = run(known_client([TINY, other], 1, memory))
    assert not found.cached
    assert found.errors[0].output_tokens == 8
    assert found.errors[1].worst_s == 0.123


def test_another_machine_is_measured_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another CPU or another Python, uvloop or giq is another machine."""
    memory = Memory(tmp_path, Clock())
    remembered(memory)
    before = machine_id()
    monkeypatch.setattr("giq.profiling.known_client.__version__", "99")
    assert machine_id() != before
    assert not run(known_client([TINY], 1, memory)).cached


@pytest.mark.parametrize("content", [b"", b"{", b"[1]", b'[{"machine": 3}]', b"\xff"])
def test_a_damaged_memory_is_none(tmp_path: Path, content: bytes) -> None:
    """It is as if the file were not there, and the next calibration replaces it."""
    memory = Memory(tmp_path, Clock())
    memory.path.write_bytes(content)
    assert memory.all() == []
    remembered(memory)
    assert len(memory.all()) == 1


def test_a_memory_that_cannot_be_written_is_no_matter(tmp_path: Path) -> None:
    """Without a place for it everything is measured each time; nothing fails."""
    (tmp_path / "file").write_text("")
    memory = Memory(tmp_path / "file", Clock())
    remembered(memory)
    assert memory.all() == []


def test_a_clock_that_went_back_is_not_believed(tmp_path: Path) -> None:
    """What was measured in the future is measured again."""
    clock = Clock()
    memory = Memory(tmp_path, clock)
    remembered(memory)
    clock.now -= 10
    assert memory.all() == []


def test_a_search_is_calibrated_up_to_a_thousand_streams() -> None:
    """Without explicit loads: few streams, short replies, many streams; each load once."""
    assert rungs_for([], 100) == SEARCHED
    assert {rung.streams for rung in SEARCHED} == {64, 256, 1024}
    assert rungs_for([ClosedLoad(concurrency=8), ClosedLoad(concurrency=9)], 100) == (LADDER[1],)


@given(st.lists(LOADS, min_size=1, max_size=5), st.floats(1, 4000))
def test_every_explicit_load_has_a_load_that_is_no_less(loads: list[Load], tokens: float) -> None:
    """The streams of every closed loop up to 8192 are covered, rungs come once and in order of size."""
    rungs = rungs_for(loads, tokens)
    assert len(set(rungs)) == len(rungs) <= len(loads)
    assert list(rungs) == sorted(rungs, key=lambda rung: rung.tokens_per_s)
    for load in loads:
        if isinstance(load, ClosedLoad):
            assert any(rung.streams >= load.concurrency for rung in rungs)


def client(cpu_share: float) -> ClientCalibration:
    """A worker that used so much of its core for 5,800 tokens/s."""
    return ClientCalibration(errors=(error(cpu_share=cpu_share),), workers=1, cores=8, cached=False)


@pytest.mark.parametrize(
    ("load", "cores", "local", "workers"),
    [
        (ClosedLoad(concurrency=58), 8, True, 1),
        (ClosedLoad(concurrency=580), 8, True, 4),
        (ClosedLoad(concurrency=5800), 8, True, 7),
        (ClosedLoad(concurrency=5800), 8, False, 8),
        (ClosedLoad(concurrency=5800), 2, True, 1),
        (ClosedLoad(concurrency=5800), 1, True, 1),
        (OpenLoad(rate_rps=1), 8, True, 1),
    ],
)
def test_as_many_workers_as_the_load_needs_and_the_machine_has(
    load: Load, cores: int, local: bool, workers: int
) -> None:
    """One per 60 % of a core that the load takes; a server on this machine keeps a core."""
    assert workers_for(load, 100, client(0.2), cores, local) == workers


def test_what_was_not_calibrated_gets_one_worker() -> None:
    """Nothing is known to need help then."""
    assert workers_for(ClosedLoad(concurrency=5000), 100, None, 64, local=False) == 1


@given(LOADS, st.floats(0, 1), st.integers(1, 64), st.booleans())
def test_there_is_always_a_worker_and_never_more_than_cores(load: Load, share: float, cores: int, local: bool) -> None:
    """Whatever the load: at least one, at most one per core."""
    assert 1 <= workers_for(load, 100, client(share), cores, local) <= cores
