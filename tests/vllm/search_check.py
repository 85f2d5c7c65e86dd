"""The search against the real vLLM of this machine's CPU: whether it agrees with itself, and with loads held after it.

    .venv/bin/python tests/vllm/search_check.py run FOLDER     (35 minutes, quiet machine; goes on; --time-limit 15m)
    .venv/bin/python tests/vllm/search_check.py score FOLDER

`run` holds a light load, lets `giq profile` search for the capacity at one target a few times, each with another seed,
and holds 85 % and 115 % of the median of what they found, with seeds of their own. `score` prints what came of it and
ends with 1 where something does not hold: the searches agree within 10 %, the lower load meets the target, the upper
one misses it, and between the two the percentile at least doubles (the target lies on the steep part of the curve).
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from statistics import median
from typing import Any

import giq
from giq.store.parquet import write_bytes
from giq.store.run_manifest import read_manifest
from giq.units import format_span, parse_duration

sys.path.insert(0, str(Path(__file__).parent))

from client import profiled
from search_verdict import SHARES, Found, held_name, verdict
from server import VllmServer

WORKLOAD = ("--input-tokens", "128", "--output-tokens", "64")
LIGHT_RPS, LIGHT_S = 1.5, 120
"""The light load, under a fifth of what the server can do, and the most that it is held for."""
WARM = (*WORKLOAD, "--concurrency", "16", "--requests", "64")
"""What the server compiles or fills on its first requests is no part of what is measured."""
START_S, ASIDE_S = 90.0, 60.0
"""The most that a server takes until it is warm; and a load beside its own time: detection, calibration, drain."""
UNFINISHED = 3
"""Exit code of `run` where something is left to do."""


@dataclass(frozen=True)
class Settings:
    """What is measured in one folder; kept there, so that all its runs are of one kind."""

    target_ttft: str = "400ms"
    budget: str = "7m"
    repeats: int = 3
    seconds: int = 300

    @property
    def target(self) -> giq.Target:
        """The target that is searched at and judged by."""
        return giq.target("ttft", self.target_ttft)


@dataclass(frozen=True)
class Task:
    """One `giq profile`: its words beside workload and target, and the most seconds that it takes."""

    name: str
    words: tuple[str, ...]
    seconds: float


@dataclass(frozen=True)
class Done:
    """A task that ended well: its run, and the seconds that the command took, detection and calibration included."""

    run: Path
    seconds: float

    @property
    def curve(self) -> giq.Curve:
        """What was measured."""
        (found,) = giq.curves(self.run)
        return found


def search_name(number: int) -> str:
    """How the search *number* (1, 2 ...) is called."""
    return f"search {number}"


def held(name: str, rate_rps: float, seconds: int, seed: int) -> Task:
    """A rate that is held for so long."""
    words = ("--request-rate", f"{rate_rps:.6g}", "--duration", f"{seconds}s", "--seed", str(seed))
    return Task(name, words, seconds + ASIDE_S)


def next_task(settings: Settings, done: Mapping[str, Done]) -> Task | None:
    """The first task that is not done; None when all are.

    Raises:
        SystemExit: the next is a load beside a capacity that the searches did not find.
    """
    if "light" not in done:
        return held("light", LIGHT_RPS, min(LIGHT_S, settings.seconds), seed=100)
    searches = range(1, settings.repeats + 1)
    for number in searches:
        if (name := search_name(number)) not in done:
            words = ("--budget", settings.budget, "--seed", str(number))
            return Task(name, words, parse_duration(settings.budget) + ASIDE_S)
    for seed, share in enumerate(SHARES, start=101):
        if (name := held_name(share)) not in done:
            rates = [found(done[search_name(number)], settings).rate for number in searches]
            told = [rate.value for rate in rates if rate is not None]
            if not told:
                raise SystemExit("no search found a capacity: there is nothing to hold 85 % and 115 % of")
            return held(name, share * median(told), settings.seconds, seed)
    return None


def read_done(folder: Path) -> dict[str, Done]:
    """What is done in *folder* already."""
    path = folder / "done.json"
    rows: dict[str, dict[str, Any]] = json.loads(path.read_text()) if path.exists() else {}
    return {name: Done(folder / "runs" / row["run"], row["seconds"]) for name, row in rows.items()}


def run(folder: Path, settings: Settings, limit_s: float) -> int:
    """Do what is not done yet, on one server; begin nothing that may not end within *limit_s*.

    Raises:
        SystemExit: giq failed; what was done before is kept.
    """
    deadline = time.monotonic() + limit_s
    task = next_task(settings, read_done(folder))
    if task is None:
        print(f"{folder}: all of it is done")
        return 0
    if not in_time(task, deadline - START_S):
        return UNFINISHED
    with VllmServer(log_path=folder / "vllm.log") as server:
        with tempfile.TemporaryDirectory() as aside:
            profiled(server, Path(aside), WARM)
        while task is not None and in_time(task, deadline):
            carry_out(task, server, folder, settings)
            task = next_task(settings, read_done(folder))
    return UNFINISHED if task else 0


def in_time(task: Task, deadline: float) -> bool:
    """Whether *task* ends before *deadline* (monotonic); says so where not."""
    left = deadline - time.monotonic()
    if task.seconds > left:
        print(
            f"{task.name}: not begun: it takes up to {format_span(task.seconds)}, {format_span(max(left, 0))} are left"
        )
    return task.seconds <= left


def carry_out(task: Task, server: VllmServer, folder: Path, settings: Settings) -> None:
    """Run *task* to its end, and note it as done when it ended well.

    Raises:
        SystemExit: it did not.
    """
    print(f"{task.name}: {' '.join(task.words)}, up to {format_span(task.seconds)}", flush=True)
    began = time.monotonic()
    ended = profiled(server, folder / "runs", (*WORKLOAD, "--target-ttft", settings.target_ttft, *task.words))
    seconds = time.monotonic() - began
    said = ended.process.stdout + ended.process.stderr
    (folder / f"{task.name.rstrip(' %').replace(' ', '-')}.log").write_text(said)
    if ended.process.returncode or read_manifest(ended.folder).state != "done":
        raise SystemExit(f"{task.name}: giq ended with {ended.process.returncode}\n{said[-3000:]}")
    done = read_done(folder) | {task.name: Done(ended.folder, seconds)}
    rows = {name: {"run": one.run.name, "seconds": round(one.seconds, 1)} for name, one in done.items()}
    write_bytes(folder / "done.json", json.dumps(rows, indent=1).encode())
    for line in said.splitlines():
        if line.startswith(("Capacity:", "Stopped", "Cost:")):
            print(f"  {line}", flush=True)


def found(done: Done, settings: Settings) -> Found:
    """What a search came to, by its points as they are stored."""
    curve = done.curve
    stopped = read_manifest(done.run).stopped or "nothing was said"
    return Found(giq.capacity(curve, [settings.target]), curve.points, done.seconds, stopped)


def score(folder: Path, settings: Settings) -> int:
    """Print the table; 1 where something does not hold."""
    done = read_done(folder)

    def one_point(name: str) -> giq.Point | None:
        return done[name].curve.points[0] if name in done else None

    names = [search_name(number) for number in range(1, settings.repeats + 1)]
    findings = verdict(
        settings.target,
        {name: found(done[name], settings) if name in done else None for name in names},
        {share: one_point(held_name(share)) for share in SHARES},
        one_point("light"),
    )
    faults = [finding for finding in findings if finding.fault]
    print(f"{settings}: {settings.target}", *findings, sep="\n")
    print(f"{len(faults)} of {len(findings)} do not hold" if faults else "all of it holds")
    return 1 if faults else 0


def settings_of(folder: Path, asked: Mapping[str, Any]) -> Settings:
    """The folder's settings: those it was begun with, else what is *asked* for (None: not said) and the defaults.

    Raises:
        SystemExit: other ones are asked for than it was begun with.
    """
    path = folder / "settings.json"
    given = {name: value for name, value in asked.items() if value is not None}
    if not path.exists():
        return replace(Settings(), **given)
    kept = Settings(**json.loads(path.read_text()))
    if replace(kept, **given) != kept:
        raise SystemExit(f"{folder} was begun with {asdict(kept)}: leave the options out, or take another folder")
    return kept


def main() -> None:
    """Parse the words and go."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    running = commands.add_parser(
        "run", help=f"measure what is missing; ends with {UNFINISHED} where something is left"
    )
    running.add_argument("folder", type=Path)
    running.add_argument("--target-ttft", help=f"limit of the p90 TTFT (default {Settings.target_ttft})")
    running.add_argument("--budget", help=f"of each search (default {Settings.budget})")
    running.add_argument("--repeats", type=int, help=f"searches (default {Settings.repeats})")
    running.add_argument("--seconds", type=int, help=f"that each rate is held (default {Settings.seconds})")
    running.add_argument("--time-limit", default="24h", help="begin nothing that may not end within it, like 15m")
    commands.add_parser("score", help="print what came of it").add_argument("folder", type=Path)
    words = vars(parser.parse_args())
    command, folder, limit = words.pop("command"), words.pop("folder"), words.pop("time_limit", None)
    settings = settings_of(folder, words)
    if command == "score":
        sys.exit(score(folder, settings))
    folder.mkdir(parents=True, exist_ok=True)
    write_bytes(folder / "settings.json", json.dumps(asdict(settings)).encode())
    sys.exit(run(folder, settings, parse_duration(limit)))


if __name__ == "__main__":
    main()
