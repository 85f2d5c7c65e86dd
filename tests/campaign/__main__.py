"""Campaigns of measurements on one machine: `python -m tests.campaign run FILE`; see benchmarks/campaigns/README.md."""

from __future__ import annotations

import argparse
import asyncio
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from giq.catalog import load_catalog
from giq.errors import GiqError
from giq.units import parse_duration
from tests.campaign.bundle import MIB, pack, unpack
from tests.campaign.campaign import read_campaign
from tests.campaign.loading import add_to_database, measured_curves, runs_in
from tests.campaign.measuring import ROOT, Session, Stop, measure, say
from tests.campaign.progress import missing
from tests.campaign.report import page, score_lines
from tests.campaign.scoring import score, seen_points

INCOMPLETE = 3
"""The exit code when something is still missing: the same command goes on."""


def run(asked: argparse.Namespace) -> int:
    """Make what is missing, pack what is there, and list what is missing still."""
    campaign, folder = read_campaign(asked.file), _results(asked)
    limit = parse_duration(asked.time_limit) if asked.time_limit else float("inf")
    os.environ.setdefault("VLLM_CACHE_ROOT", str(folder / ".cache"))  # a second start then compiles nothing
    stop = Stop()
    python = None if asked.python is None else str(Path(asked.python).absolute())
    asyncio.run(measure(campaign, Session(folder, python, time.monotonic() + limit, stop)))
    if asked.bundle is not None and folder.is_dir():
        _packed(folder, asked.bundle)
    code = _listed(asked)
    return 130 if stop.asked else code


def _results(asked: argparse.Namespace) -> Path:
    """Where the campaign's results are: a folder of its own, by default below results/."""
    return Path(asked.results or ROOT / "results" / f"campaign-{asked.file.stem}").resolve()


def _packed(folder: Path, target: Path) -> None:
    made = pack(folder, target)
    say(f"Packed {made.size / MIB:.1f} MiB in {len(made.files)} files in {target}.")
    for name in made.left_behind:
        say(f"NOT packed, no room: {name}")


def _listed(asked: argparse.Namespace) -> int:
    left = missing(read_campaign(asked.file), _results(asked))
    print("Nothing is missing." if not left else "Missing:\n" + "\n".join(f"  {line}" for line in left), flush=True)
    return INCOMPLETE if left else 0


def bundle(asked: argparse.Namespace) -> int:
    """Pack a campaign's results."""
    _packed(_results(asked), asked.target)
    return 0


def load(asked: argparse.Namespace) -> int:
    """Unpack a bundle, put the points into the database, score the engine on them, write the page."""
    campaign, folder = read_campaign(asked.file), _results(asked)
    if asked.bundle is not None:
        say(f"{len(unpack(asked.bundle, folder))} files unpacked into {folder}.")
    runs = list(runs_in(folder))
    curves = measured_curves(runs)
    written = add_to_database(asked.benchmarks, curves)
    for name in written:
        say(f"Written {name}")
    scores = score(seen_points(run for run in runs if run.manifest.hardware_source == "detected"), load_catalog())
    print("\n".join(score_lines(scores)))
    if asked.profiles is not None and written:  # what the engine learns: a calibration fitted to all valid points
        giq = [sys.executable, "-m", "giq", "calibrate", *written, "--to", str(asked.profiles.resolve())]
        subprocess.run(giq, cwd=ROOT, check=False)
    target = asked.page or asked.benchmarks / "campaigns" / f"{asked.file.stem}.md"
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(page(campaign, folder, scores))
    say(f"Written {target}")
    return _listed(asked)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.campaign", description=__doc__)
    commands = parser.add_subparsers(required=True, dest="command")
    for name, function in (("run", run), ("list", _listed), ("bundle", bundle), ("load", load)):
        command = commands.add_parser(name, help=(function.__doc__ or "List what is missing.").splitlines()[0])
        command.add_argument("file", type=Path, help="the campaign's YAML file")
        command.add_argument("--results", help="its folder of results (default results/campaign-NAME)")
        command.set_defaults(function=function)
        if name == "run":
            command.add_argument("--time-limit", help="begin nothing that does not fit into it, like 25m")
            command.add_argument("--python", help="the interpreter that has vLLM (default: this one)")
            command.add_argument("--bundle", type=Path, help="pack what is there into this folder at the end")
        elif name == "bundle":
            command.add_argument("target", type=Path, help="the folder that the files go into")
        elif name == "load":
            command.add_argument("--bundle", type=Path, help="unpack this folder first")
            command.add_argument("--benchmarks", type=Path, default=ROOT / "benchmarks", help="the database")
            command.add_argument(
                "--profiles", type=Path, help="keep calibrations fitted to all points in this folder too"
            )
            command.add_argument("--page", type=Path, help="where the page of results goes")
    return parser


def main(arguments: Sequence[str]) -> int:
    """Run one of the commands; errors are told in one line or two."""
    asked = _parser().parse_args(arguments)
    try:
        return int(asked.function(asked))
    except GiqError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
