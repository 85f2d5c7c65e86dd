"""The simulated engine that stands for the CPU server of server.py, and its calibration from a few passes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
from engine_loads import Trial, seed
from numpy.typing import NDArray
from server import MODEL_NAME

from giq import documents
from giq.catalog import (
    Accelerator,
    Catalog,
    Component,
    EngineValue,
    Model,
    ModelServer,
    Peaks,
    ServingConfiguration,
    Source,
    Weights,
    load_catalog,
)
from giq.curve.latencies import latencies
from giq.curve.requests import Requests
from giq.curve.throughput import output_tokens_in
from giq.curve.window import Window, choose_window
from giq.engine.calibration import GPU_PRIOR, SHARES, Calibration
from giq.engine.simulation import simulate
from giq.engine.spec import EngineSpec
from giq.workload.schedule import Schedule, make_schedule
from giq.workload.workload import OpenLoad, Stop

Floats = NDArray[np.float64]

SOURCE = Source(title="tests/vllm/make_model.py", date="2026-11-21")
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

MOST = 5000
"""Requests that a load may have: more than the server can answer in its time."""

FIGURES = ("output_tps", "tpot_p50_s", "ttft_p50_s", "ttft_p90_s")


@dataclass(frozen=True, eq=False)
class Seen:
    """What a pass showed of the requests at the `chosen` places of its schedule.

    TTFT and TPOT of each in seconds; how many `tokens` were received, of whichever request, in the `seconds` from when
    the first of them was due to when the one after the last was.
    """

    chosen: NDArray[np.int64]
    ttft: Floats
    tpot: Floats
    tokens: int
    seconds: float

    @classmethod
    def of(cls, requests: Requests, trial: Trial, like: Seen | None = None) -> Seen:
        """That of a measured pass in the window that giq finds, or of a simulated one with the requests of *like*."""
        opened = isinstance(trial.load, OpenLoad)
        times = requests.scheduled_ns if opened else requests.sent_ns
        if like is None:
            window = choose_window(requests, trial.load, trial.workload().arrival)
            inside = window.holds(times)
        else:
            inside = np.isin(requests.request_id, like.chosen)
        later = times[times > times[inside].max()]
        end = int(later.min()) if len(later) else int(times.max()) + 1
        looked = Window(int(times[inside].min()), end, True, "these requests")
        found = latencies(requests)
        return cls(
            chosen=requests.request_id[inside],
            ttft=found.ttft[inside],
            tpot=found.tpot[inside],
            tokens=output_tokens_in(requests, looked),
            seconds=looked.seconds,
        )


def pooled(passes: Sequence[Seen]) -> dict[str, float]:
    """The figures of all passes of one load together: their tokens over their time, percentiles over all requests."""
    ttft, tpot = (np.concatenate([getattr(seen, name) for seen in passes]) for name in ("ttft", "tpot"))
    tps = sum(seen.tokens for seen in passes) / sum(seen.seconds for seen in passes)
    values = (tps, np.nanmedian(tpot), np.median(ttft), np.percentile(ttft, 90))
    return dict(zip(FIGURES, map(float, values), strict=True))


@dataclass(frozen=True, eq=False)
class Measured:
    """The passes of one load, in the order of their numbers."""

    trial: Trial
    numbers: tuple[int, ...]
    passes: tuple[Seen, ...]

    @property
    def figures(self) -> dict[str, float]:
        """What was measured."""
        return pooled(self.passes)

    def predicted(self, calibration: Calibration) -> dict[str, float]:
        """The same of the simulated engine, which is sent the same."""
        spec = spec_of(self.trial, calibration)
        runs = [simulate(spec, schedule(self.trial, number)) for number in self.numbers]
        seen = [Seen.of(run.requests, self.trial, like) for run, like in zip(runs, self.passes, strict=True)]
        return pooled(seen) | {"preemptions": float(sum(run.preemptions for run in runs))}


@cache
def schedule(trial: Trial, number: int) -> Schedule:
    """What is sent in a pass."""
    return make_schedule(trial.workload(), trial.load, Stop(requests=MOST, duration_s=trial.seconds), seed(number))


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


FIELDS = (
    "weight_read", "kv_read", "matrix", "prefill_attention", "step_s", "sequence_s", "request_s", "prompt_token_s",
    "stream_s",
)  # fmt: skip
"""What is fitted."""

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
    ridge=1.0,
    plans_ahead=False,
    decode_sigma=0.0,
    prefill_sigma=0.0,
)
"""Where the fit begins. A core reads or multiplies, one after the other: so `ridge` is 1 and stays so."""


def calibrated(theta: Floats) -> Calibration:
    """START with each of FIELDS multiplied by exp(theta)."""
    changed = {name: getattr(START, name) * float(np.exp(shift)) for name, shift in zip(FIELDS, theta, strict=True)}
    for name in SHARES:
        changed[name] = min(1.0, changed.get(name, getattr(START, name)))
    return documents.replace(START, **changed)


WIDTH = 0.1
"""Of the differences that stand for slopes, to each side, in the logarithm of a factor."""


def fit(loads: Sequence[Measured]) -> Calibration:
    """Least squares over the logarithms of what was measured: damped Gauss-Newton from START."""
    weights = np.tile([1 / 0.03, 1 / 0.04, 1 / 0.08, 1 / 0.15], len(loads))
    wanted = np.log([load.figures[name] for load in loads for name in FIGURES])

    def residual(theta: Floats) -> Floats:
        calibration = calibrated(theta)
        rows = [load.predicted(calibration) for load in loads]
        logs: Floats = np.log([row[name] for row in rows for name in FIGURES])
        return np.asarray((logs - wanted) * weights)

    return calibrated(gauss_newton(residual, len(FIELDS)))


def gauss_newton(residual: Callable[[Floats], Floats], size: int) -> Floats:
    """The theta with the least sum of squared residuals; a weak pull to 0 keeps what is not told where it was.

    Slopes are taken over `WIDTH` to both sides: percentiles of few requests jump where the order of events changes.
    """
    theta, damping, pull = np.zeros(size), 1.0, np.eye(size) / 4.0
    found = residual(theta)
    best = float(found @ found)  # theta is 0: nothing pulls yet
    for _ in range(40):
        slopes = np.stack([residual(theta + row) - residual(theta - row) for row in WIDTH * np.eye(size)], axis=1)
        slopes /= 2 * WIDTH
        square, improved = slopes.T @ slopes, 0.0
        while improved <= 0.0 and damping < 1e4:
            damped = square + pull + damping * np.diag(np.diag(square) + 1e-3)
            tried = theta + np.clip(np.linalg.solve(damped, -slopes.T @ found - pull @ theta), -1.0, 1.0)
            there = residual(tried)
            improved = best - float(there @ there + tried @ pull @ tried)
            damping *= 4 if improved <= 0.0 else 1 / 4
        if improved <= 0.0:
            break
        theta, found, best = tried, there, best - improved
        if improved < 1e-3 * best:
            break
    return theta
