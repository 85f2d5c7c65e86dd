"""What a second worker costs: CPU-seconds of the client per million tokens, with 1 and 2 workers on the same work.

Run by hand: `python tests/performance/workers.py` (two cores and a C compiler; prints figures, asserts only that the
merged records are the schedule, none lost and none twice). The exact server has the last core; the workers have the
others, so on two cores they share one. Records go to journals, metrics are scraped, progress is drawn.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from giq.catalog.use_cases import Lengths
from giq.load.client import run
from giq.load.job import Hooks, LoadJob, LoadResult, Progress
from giq.load.workers import run_workers
from giq.store.columns import records_of
from giq.store.journal import Journal
from giq.store.run_tables import REQUEST_TABLE, journal_path, rows
from giq.workload.schedule import Schedule, make_schedule
from giq.workload.workload import ClosedLoad, Stop, Workload

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parents[1]))

from tests.load.jobs import job  # noqa: E402 - found by the path set above
from tests.performance.exact_server import ExactServer, Timing, build, running  # noqa: E402

TOKENS, FIRST_MS, GAP_MS = 200, 50, 10
POINT_ID = "p001"


def journal(folder: Path, worker_id: int) -> Journal:
    """A worker's record file."""
    path = journal_path(folder, REQUEST_TABLE, POINT_ID, worker_id)
    path.parent.mkdir(exist_ok=True)
    return Journal(path)


@dataclass(frozen=True)
class Measured:
    """One run: tokens, and seconds of CPU.

    Those of the workers while they sent, of their parent meanwhile (0: it is the only worker), and of starting and
    ending all of it.
    """

    workers: int
    tokens: int
    worker_cpu_s: float
    parent_cpu_s: float
    other_cpu_s: float
    tokens_per_s: float
    result: LoadResult

    @property
    def per_million(self) -> float:
        """CPU-seconds while sending, per million tokens."""
        return (self.worker_cpu_s + self.parent_cpu_s) / self.tokens * 1e6


def schedule(streams: int, seconds: float) -> Schedule:
    """Streams of 200 tokens, 2.04 s each."""
    workload = Workload(input_tokens=Lengths(mean=64), output_tokens=Lengths(mean=TOKENS))
    turns = max(2, round(seconds / 2.04))
    return make_schedule(workload, ClosedLoad(concurrency=streams), Stop(requests=streams * turns), 1)


def hold(asked: LoadJob, workers: int, folder: Path) -> Measured:
    """Hold the load with so many workers, and check that every request of it was recorded once."""

    def draw(progress: Progress) -> None:
        print(f"\r{progress.elapsed_s:5.1f} s  {progress.output_tps:9,.0f} tokens/s ", end="", file=sys.stderr)

    before, began = os.times(), time.process_time()
    result = run(run_workers(asked, Hooks(progress=draw), workers, partial(journal, folder)))
    own_s, after = time.process_time() - began, os.times()
    children_s = after.children_user + after.children_system - before.children_user - before.children_system
    elapsed_s = (result.ended_ns - result.started_ns) / 1e9
    sending_s = result.lateness.cpu_share * workers * elapsed_s
    records = records_of(rows(folder, REQUEST_TABLE, POINT_ID))
    ids = sorted(record.request_id for record in records)
    if ids != list(range(len(asked.schedule))):
        raise SystemExit(f"{workers} workers: the records are not the schedule: {len(ids)} of {len(asked.schedule)}")
    if any(record.worker_id != record.request_id % workers for record in records):
        raise SystemExit(f"{workers} workers: a request was sent by another worker than its own")
    last = max(record.end_ns or 0 for record in records)
    held = result.output_tokens / (last - min(record.sent_ns for record in records)) * 1e9
    parent_s = own_s if workers > 1 else 0.0
    other_s = own_s + children_s - sending_s - parent_s
    return Measured(workers, result.output_tokens, sending_s, parent_s, other_s, held, result)


def row(found: Measured, server: ExactServer, alone: Measured) -> str:
    """One row of the table."""
    late = found.result.lateness
    more = found.per_million / alone.per_million - 1
    return (
        f"| {found.workers} | {found.tokens_per_s:,.0f} | {found.per_million:.2f} | {more:+.1%} "
        f"| {found.worker_cpu_s:.2f} + {found.parent_cpu_s:.2f} + {found.other_cpu_s:.2f} "
        f"| {late.loop_lag.p99 * 1e3:.1f} | {server.lateness['late_p99_ms']} | {' '.join(found.result.flags) or '–'} |"
    )


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--streams", type=int, default=500)
    parser.add_argument("--seconds", type=float, default=12.0, help="length of each run")
    parser.add_argument("--rounds", type=int, default=2, help="1 and 2 workers by turns, so often")
    parser.add_argument("--workers", type=int, default=2, help="compared with one")
    asked = parser.parse_args()
    cores = sorted(os.sched_getaffinity(0))
    if len(cores) < 2:
        raise SystemExit("Two cores are needed: one for the client, one for the server.")
    os.sched_setaffinity(0, cores[:-1])
    print("| workers | tokens/s held | CPU-s per 1M tokens | against one | workers + parent + start CPU-s "
          "| loop lag p99 ms | server late p99 ms | flags |\n|---|---|---|---|---|---|---|---|")  # fmt: skip
    ratios = []
    with tempfile.TemporaryDirectory() as folder:
        program = build(Path(folder))
        for number in range(asked.rounds):
            alone: Measured | None = None
            for workers in (1, asked.workers):
                place = Path(folder) / f"{number}-{workers}"
                place.mkdir()
                with running(program, Timing(FIRST_MS, GAP_MS), cores[-1], place) as server:
                    found = hold(job(server.url, schedule(asked.streams, asked.seconds)), workers, place)
                alone = alone or found
                print("\r" + row(found, server, alone), flush=True)
                if found is not alone:
                    ratios.append(found.per_million / alone.per_million - 1)
    print(
        f"\n{asked.workers} workers use {np.median(ratios):+.1%} CPU per token against one (median of {len(ratios)})."
    )


if __name__ == "__main__":
    main()
