"""Measures installed load tools side by side on the same work: `python -m tests.performance.rivals`.

Client and all its children on one core, an exact server on another. The requests are the same for all: prompts of 64
tokens, streamed completions, closed loop. tests/performance/README.md says how each tool's own records are read.
"""

from __future__ import annotations

import argparse
import dataclasses
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from tests.performance.exact_server import Timing, build, cores, running
from tests.performance.figures import SHORT, Cell, Figures, streams
from tests.performance.giq_command import profile
from tests.performance.pinned import run
from tests.performance.rivals.aiperf import AIPERF
from tests.performance.rivals.guidellm import GUIDELLM
from tests.performance.rivals.inference_perf import INFERENCE_PERF
from tests.performance.rivals.rival import Rival, Work
from tests.performance.rivals.table import HEAD, Row, save
from tests.performance.rivals.tokenizer import tokenizer_folder
from tests.performance.rivals.vllm_bench import VLLM

RIVALS = (VLLM, AIPERF, GUIDELLM, INFERENCE_PERF)
GIQ_TOKENS_PER_S, GIQ_SHORT_RPS = 1e9, 10_000.0
LIMIT_S = 180.0
"""A tool that takes longer over one cell is stopped."""


@dataclass(frozen=True)
class Bench:
    """Where the measuring is done."""

    program: Path
    client_core: int
    server_core: int
    seconds: float

    def requests(self, cell: Cell, tokens_per_s: float, short_rps: float) -> int:
        """How many requests keep a tool of such speed busy for about as long as was asked, at least two waves."""
        if cell is SHORT:
            return round(self.seconds * short_rps)
        ideal_rps = cell.streams / cell.request_s
        rps = min(ideal_rps, tokens_per_s / cell.output_tokens)
        waves = max(2, round(self.seconds * rps / cell.streams))
        return waves * cell.streams

    def measure(self, cell: Cell, client: Callable[[str, Path], Figures]) -> Figures:
        """What *client* (of the server's URL and a folder) measures, and how late the server was by its own account."""
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            with running(self.program, Timing(cell.first_ms, cell.gap_ms), self.server_core, folder) as server:
                found = client(server.url, folder)
            extra = {**found.extra, "server_late_p99_ms": server.lateness["late_p99_ms"]}
            return dataclasses.replace(found, extra=extra)


def rival_client(bench: Bench, cell: Cell, rival: Rival, tokenizer: Path) -> Callable[[str, Path], Figures]:
    """A rival, as `Bench.measure` wants it."""

    def client(url: str, folder: Path) -> Figures:
        work = Work(cell, bench.requests(cell, rival.tokens_per_s, rival.short_rps), url, folder, tokenizer)
        ended = run(rival.command(work), bench.client_core, limit_s=LIMIT_S, cwd=folder)
        try:
            return rival.read(work)
        except (ValueError, KeyError, TypeError) as error:
            how = "ran past its limit" if ended.code is None else f"exit code {ended.code}"
            raise ValueError(f"{how}; {error}; it said: {_last_words(ended.said)}") from None

    return client


def giq_client(bench: Bench, cell: Cell) -> Callable[[str, Path], Figures]:
    """giq, as `Bench.measure` wants it."""

    def client(url: str, folder: Path) -> Figures:
        requests = bench.requests(cell, GIQ_TOKENS_PER_S, GIQ_SHORT_RPS)
        stop = ("--requests", str(requests))
        return profile(cell, url, bench.client_core, folder, stop, limit_s=LIMIT_S)[1]

    return client


def row(bench: Bench, cell: Cell, tool: str, client: Callable[[str, Path], Figures], repeats: int) -> Row:
    """One row; a tool that fails says so in it and keeps nobody else from being measured."""
    found: list[Figures] = []
    problem = None
    for _ in range(repeats):
        try:
            found.append(bench.measure(cell, client))
        except (ValueError, OSError, subprocess.SubprocessError) as error:
            problem = " ".join(str(error).split())[:300]
    return Row(cell, tool, found, problem)


def _last_words(said: str) -> str:
    lines = [line.strip(" │╭╰─╮╯") for line in said.splitlines()]
    return next((line for line in reversed(lines) if line), "nothing")


def version(python: Path, package: str) -> str:
    """The version of *package* in another environment."""
    ask = f"from importlib.metadata import version; print(version({package!r}))"
    done = subprocess.run([python, "-c", ask], capture_output=True, text=True)
    return done.stdout.strip() or "unknown"


def _asked(arguments: Sequence[str]) -> argparse.Namespace:
    about = (__doc__ or "").partition(":")[0]
    parser = argparse.ArgumentParser(prog="python -m tests.performance.rivals", description=about)
    names = ",".join(["giq", *(rival.name for rival in RIVALS)])
    parser.add_argument("--tools", default=names, help=f"some of {names}")
    parser.add_argument("--streams", default="100,500,1000", help="streams of 200 tokens; empty for none")
    parser.add_argument("--no-short", action="store_true", help="leave out the short replies")
    parser.add_argument("--seconds", type=float, default=20.0, help="load per cell, about")
    parser.add_argument("--repeats", type=int, default=1, help="times per cell; the table shows the median of each")
    parser.add_argument("--json", type=Path, default=None, metavar="FILE", help="write all that was measured there")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str]) -> None:
    """Print the table."""
    asked = _asked(arguments)
    tools = asked.tools.split(",")
    known = {rival.name: rival for rival in RIVALS}
    if unknown := set(tools) - {"giq", *known}:
        raise SystemExit(f"Unknown tools: {', '.join(sorted(unknown))}.")
    cells = [streams(int(count)) for count in asked.streams.split(",") if count]
    cells += [] if asked.no_short else [SHORT]
    client_core, server_core = cores()
    os.sched_setaffinity(0, {server_core})  # this process only waits
    rivals = [known[name] for name in tools if name in known]
    versions = {"giq": metadata.version("giq")} | {
        rival.title: version(rival.python, rival.package) for rival in rivals if rival.installed
    }
    rows: list[Row] = []
    print(HEAD, flush=True)
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(build(Path(folder)), client_core, server_core, asked.seconds)
        for cell in cells:
            for name in tools:
                rows.append(_row_of(bench, cell, known.get(name), asked.repeats, versions))
                print(rows[-1], flush=True)
                if asked.json is not None:
                    save(asked.json, rows, versions)
    print("\nRead from:\n" + "\n".join(f"- {one.title}: {one.note}" for one in rivals))


def _row_of(bench: Bench, cell: Cell, rival: Rival | None, repeats: int, versions: dict[str, str]) -> Row:
    if rival is None:
        return row(bench, cell, f"giq {versions['giq']}", giq_client(bench, cell), repeats)
    if not rival.installed:
        return Row(cell, rival.title, [], "not installed (tests/performance/rivals/install.sh)")
    title = f"{rival.title} {versions[rival.title]}"
    try:
        tokenizer = tokenizer_folder([one.python for one in RIVALS if one.installed])
    except ValueError as error:
        return Row(cell, title, [], str(error))
    return row(bench, cell, title, rival_client(bench, cell, rival, tokenizer), repeats)


if __name__ == "__main__":
    main(sys.argv[1:])
