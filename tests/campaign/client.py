"""giq's own error at the highest load that a machine's cores can carry: `python -m tests.campaign.client`.

The installed client with everything on (journals, decoding, the server's metrics) holds streams of 200 tokens, one
every 10 ms after 50 ms, against exact servers (tests/performance/exact_server.c) that share one port. A quarter of the
cores are the servers', all others have one worker each; so true TTFT and ITL are known, and how late the servers
themselves were is told beside.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import resource
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from giq.profiling.server_process import free_port
from giq.store.parquet import write_bytes
from giq.store.run import open_run
from giq.units import parse_duration
from tests.performance.exact_server import build, wait_for
from tests.performance.figures import Cell, Figures, streams
from tests.performance.giq_command import figures_of


@dataclass(frozen=True)
class Cores:
    """Which cores the servers have, and which the workers: one each."""

    servers: tuple[int, ...]
    workers: tuple[int, ...]

    @classmethod
    def shared_out(cls, cores: Sequence[int]) -> Cores:
        """A quarter of *cores* for servers, at least one; the others for workers.

        Raises:
            SystemExit: there are fewer than two.
        """
        if len(cores) < 2:
            raise SystemExit("Two cores are needed: one for the client, one for the server.")
        count = max(1, len(cores) // 4)
        return cls(tuple(cores[-count:]), tuple(cores[:-count]))


@contextlib.contextmanager
def exact_servers(program: Path, cell: Cell, cores: Sequence[int], folder: Path) -> Iterator[tuple[str, list[Any]]]:
    """One exact server on each of *cores*, all on one port; the URL, and a list that gets their lateness in the end."""
    port, lateness = free_port(), list[Any]()
    processes = []
    for number, core in enumerate(cores):
        command = [program, port, cell.first_ms, cell.gap_ms, folder / f"answers-{number}.log"]
        processes.append(subprocess.Popen(list(map(str, command)), stdout=subprocess.PIPE))
        os.sched_setaffinity(processes[-1].pid, {core})
    try:
        wait_for(port)
        yield f"http://127.0.0.1:{port}", lateness
    finally:
        for process in processes:
            process.terminate()
        lateness += [json.loads(process.communicate()[0]) for process in processes]


def measured(cores: Cores, streams_per_worker: int, hold_s: float) -> dict[str, Any]:
    """What the client held and how far its times were off, as plain values."""
    cell = streams(streams_per_worker * len(cores.workers))
    waves = max(2, round(hold_s / cell.request_s))
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        program = build(folder)
        with exact_servers(program, cell, cores.servers, folder) as (url, lateness):
            found, error_s = _profiled(cell, url, waves, cores, folder)
    return document(cell, found, lateness, cores) | {"client_error_ms": None if error_s is None else error_s * 1e3}


def _profiled(cell: Cell, url: str, waves: int, cores: Cores, folder: Path) -> tuple[Figures, float | None]:
    """One `giq profile` on the workers' cores; the figures of all its requests, and its own bound of its error (s)."""
    command = [
        sys.executable, "-m", "giq", "profile", "--endpoint", url, "--concurrency", str(cell.streams),
        "--requests", str(waves * cell.streams), "--input-tokens", str(cell.input_tokens),
        "--output-tokens", str(cell.output_tokens), "--workers", str(len(cores.workers)),
        "--results-dir", str(folder / "results"),
    ]  # fmt: skip
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, timeout=300,
        env=os.environ | {"GIQ_HOME": str(folder / "home")},
        preexec_fn=lambda: os.sched_setaffinity(0, cores.workers),
    )  # fmt: skip
    if done.returncode:
        raise SystemExit(f"giq profile failed: {done.stderr.strip()[-600:]}")
    (path,) = (folder / "results").glob("run=*")
    saved = open_run(path)
    (point,) = saved.points()
    return figures_of(cell, saved.requests(point.point_id), point), point.client_error_s


def document(cell: Cell, found: Figures, lateness: Sequence[dict[str, float]], cores: Cores) -> dict[str, Any]:
    """The figures as plain values, in the units that their names say.

    Of several servers on one port only one answers for its counters, so that they cannot agree with the client's.
    """
    expected = "COUNTERS_DISAGREE" if len(cores.servers) > 1 else None
    return {
        "cores": len(cores.servers) + len(cores.workers),
        "workers": len(cores.workers),
        "exact_servers": len(cores.servers),
        "streams": cell.streams,
        "requests": found.requests,
        "failed": found.failed,
        "held_tokens_per_s": found.tokens_per_s,
        "ideal_tokens_per_s": cell.streams * cell.output_tokens / cell.request_s,
        "ttft_p50_error_ms": found.ttft_p50_ms - cell.first_ms,
        "ttft_p99_error_ms": found.ttft_p99_ms - cell.first_ms,
        "itl_p99_error_ms": None if found.itl_p99_ms is None else found.itl_p99_ms - cell.gap_ms,
        "server_late_p50_ms": max(one["late_p50_ms"] for one in lateness),
        "server_late_p99_ms": max(one["late_p99_ms"] for one in lateness),
        "flags": [flag for flag in found.extra["flags"] if flag != expected],
    }


def main(arguments: Sequence[str]) -> None:
    """Measure, print and write."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # the servers are ended on the way out
    parser = argparse.ArgumentParser(prog="python -m tests.campaign.client", description=__doc__.splitlines()[0])
    parser.add_argument("--streams-per-worker", type=int, default=300)
    parser.add_argument("--hold", default="20s", help="how long the load is held, about")
    parser.add_argument("--to", type=Path, help="write the figures into this JSON file too")
    asked = parser.parse_args(arguments)
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))  # each stream has a connection
    cores = Cores.shared_out(sorted(os.sched_getaffinity(0)))
    found = measured(cores, asked.streams_per_worker, parse_duration(asked.hold))
    text = json.dumps(found, indent=1)
    print(text)
    if asked.to is not None:
        write_bytes(asked.to, text.encode() + b"\n")


if __name__ == "__main__":
    main(sys.argv[1:])
