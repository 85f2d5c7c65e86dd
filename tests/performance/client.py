"""What the client holds and how exact it is: one process on one core against an exact server on another.

Run by hand: `python tests/performance/client.py` (two cores and a C compiler; prints figures, asserts none).
Everything is on: records go to a journal, the server's metrics are scraped, progress is drawn. The true TTFT and ITL
are the server's own: it prints how late it was itself. Tokens/s held is all output tokens over the time from the
first request sent to the last byte received; nothing is trimmed.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import resource
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from giq.catalog.use_cases import Lengths
from giq.curve.requests import Record, Requests
from giq.load.client import Hooks, LoadJob, LoadResult, Progress, run, run_load
from giq.load.endpoint import Endpoint
from giq.store.journal import Journal, ServerJournal
from giq.workload.schedule import make_schedule
from giq.workload.workload import ClosedLoad, Load, OpenLoad, Stop, Workload

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parents[1]))

from tests.load.jobs import identity  # noqa: E402 - found by the path set above

INPUT_TOKENS = 64


@dataclass(frozen=True)
class Case:
    """One load against a server that sends the first token after `first_ms` and the others `gap_ms` apart."""

    name: str
    load: Load
    stop: Stop
    output_tokens: int
    first_ms: float
    gap_ms: float


def streams(concurrency: int, seconds: float) -> Case:
    """So many streams of 200 tokens, 2.04 s each."""
    requests = concurrency * max(1, round(seconds / 2.04))
    return Case(f"{concurrency} streams", ClosedLoad(concurrency=concurrency), Stop(requests=requests), 200, 50, 10)


def cases(seconds: float) -> list[Case]:
    """The table's rows."""
    return [
        *(streams(concurrency, seconds) for concurrency in (100, 500, 1000)),
        Case("short replies, 200 in flight", ClosedLoad(concurrency=200), Stop(duration_s=seconds), 8, 0, 0),
        Case("short replies, 3000/s", OpenLoad(rate_rps=3000), Stop(duration_s=seconds), 8, 5, 1),
    ]


def build(folder: Path) -> Path:
    """The exact server, compiled."""
    compiler = shutil.which("cc")
    if compiler is None:
        raise SystemExit("The exact server is written in C: install a compiler (cc).")
    program = folder / "exact_server"
    subprocess.run([compiler, "-O2", "-o", program, HERE / "exact_server.c"], check=True)
    return program


@contextlib.contextmanager
def server(program: Path, case: Case, core: int, told: dict[str, Any]) -> Iterator[str]:
    """The exact server on its core; what it says of its own lateness goes into *told*."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    process = subprocess.Popen([program, str(port), str(case.first_ms), str(case.gap_ms)], stdout=subprocess.PIPE)
    os.sched_setaffinity(process.pid, {core})
    time.sleep(0.2)
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        told.update(json.loads(process.communicate()[0]))


class Columns:
    """Records as they come: to the journal, and the few numbers that the table needs."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self.ttft_ns: list[int] = []
        self.gaps_ns: list[np.ndarray[Any, np.dtype[np.int64]]] = []
        self.first_sent_ns, self.last_received_ns, self.tokens, self.failed = 2**63, 0, 0, 0

    def append(self, records: list[Record]) -> None:
        """Take a batch."""
        self._journal.append(records)
        if not records:
            return
        batch = Requests.of(records)
        good = batch.ok
        self.failed += int(np.sum(~good))
        self.ttft_ns += (batch.first_token_ns - batch.sent_ns)[good].tolist()
        self.gaps_ns.append(batch.gaps_ns)
        self.tokens += int(np.sum(batch.output_tokens[good]))
        self.first_sent_ns = min(self.first_sent_ns, int(np.min(batch.sent_ns)))
        self.last_received_ns = max(self.last_received_ns, int(np.max(batch.end_ns)))


def measure(case: Case, url: str, folder: Path) -> tuple[Columns, LoadResult]:
    """Hold the case's load."""
    workload = Workload(
        input_tokens=Lengths(mean=INPUT_TOKENS), output_tokens=Lengths(mean=case.output_tokens)
    )  # fmt: skip
    schedule = make_schedule(workload, case.load, case.stop, 1)
    job = LoadJob(
        endpoint=Endpoint(url), identity=identity(model="exact"), schedule=schedule, seed=1,
        nonce=1, point_number=1, point_id="p001", run_id="benchmark",
    )  # fmt: skip

    def draw(progress: Progress) -> None:
        print(f"\r{progress.elapsed_s:5.1f} s  {progress.output_tps:9,.0f} tokens/s ", end="", file=sys.stderr)

    journal, samples = Journal(folder / "requests"), ServerJournal(folder / "server")
    columns = Columns(journal)
    result = run(run_load(job, Hooks(records=columns.append, samples=samples.append, progress=draw)))
    journal.close()
    samples.close()
    return columns, result


def row(case: Case, program: Path, cores: Sequence[int]) -> str:
    """One row of the table."""
    told: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as folder, server(program, case, cores[1], told) as url:
        columns, result = measure(case, url, Path(folder))
    seconds = (columns.last_received_ns - columns.first_sent_ns) / 1e9
    ttft = np.quantile(np.array(columns.ttft_ns) / 1e6, [0.5, 0.99])
    gaps = np.quantile(np.concatenate(columns.gaps_ns) / 1e6, 0.99)
    late = result.lateness
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return (
        f"| {case.name} | {columns.tokens / seconds:,.0f} | {len(columns.ttft_ns) / seconds:,.0f} "
        f"| {ttft[0]:.1f} / {ttft[1]:.1f} | {gaps:.1f} | {late.schedule_delay_p99_s * 1e3:.2f} "
        f"| {late.cpu_share:.0%} | {memory:.0f} | {told['late_p50_ms']} / {told['late_p99_ms']} "
        f"| {' '.join(result.flags) or '–'}{f', {columns.failed} failed' if columns.failed else ''} |"
    )


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--seconds", type=float, default=12.0, help="length of each case")
    parser.add_argument("--case", default="", help="only cases with this in their name")
    asked = parser.parse_args()
    cores = sorted(os.sched_getaffinity(0))
    if len(cores) < 2:
        raise SystemExit("Two cores are needed: one for the client, one for the server.")
    os.sched_setaffinity(0, {cores[0]})
    print("| case | tokens/s | requests/s | TTFT p50 / p99 ms | ITL p99 ms | schedule delay p99 ms | CPU | MB "
          "| server late p50 / p99 ms | flags |")  # fmt: skip
    print("|---|---|---|---|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        program = build(Path(folder))
        for case in cases(asked.seconds):
            if asked.case in case.name:
                print("\r" + row(case, program, cores), flush=True)


if __name__ == "__main__":
    main()
