"""The simulated engine against the real vLLM of this machine's CPU: calibrated on a few loads, scored on others.

    .venv/bin/python tests/vllm/engine_check.py measure FOLDER     (ten minutes, quiet machine; goes on)
    .venv/bin/python tests/vllm/engine_check.py score FOLDER

`measure` runs `giq profile` against a vLLM that it starts; `score` fits a calibration to the loads marked so, predicts
all others and prints both beside each other, with the medians that issue 5 asks for. Lengths, seeds and arrivals of a
predicted load are those of the measured one.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from giq import documents
from giq.catalog import (
    Accelerator,
    Catalog,
    Component,
    EngineValue,
    Lengths,
    Model,
    ModelServer,
    Peaks,
    ServingConfiguration,
    Source,
    Weights,
    load_catalog,
)
from giq.engine.calibration import GPU_PRIOR, Calibration
from giq.engine.prediction import predict_point
from giq.engine.spec import EngineSpec
from giq.workload.workload import ClosedLoad, Load, OpenLoad, Stop, Workload, parse_arrival

sys.path.insert(0, str(Path(__file__).parent))

from client import profiled
from server import MODEL_NAME, VllmServer

SEED = 7
SOURCE = Source(title="tests/vllm/make_model.py", date="2026-11-21")
CPU_BLOCKS = 8192
"""KV blocks of 128 tokens in the 2 GiB that server.py gives vLLM."""

MODEL = Model(
    name=MODEL_NAME,
    title="the tests' random Llama",
    parameters=79_000_000,
    active_parameters=79_000_000,
    layers=12,
    hidden_size=768,
    intermediate_size=2048,
    attention_heads=12,
    kv_heads=4,
    head_dim=64,
    vocab_size=2048,
    tied_embeddings=False,
    max_context=4096,
    weights=(Weights(repository=MODEL_NAME, precision="bf16", bytes=158_000_000),),
    source=SOURCE,
)
CPU = Accelerator(
    name="cpu",
    title="one core of this machine",
    kind="cpu",
    generation="host",
    memory_gb=64,
    bandwidth_gb_s=400,
    peak_tflops=Peaks(bf16=20),
    on_gke=False,
    source=SOURCE,
)
"""Bounds that no core reaches: the fitted shares of them are what counts."""


@dataclass(frozen=True)
class Trial:
    """One load: what is sent, how long, and whether the calibration may see it."""

    name: str
    prompt: int
    output: int
    load: Load
    seconds: int
    fitted: bool = False
    arrival: str = "poisson"
    blocks: int = CPU_BLOCKS

    def workload(self) -> Workload:
        """Lengths spread evenly by half around their means, under the arrival law."""
        return Workload(
            input_tokens=spread(self.prompt), output_tokens=spread(self.output), arrival=parse_arrival(self.arrival)
        )

    def words(self) -> list[str]:
        """The same for `giq profile`."""
        load = self.load
        if isinstance(load, ClosedLoad):
            asked = ["--concurrency", str(load.concurrency)]
        else:
            asked = ["--request-rate", f"{load.rate_rps:g}", "--arrival", self.arrival]
        ranges = [f"uniform:{mean // 2}-{mean + mean // 2}" for mean in (self.prompt, self.output)]
        lengths = ["--input-tokens", ranges[0], "--output-tokens", ranges[1]]
        return [*asked, *lengths, "--duration", f"{self.seconds}s", "--seed", str(SEED)]


def spread(mean: int) -> Lengths:
    """Even over half to one and a half times *mean*."""
    return Lengths(distribution="uniform", mean=mean, minimum=mean // 2, maximum=mean + mean // 2)


def closed(concurrency: int) -> ClosedLoad:
    """So many in flight."""
    return ClosedLoad(concurrency=concurrency)


def rate(rate_rps: float) -> OpenLoad:
    """So many a second."""
    return OpenLoad(rate_rps=rate_rps)


TRIALS = (
    Trial("alone", 64, 32, closed(1), 25, fitted=True),
    Trial("alone, long prompt", 512, 8, closed(1), 25, fitted=True),
    Trial("8 at once", 64, 32, closed(8), 25, fitted=True),
    Trial("32 at once", 64, 32, closed(32), 25, fitted=True),
    Trial("long contexts", 384, 48, closed(8), 30, fitted=True),
    Trial("4 req/s", 64, 32, rate(4), 30, fitted=True),
    Trial("4 at once", 128, 48, closed(4), 25),
    Trial("16 at once, short", 96, 24, closed(16), 25),
    Trial("64 at once", 64, 32, closed(64), 25),
    Trial("3 req/s", 64, 32, rate(3), 30),
    Trial("bursts at 4 req/s", 64, 32, rate(4), 30, arrival="gamma:0.5"),
    Trial("even 2 req/s, long prompts", 256, 32, rate(2), 30, arrival="constant"),
    Trial("6 req/s, short", 32, 24, rate(6), 30),
    Trial("above the knee", 64, 32, rate(20), 15),
    Trial("long outputs", 32, 128, closed(12), 30),
    Trial("more than max_num_seqs", 32, 16, closed(160), 20),
    Trial("KV-bound", 200, 200, closed(48), 45, blocks=80),
)
"""What is measured, calibration first: under three minutes of it; the server does about 500 tokens a second."""


def measure(folder: Path) -> None:
    """Measure what is not in FOLDER/points.json yet, one server after the other; points are added as they end."""
    lacking = [trial for trial in TRIALS if trial.name not in read(folder)]
    for blocks in dict.fromkeys(trial.blocks for trial in lacking):
        arguments = [] if blocks == CPU_BLOCKS else ["--num-gpu-blocks-override", str(blocks)]
        with VllmServer(arguments) as server:
            for trial in lacking:
                if trial.blocks != blocks:
                    continue
                began = time.monotonic()
                point = measured(server, trial, folder)
                print(f"{trial.name}: {point['achieved_rps']:.2f} req/s, {time.monotonic() - began:.0f} s", flush=True)
                (folder / "points.json").write_text(json.dumps(read(folder) | {trial.name: point}, indent=1))


def measured(server: VllmServer, trial: Trial, folder: Path) -> dict[str, Any]:
    """What `giq profile` measures of *trial*."""
    run = profiled(server, folder / "runs", trial.words())
    row = pd.read_parquet(run.folder / "points.parquet").iloc[0]
    kept = {name: float(row[name]) for name in (*COLUMNS, "achieved_rps", "preemptions", "window_s")}
    return kept | {"flags": ",".join(row["flags"])}


MOST = 5000
"""Requests that a load may have: more than the server can answer in its time."""

COLUMNS = ("output_tps", "tpot_p50_s", "ttft_p50_s", "ttft_p90_s")
LIMITS = {"output_tps": 0.05, "tpot_p50_s": 0.08, "ttft_p50_s": 0.15, "ttft_p90_s": 0.25}


def read(folder: Path) -> dict[str, dict[str, Any]]:
    """The points measured so far."""
    path = folder / "points.json"
    found: dict[str, dict[str, Any]] = json.loads(path.read_text()) if path.exists() else {}
    return found


@cache
def vllm() -> ModelServer:
    """The catalog's entry, with the CPU's defaults."""
    return load_catalog().server("vllm")


def spec_of(trial: Trial, calibration: Calibration) -> EngineSpec:
    """The engine that stands for the measured server."""
    catalog = Catalog(models=(MODEL,), accelerators=(CPU,), servers=(vllm(),))
    arguments: dict[str, EngineValue] = {"num_gpu_blocks_override": trial.blocks}
    part = Component(model=MODEL.name, precision="bf16", accelerator="cpu", server="vllm", engine_args=arguments)
    return EngineSpec.of(ServingConfiguration(components=(part,)), catalog, calibration)


def predicted(trial: Trial, calibration: Calibration) -> dict[str, float]:
    """The same columns from the engine."""
    spec = spec_of(trial, calibration)
    point = predict_point(spec, trial.workload(), trial.load, SEED, stop=Stop(requests=MOST, duration_s=trial.seconds))
    found: dict[str, float] = {"output_tps": point.output_tps, "preemptions": point.preemptions or 0.0}
    for name in COLUMNS[1:]:
        metric, statistic, _ = name.split("_")
        estimate = point.metric(metric).at(statistic)
        found[name] = float("nan") if estimate is None else estimate.value
    return found


SHARES = ("weight_read", "kv_read", "matrix", "prefill_attention")
FIELDS = (*SHARES, "step_s", "sequence_s", "request_s", "prompt_token_s", "stream_s", "ridge")
START = documents.replace(
    GPU_PRIOR,
    calibration_id="cpu-check",
    rests_on="loads of tests/vllm/engine_check.py",
    weight_read=0.05,
    kv_read=0.02,
    matrix=0.02,
    prefill_attention=0.02,
    step_s=1e-3,
    layer_s=0.0,
    sequence_s=0.5e-3,
    request_s=5e-3,
    prompt_token_s=5e-6,
    stream_s=1e-3,
    ridge=2.0,
    plans_ahead=False,
    decode_sigma=0.0,
    prefill_sigma=0.0,
)


def calibrated(theta: NDArray[np.float64]) -> Calibration:
    """START with each of FIELDS multiplied by exp(theta)."""
    changed = {name: getattr(START, name) * float(np.exp(shift)) for name, shift in zip(FIELDS, theta, strict=True)}
    for name in SHARES:
        changed[name] = min(1.0, changed[name])
    return documents.replace(START, **changed)


def fit(trials: Sequence[Trial], points: dict[str, dict[str, Any]]) -> Calibration:
    """Least squares over the logarithms of what was measured of *trials*: damped Gauss-Newton from START."""
    weights = np.tile([1 / 0.03, 1 / 0.04, 1 / 0.08, 1 / 0.15], len(trials))
    wanted = np.log([points[trial.name][name] for trial in trials for name in COLUMNS])

    def residual(theta: NDArray[np.float64]) -> NDArray[np.float64]:
        calibration = calibrated(theta)
        rows = [predicted(trial, calibration) for trial in trials]
        logs: NDArray[np.float64] = np.log([row[name] for row in rows for name in COLUMNS])
        return np.asarray((logs - wanted) * weights)

    return calibrated(gauss_newton(residual, len(FIELDS)))


def gauss_newton(residual: Callable[[NDArray[np.float64]], NDArray[np.float64]], size: int) -> NDArray[np.float64]:
    """The theta with the least sum of squared residuals; a weak pull to 0 keeps what is not told where it was."""
    theta, damping, pull = np.zeros(size), 1.0, np.eye(size) / 4.0
    found = residual(theta)
    best = float(found @ found)
    for _ in range(25):
        slopes = np.stack([(residual(theta + 0.05 * row) - found) / 0.05 for row in np.eye(size)], axis=1)
        square = slopes.T @ slopes
        damped = square + pull + damping * np.diag(np.diag(square) + 1e-3)
        step = np.linalg.solve(damped, -slopes.T @ found - pull @ theta)
        tried = theta + np.clip(step, -1.0, 1.0)
        there = residual(tried)
        if float(there @ there) < best:
            improved = best - float(there @ there)
            theta, found, best, damping = tried, there, float(there @ there), damping / 3
            if improved < 1e-3 * best:
                break
        else:
            damping *= 4
    return theta


def score(folder: Path) -> None:
    """Fit, predict and print."""
    points = read(folder)
    trials = [trial for trial in TRIALS if trial.name in points]
    fitted = [trial for trial in trials if trial.fitted]
    seconds = sum(points[trial.name]["window_s"] for trial in fitted)
    print(f"calibrated on {len(fitted)} loads, {seconds:.0f} s of measurement")
    calibration = fit(fitted, points)
    print({name: float(f"{getattr(calibration, name):.3g}") for name in FIELDS})
    rows = []
    for trial in trials:
        real, ours = points[trial.name], predicted(trial, calibration)
        errors = {name: ours[name] / real[name] - 1 for name in COLUMNS}
        rows.append({"load": trial.name, "fitted": trial.fitted, **errors})
        shown = "  ".join(
            f"{name.removesuffix('_s')} {real[name] * unit:8.1f} {ours[name] * unit:8.1f} {errors[name]:+6.1%}"
            for name, unit in zip(COLUMNS, (1, 1e3, 1e3, 1e3), strict=True)
        )
        preempted = f"preemptions {real['preemptions']:.0f} {ours['preemptions']:.0f}"
        print(f"{'fit ' if trial.fitted else '    '}{trial.name:28s} {shown}  {preempted}  {real['flags']}")
    table = pd.DataFrame(rows)
    held = table[~table.fitted]
    print(f"medians over {len(held)} held-out loads:")
    for name in COLUMNS:
        print(f"  {name:12s} {held[name].abs().median():6.1%}   (asked for: {LIMITS[name]:.0%})")


def main() -> None:
    """Parse the words and go."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("measure", help="measure the loads").add_argument("folder", type=Path)
    commands.add_parser("score", help="fit and print").add_argument("folder", type=Path)
    words = parser.parse_args()
    words.folder.mkdir(parents=True, exist_ok=True)
    if words.command == "measure":
        measure(words.folder)
    else:
        score(words.folder)


if __name__ == "__main__":
    main()
