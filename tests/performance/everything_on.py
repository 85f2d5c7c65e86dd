"""What the installed `giq profile` holds with everything on: `python -m tests.performance.everything_on`.

Recording, decoding, the server's metrics and the live display are on, and one client process has one core; the exact
server has another. Prints figures beside what issue 3 asks for, and asserts none.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.performance.exact_server import ExactServer, Timing, build, cores, running
from tests.performance.figures import SHORT, Cell, Figures, streams
from tests.performance.giq_command import profile
from tests.performance.pinned import Ended

OPEN = Cell("open loop 3000/s", output_tokens=8, first_ms=5, gap_ms=1, rate_rps=3000)


@dataclass(frozen=True)
class Wanted:
    """One figure and its bound: at least, or with `most` at most; None where nothing is asked."""

    name: str
    value: float
    unit: str
    least: float | None = None
    most: float | None = None

    def __str__(self) -> str:
        bound = f"≥ {self.least:,g}" if self.least is not None else f"≤ {self.most:,g}" if self.most is not None else ""
        missed = (self.least is not None and self.value < self.least) or (
            self.most is not None and self.value > self.most
        )
        verdict = "" if not bound else "missed" if missed else "held"
        return f"| {self.name} | {self.value:,.4g} {self.unit} | {bound} | {verdict} |"


def wanted(cell: Cell, found: Figures) -> list[Wanted]:
    """The figures of *cell* beside issue 3's bounds; TTFT as its error against the server's own."""
    p50, p99 = found.ttft_p50_ms - cell.first_ms, found.ttft_p99_ms - cell.first_ms
    gaps = found.itl_p99_ms or 0.0
    if cell is SHORT:
        return [Wanted("requests/s", found.requests_per_s, "req/s", least=5000)]
    if cell is OPEN:
        return [
            Wanted("rate error", found.extra["rate_error"] * 100, "%", most=0.1),
            Wanted("schedule delay p99", found.extra["schedule_delay_p99_ms"], "ms", most=2),
        ]
    bounds: dict[int, tuple[float | None, ...]] = {500: (48_000, 6, 15, 15), 1000: (94_000, 15, None, None)}
    least, error, tail, gap = bounds.get(cell.streams, (None, None, None, None))
    return [
        Wanted("tokens/s held", found.tokens_per_s, "tok/s", least=least),
        Wanted("TTFT p50 error", p50, "ms", most=error),
        Wanted("TTFT p99 error", p99, "ms", most=tail),
        Wanted("ITL p99", gaps, "ms", most=gap),
    ]


def told(cell: Cell, found: Figures, ended: Ended, server: ExactServer) -> str:
    """One case as text."""
    lines = [
        f"\n{cell.name}: {found.requests:,} requests, {found.failed} failed, flags {found.extra['flags'] or 'none'}",
        f"(server late p50 {server.lateness['late_p50_ms']} / p99 {server.lateness['late_p99_ms']} ms; "
        f"client {ended.cpu_s:.1f} s of CPU, peak {ended.peak_bytes / 1e6:.0f} MB)",
        "\n| figure | measured | wanted | |",
        "|---|---|---|---|",
    ]
    return "\n".join([*lines, *map(str, wanted(cell, found))])


def main(arguments: Sequence[str]) -> None:
    """Print all cases, or some."""
    cells = {"100": streams(100), "500": streams(500), "1000": streams(1000), "short": SHORT, "open": OPEN}
    parser = argparse.ArgumentParser(prog="python -m tests.performance.everything_on")
    parser.add_argument("--cases", default=",".join(cells), help=f"some of {','.join(cells)}")
    parser.add_argument("--seconds", type=float, default=20.0, help="load per case, about")
    asked = parser.parse_args(arguments)
    client_core, server_core = cores()
    os.sched_setaffinity(0, {server_core})  # this process only waits
    for name in asked.cases.split(","):
        cell = cells[name]
        waves = max(2, round(asked.seconds / cell.request_s)) if cell.request_s > 1 else 0
        stop = ("--requests", str(waves * cell.streams)) if waves else ("--duration", f"{asked.seconds:g}s")
        with tempfile.TemporaryDirectory() as scratch:
            folder = Path(scratch)
            timing = Timing(cell.first_ms, cell.gap_ms)
            with running(build(folder), timing, server_core, folder) as server:
                ended, found, _ = profile(cell, server.url, client_core, folder, stop, limit_s=180)
        print(told(cell, found, ended, server), flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
