"""The memory of `giq profile` over a million requests, to the end: `python -m tests.performance.memory`.

The whole way is measured: sending, the journal, its compaction to Parquet, the summary, the table. Prints the resident
memory every few seconds and its peak, and asserts nothing.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from tests.performance.exact_server import Timing, build, cores, running
from tests.performance.figures import Cell
from tests.performance.giq_command import profile

WANTED_MB = 400


def main(arguments: Sequence[str]) -> None:
    """Print what was measured."""
    parser = argparse.ArgumentParser(prog="python -m tests.performance.memory")
    parser.add_argument("--requests", type=int, default=1_000_000)
    parser.add_argument("--output-tokens", type=int, default=8)
    parser.add_argument("--every", type=float, default=5.0, metavar="SECONDS", help="how often memory is printed")
    asked = parser.parse_args(arguments)
    client_core, server_core = cores()
    os.sched_setaffinity(0, {server_core})  # this process only waits
    cell = Cell("short", output_tokens=asked.output_tokens, first_ms=0, gap_ms=0, streams=200, input_tokens=8)
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        with running(build(folder), Timing(0, 0), server_core, folder) as server:
            stop = ("--requests", str(asked.requests))
            ended, found, _ = profile(cell, server.url, client_core, folder, stop, limit_s=900)
    print(f"{found.requests:,} requests of {asked.output_tokens} tokens, {found.failed} failed, "
          f"{found.requests_per_s:,.0f} requests/s; {ended.wall_s:.0f} s in all, CPU {ended.cpu_s:.0f} s")  # fmt: skip
    due = 0.0
    for seconds, resident in ended.memory:
        if seconds >= due:
            print(f"{seconds:7.1f} s {resident / 1e6:6.0f} MB")
            due = seconds + asked.every
    print(f"peak {ended.peak_bytes / 1e6:.0f} MB (wanted: at most {WANTED_MB})")


if __name__ == "__main__":
    main(sys.argv[1:])
