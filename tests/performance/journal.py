"""What recording costs: journals at 5,000 records a second, saving a point, reading a large file.

Run by hand: `python tests/performance/journal.py`. Prints figures, asserts none.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from giq.catalog.configuration import Component, ServingConfiguration
from giq.catalog.use_cases import Lengths
from giq.curve.point import Point, Provenance
from giq.curve.requests import Record
from giq.store.database import read_requests
from giq.store.journal import Journal
from giq.store.run import Run, create_run
from giq.store.run_manifest import Host, RunManifest, Server
from giq.workload.workload import Workload

RATE = 5_000
SECONDS = 5
RUN_ID = "measured-by-hand"


def records(point_id: str, count: int, gaps: int) -> list[Record]:
    """*count* successful requests, each with *gaps* token gaps around 20 ms."""
    drawn = np.random.default_rng(1).normal(2e7, 2e6, (500, gaps)).astype(np.int64).tolist()
    return [
        Record(
            run_id=RUN_ID, point_id=point_id, request_id=number, scheduled_ns=number * 200_000,
            sent_ns=number * 200_000 + 5, first_token_ns=number * 200_000 + 10**8, outcome="ok",
            last_token_ns=number * 200_000 + 10**9, end_ns=number * 200_000 + 10**9, http_status=200,
            requested_input_tokens=512, requested_output_tokens=gaps + 1, input_tokens=512, output_tokens=gaps + 1,
            token_gaps_ns=drawn[number % 500], chunk_tokens=[1] * (gaps + 1), 
        )
        for number in range(count)
    ]  # fmt: skip


@contextmanager
def timed(what: str, per: float = 1.0, unit: str = "s") -> Iterator[None]:
    """Print what the block took of one core, divided by *per*."""
    cpu, wall = time.process_time(), time.perf_counter()
    yield
    cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
    print(f"{what:<62} {cpu / per:8.3f} {unit} CPU, {wall / per:8.3f} {unit} wall")


def journal(folder: Path, gaps: int) -> None:
    """Append records as a client does, twenty at a time, and tell the share of a core that it takes."""
    rows = records("p", RATE * SECONDS, gaps)
    written = Journal(folder / f"{gaps}.arrows")
    with timed(f"journal, {RATE} records/s of {gaps} gaps: share of a core", SECONDS, "s/s"):
        for start in range(0, len(rows), 20):
            written.append(rows[start : start + 20])
        written.close()
    print(f"{'':<8}{written.path.stat().st_size / SECONDS / 1e6:.1f} MB/s on disk")


def new_run(folder: Path) -> Run:
    """A run with nothing in it."""
    lengths = Lengths(mean=512.0)
    config = ServingConfiguration(components=(Component(model="m", accelerator="a"),))
    return create_run(
        folder,
        RunManifest(
            run_id=RUN_ID, created_at="2026-01-01T00:00:00Z", giq_version="0", config=config, seed=1, nonce=1,
            workload=Workload(input_tokens=lengths, output_tokens=lengths), hardware_source="declared",
            host=Host(cores=1, python="", os=""), server=Server(name="none", version="0"),
        ),
    )  # fmt: skip


def point(point_id: str) -> Point:
    """A point of which only the name matters."""
    rests_on = Provenance(evidence="measured", hardware_source="declared", source="giq", giq_version="0")
    return Point(
        point_id=point_id, run_id=RUN_ID, provenance=rests_on, load_kind="open", offered_rps=1.0, achieved_rps=1.0,
        in_flight_mean=1.0, error_share=0.0, window_s=1.0, n_requests=1, input_tokens_mean=1.0, input_tps=1.0,
        output_tokens_mean=1.0, output_tps=1.0, total_tps=2.0, accelerator_seconds=1.0,
    )  # fmt: skip


def points(folder: Path) -> None:
    """Save five points of 20,000 requests, then read one of them, and 100,000 requests of another run."""
    run = new_run(folder / "small")
    for number in range(5):
        name = f"p{number}"
        with_journal(run, name, 20_000, 128)
        with timed(f"save point {number + 1} of 20,000 requests with 128 gaps"):
            run.finish_point(point(name), np.ones(20_000, dtype=np.int8))
    print(f"{'':<8}{(run.path / 'requests.parquet').stat().st_size / 1e6:.0f} MB of requests")
    with timed("read one of the five points"):
        read_requests(run.path, "p2")

    large = new_run(folder / "large")
    with_journal(large, "p", 100_000, 128)
    with timed("save one point of 100,000 requests with 128 gaps"):
        large.finish_point(point("p"))
    with timed("read its 100,000 requests"):
        read_requests(large.path, "p")


def with_journal(run: Run, point_id: str, count: int, gaps: int) -> None:
    """Journal the records of one point."""
    written = run.journal(point_id)
    written.append(records(point_id, count, gaps))
    written.close()


if __name__ == "__main__":
    with TemporaryDirectory() as name:
        for size in (0, 50, 200, 400):
            journal(Path(name), size)
        points(Path(name))
