"""The sweeps of other tools, replayed in virtual time, and the capacity that their users read off.

What they do is written down in their own documentation and source: GuideLLM's `sweep` profile (synchronous, throughput,
then 8 constant-length stages at rates evenly between the two, 60 s each), and inference-perf's `sweep` preprocessing
(a burst of 2,000 requests over 5 s, the 95th percentile of the falls of in-flight between samples 0.5 s apart
as saturation rate, then 7 stages of 30 s at rates evenly up to it). Neither looks for a steady state: each stage begins
on an idle server and its percentiles are of all requests that ended in it (GuideLLM) or were sent in it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from giq.curve.requests import Requests
from giq.curve.targets import Target
from giq.engine.simulation import simulate
from giq.units import NS_PER_S
from giq.workload.schedule import make_schedule
from giq.workload.workload import ClosedLoad, Load, OpenLoad, Stop
from tests.truth.cases import Case

GUIDELLM_STAGE_S, GUIDELLM_STAGES = 60.0, 8
GUIDELLM_MOST = 512
"""Requests that its throughput stage keeps in flight."""
PERF_BURST, PERF_BURST_S, PERF_SAMPLE_S = 2000, 5.0, 0.5
PERF_STAGE_S, PERF_STAGES = 30.0, 7
BETWEEN_S = 1.0


@dataclass(frozen=True)
class Swept:
    """What a sweep found: the highest rate whose stage met every target (None: none did), and what it cost."""

    capacity: float | None
    interpolated: float | None
    cost_s: float


Sweep = Callable[[Case, int], Swept]


def guidellm(case: Case, seed: int) -> Swept:
    """Synchronous, throughput, then 8 rates between them; what is in flight when a stage ends is given up."""
    synchronous, _ = _stage(case, ClosedLoad(concurrency=1), GUIDELLM_STAGE_S, seed)
    throughput, _ = _stage(case, ClosedLoad(concurrency=GUIDELLM_MOST), GUIDELLM_STAGE_S, seed + 1)
    low, high = (_ended(run, GUIDELLM_STAGE_S) / GUIDELLM_STAGE_S for run in (synchronous, throughput))
    rates = np.linspace(max(low, 1e-3), max(high, low, 2e-3), GUIDELLM_STAGES + 2)[1:-1]
    rates = np.append(rates, high) if high > rates[-1] else rates
    rates = rates[:GUIDELLM_STAGES]
    found = []
    for number, rate in enumerate(rates.tolist()):
        run, _ = _stage(case, OpenLoad(rate_rps=rate), GUIDELLM_STAGE_S, seed + 2 + number)
        found.append((rate, _worst(run, run.end_ns <= GUIDELLM_STAGE_S * NS_PER_S, case.targets)))
    cost = (GUIDELLM_STAGES + 2) * (GUIDELLM_STAGE_S + BETWEEN_S)
    return Swept(*_read_off(found), cost)


def inference_perf(case: Case, seed: int) -> Swept:
    """A burst for the saturation rate, then 7 stages up to it, each followed to the end of its last request."""
    burst, cost = _stage(case, OpenLoad(rate_rps=PERF_BURST / PERF_BURST_S), PERF_BURST_S, seed)
    high = _falling(burst)
    found = []
    for number, rate in enumerate(np.linspace(high / PERF_STAGES, high, PERF_STAGES).tolist()):
        run, seconds = _stage(case, OpenLoad(rate_rps=rate), PERF_STAGE_S, seed + 1 + number)
        found.append((rate, _worst(run, np.ones(len(run), dtype=bool), case.targets)))
        cost += seconds + BETWEEN_S
    return Swept(*_read_off(found), cost + BETWEEN_S)


SWEEPS: dict[str, Sweep] = {"GuideLLM": guidellm, "inference-perf": inference_perf}


def _stage(case: Case, load: Load, seconds: float, seed: int) -> tuple[Requests, float]:
    """The requests of one stage, and how long it takes until the last has ended."""
    stop = Stop(duration_s=seconds)
    if isinstance(load, ClosedLoad):
        stop = Stop(duration_s=seconds, requests=50_000)
    elif load.rate_rps * seconds < 5:
        stop = Stop(requests=5)
    run = simulate(case.spec, make_schedule(case.workload, load, stop, seed)).requests
    return run, max(float(run.end_ns.max()) / NS_PER_S, seconds)


def _ended(run: Requests, seconds: float) -> int:
    return int((run.end_ns <= seconds * NS_PER_S).sum())


def _falling(burst: Requests) -> float:
    """The 95th percentile of how fast in-flight falls between samples, in requests/s."""
    edges = np.arange(0.0, float(burst.end_ns.max()) / NS_PER_S + PERF_SAMPLE_S, PERF_SAMPLE_S) * NS_PER_S
    sent = np.searchsorted(np.sort(burst.sent_ns), edges)
    ended = np.searchsorted(np.sort(burst.end_ns), edges)
    falls = -np.diff(sent - ended)
    falls = falls[falls > 0]
    return float(np.percentile(falls, 95)) / PERF_SAMPLE_S if len(falls) else 1.0


def _worst(run: Requests, counted: NDArray[np.bool_], targets: tuple[Target, ...]) -> float:
    """The largest of the targets' percentiles over their limits; infinite where nothing counts."""
    if not counted.any():
        return float("inf")
    shares = []
    for target in targets:
        first = (run.first_token_ns - run.scheduled_ns)[counted] / NS_PER_S
        decode = (run.last_token_ns - run.first_token_ns)[counted] / NS_PER_S
        values = first if target.metric == "ttft" else decode / np.maximum(run.output_tokens[counted] - 1, 1)
        shares.append(float(np.percentile(values, target.percent)) / target.seconds)
    return max(shares)


def _read_off(found: list[tuple[float, float]]) -> tuple[float | None, float | None]:
    """The highest rate that meets every target, and the straight line to the next one's crossing."""
    meeting = [place for place, (_, share) in enumerate(found) if share <= 1]
    if not meeting:
        return None, None
    place = meeting[-1]
    rate, share = found[place]
    if place + 1 == len(found):
        return rate, rate
    above, more = found[place + 1]
    way = (1 - share) / (more - share) if np.isfinite(more) else 0.0
    return rate, rate + way * (above - rate)
