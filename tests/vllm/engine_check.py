"""The simulated engine against the real vLLM of this machine's CPU: calibrated on a few loads, scored on others.

    .venv/bin/python tests/vllm/engine_check.py measure FOLDER     (fifteen minutes, quiet machine; goes on)
    .venv/bin/python tests/vllm/engine_check.py score FOLDER

`measure` runs `giq profile` against the vLLM servers that it starts, in short passes over all loads; `score` fits a
calibration to the loads marked so, predicts all others and prints both beside each other, with the medians that
issue 5 asks for. Lengths, seeds and arrivals of a predicted load are those of the measured one. A load's figures are
those of its passes pooled; both sides are looked at over the same requests.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from giq.store.run import open_run

sys.path.insert(0, str(Path(__file__).parent))

from client import profiled
from engine_fit import FIELDS, FIGURES, Measured, Seen, fit, schedule
from engine_loads import CPU_BLOCKS, TRIALS, Trial, order
from server import VllmServer

LIMITS = {"output_tps": 0.05, "tpot_p50_s": 0.08, "ttft_p50_s": 0.15, "ttft_p90_s": 0.25}

Points = dict[str, dict[str, Any]]


def measure(folder: Path, passes: int) -> None:
    """Measure what is not in FOLDER/points.json yet, with both servers up; points are added as they end."""
    lacking = [(trial, number) for trial, number in order(passes) if trial.key(number) not in read(folder)]
    with contextlib.ExitStack() as stack:
        servers = {}
        for blocks in sorted({trial.blocks for trial, _ in lacking}):
            arguments = [] if blocks == CPU_BLOCKS else ["--num-gpu-blocks-override", str(blocks)]
            servers[blocks] = stack.enter_context(VllmServer(arguments))
        for trial, number in lacking:
            began = time.monotonic()
            point = measured(servers[trial.blocks], trial, number, folder)
            point["took_s"] = time.monotonic() - began
            print(f"{trial.key(number)}: {point['achieved_rps']:.2f} req/s, {point['took_s']:.0f} s", flush=True)
            (folder / "points.json").write_text(json.dumps(read(folder) | {trial.key(number): point}, indent=1))


def measured(server: VllmServer, trial: Trial, number: int, folder: Path) -> dict[str, Any]:
    """What `giq profile` measures of that pass of *trial*."""
    run = profiled(server, folder / "runs", trial.words(number)).folder
    row = pd.read_parquet(run / "points.parquet").iloc[0]
    kept = {name: float(row[name]) for name in ("achieved_rps", "preemptions")}
    return kept | {"flags": ",".join(row["flags"]), "run": run.name}


def read(folder: Path) -> Points:
    """The points measured so far."""
    path = folder / "points.json"
    found: Points = json.loads(path.read_text()) if path.exists() else {}
    return found


def loads(folder: Path) -> list[Measured]:
    """What was measured in FOLDER, load by load."""
    points, found = read(folder), []
    for trial in TRIALS:
        numbers = tuple(number for number in range(len(points)) if trial.key(number) in points)
        runs = [folder / "runs" / points[trial.key(number)]["run"] for number in numbers]
        passes = tuple(seen(run, trial, number) for run, number in zip(runs, numbers, strict=True))
        if passes:
            found.append(Measured(trial, numbers, passes))
    return found


def seen(path: Path, trial: Trial, number: int) -> Seen:
    """What the run at *path* measured; stops where it did not send what the simulation will."""
    run = open_run(path)
    requests = run.requests(run.points()[0].point_id)
    sent = schedule(trial, number)
    for ours, theirs in (
        (sent.input_tokens, requests.requested_input_tokens),
        (sent.output_tokens, requests.requested_output_tokens),
    ):
        if not np.array_equal(ours[requests.request_id], theirs):
            raise SystemExit(f"{path}: these are not the requests of {trial.key(number)}")
    return Seen.of(requests, trial)


def score(folder: Path) -> None:
    """Fit, predict and print."""
    points, found = read(folder), loads(folder)
    fitted = [load for load in found if load.trial.fitted]
    keys = [load.trial.key(number) for load in fitted for number in load.numbers]
    loaded = sum(load.trial.seconds * len(load.numbers) for load in fitted)
    took = sum(points[key]["took_s"] for key in keys)
    print(f"calibrated on {len(fitted)} loads in {len(keys)} passes: {loaded} s of load, {took:.0f} s in all")
    calibration = fit(fitted)
    print({name: float(f"{getattr(calibration, name):.3g}") for name in FIELDS})
    errors = {}
    for load in found:
        ours, real = load.predicted(calibration), load.figures
        errors[load.trial.name] = {name: ours[name] / real[name] - 1 for name in FIGURES}
        preempted = sum(points[load.trial.key(number)]["preemptions"] for number in load.numbers)
        off = errors[load.trial.name]
        shown = "  ".join(
            f"{name.removesuffix('_s')} {real[name] * unit:8.1f} {ours[name] * unit:8.1f} {off[name]:+6.1%}"
            for name, unit in zip(FIGURES, (1, 1e3, 1e3, 1e3), strict=True)
        )
        mark = "fit " if load.trial.fitted else "    "
        print(f"{mark}{load.trial.name:28s}{shown}  preempted {preempted:.0f} {ours['preemptions']:.0f}")
    summarise([errors[load.trial.name] for load in found if not load.trial.fitted])


def summarise(errors: Sequence[dict[str, float]]) -> None:
    """Print the medians over the held-out loads beside what is asked for."""
    print(f"medians over {len(errors)} held-out loads:")
    for name, limit in LIMITS.items():
        print(f"  {name:12s} {np.median(np.abs([row[name] for row in errors])):6.1%}   (asked for: {limit:.0%})")


def main() -> None:
    """Parse the words and go."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    to_measure = commands.add_parser("measure", help="measure the loads")
    to_measure.add_argument("folder", type=Path)
    to_measure.add_argument("--passes", type=int, default=4, help="over all loads (default 4)")
    commands.add_parser("score", help="fit and print").add_argument("folder", type=Path)
    words = parser.parse_args()
    words.folder.mkdir(parents=True, exist_ok=True)
    if words.command == "measure":
        measure(words.folder, words.passes)
    else:
        score(words.folder)


if __name__ == "__main__":
    main()
