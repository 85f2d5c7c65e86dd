"""What a percentile would be in the long run: a short point's own, without the luck of the draw of its load."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from giq.curve.heard import METRICS, Heard, percentile
from giq.curve.intervals import MOST_BATCHES, Pool, batch_count, batch_labels, pool, resampled, variance_factor
from giq.curve.latencies import latencies
from giq.curve.point import Expected
from giq.curve.requests import Requests
from giq.curve.stand_in import Floats, Limits, StandIn, fitted
from giq.curve.targets import Target
from giq.curve.window import Window
from giq.units import NS_PER_S
from giq.workload.lengths import mean_length
from giq.workload.schedule import Schedule, make_schedule
from giq.workload.workload import OpenLoad, Stop, Workload

MOST_REQUESTS = 40_000
"""From so many requests on chance is small, and nothing is told of it."""

_LONG_RUN, _SETTLING, _MOST_RUNS = 20_000, 2_000, 6
_SEED = 20_260_000
_KNOWN = 0.005
"""Long runs, of so many requests, are added up to so many until the logarithm of each percentile is known so well."""
_ALIKE = 0.4
"""The stand-in follows the server where what batches drawn again give for both is correlated so much."""
_GROWN = 1.5
"""A long run whose later half has a percentile so much larger never settles: the stand-in is overloaded."""
_DOUBT, _UNLIKE = 0.25, 0.5
"""The stand-in is not the server: so much of a shift is doubtful, and of what they differ by under the same load."""
_WIDTH = 1.73
"""Half of a 90 % interval over the standard error: Student's t with 19 degrees of freedom."""


@dataclass(frozen=True)
class Held:
    """An open load, the window in which it was measured, the law it was drawn from, and the targets asked of it."""

    load: OpenLoad
    window: Window
    workload: Workload
    targets: tuple[Target, ...]


def expected(requests: Requests, held: Held, limits: Limits) -> tuple[Expected, ...]:
    """What the percentile of each target would be if the load were held for ever; none where nothing tells.

    A stand-in fitted to these very requests answers their schedule and then a long one of the same law. By the factor
    by which its percentile differs between the two, what was measured is corrected: a control variate (Law,
    "Simulation Modeling and Analysis", section 11.4) with the coefficient 1 where the stand-in follows the server:
    where batches of requests drawn again move both alike. Where they do not, half of it is taken, and the other half is
    doubt. The interval is that of the ratio, with the error of the long run; it is wide where the shift is large, or
    the stand-in was far off under the load itself.
    """
    asked = [target for target in held.targets if target.metric in METRICS]
    stand_in = fitted(requests, limits) if asked and held.workload.is_plain and len(requests) <= MOST_REQUESTS else None
    order = np.lexsort((requests.request_id, requests.scheduled_ns))
    inside = held.window.holds(requests.scheduled_ns)[order]
    batches = batch_count(int(inside.sum()))
    if stand_in is None or batches is None or not requests.ok[order][inside].all():
        return ()
    seen = _heard(stand_in, requests, order).part(inside)
    for_ever = _long_runs(stand_in, held, asked)
    told = latencies(requests)
    found = []
    for target in asked:
        measured = getattr(told, target.judged("open"))[order][inside]
        like, long = seen.values(target), np.stack([run.values(target) for run in for_ever])
        later = 0.0 if target.metric == "tpot" else max(float(np.median(measured - like)), 0.0)
        found.append(_corrected(_Answers(measured, like + later, long + later, batches), target))
    return tuple(one for one in found if one is not None)


@dataclass(frozen=True, eq=False)
class _Answers:
    """One metric as measured, of the stand-in under the same requests and in long runs (a row each); the batches."""

    measured: Floats
    like: Floats
    long: Floats
    batches: int

    def pools(self) -> tuple[Pool, Pool]:
        """The first two, in the same batches."""
        labels, none = batch_labels(len(self.measured), self.batches), np.zeros(self.batches, dtype=np.int64)
        return pool(self.measured, labels, none), pool(self.like, labels, none)


def _corrected(answers: _Answers, target: Target) -> Expected | None:
    """The percentile measured, times that of the long run over that of the stand-in's own answers to this load."""
    measured, like = answers.pools()
    value, chance = measured.order_statistic(target.percent), like.order_statistic(target.percent)
    drawn = _logarithms(measured, target), _logarithms(like, target)
    if drawn[0] is None or drawn[1] is None or min(value, chance) <= 0:
        return None
    alone, by_chance, left = (float(np.std(part)) for part in (drawn[0], drawn[1], drawn[0] - drawn[1]))
    half = answers.long.shape[1] // 2
    before, after = (percentile(part, target) for part in (answers.long[:, :half], answers.long[:, half:]))
    if after > _GROWN * before:
        return None
    alike = (alone**2 + by_chance**2 - left**2) / max(2 * alone * by_chance, 1e-12)
    shift = math.log(percentile(answers.long, target) / chance)
    taken, doubt = (shift, _DOUBT * shift) if alike >= _ALIKE else (shift / 2, shift / 2)
    doubt = math.hypot(doubt, _UNLIKE * math.log(value / chance))
    inflated = math.sqrt(variance_factor(measured.shares_above(value) - like.shares_above(chance)))
    width = _WIDTH * math.hypot(left * inflated, _long_error(answers.long, target), doubt)
    found = value * math.exp(taken)
    return Expected(target=target.key, value_s=found, lo_s=found * math.exp(-width), hi_s=found * math.exp(width))


def _logarithms(pooled: Pool, target: Target) -> Floats | None:
    """The logarithm of the percentile in each draw of batches; None where one has none or it is no positive time."""
    drawn = resampled(pooled, target.percent)
    return np.log(drawn) if bool(np.isfinite(drawn).all()) and drawn.min() > 0 else None


def _heard(stand_in: StandIn, requests: Requests, order: NDArray[np.intp]) -> Heard:
    """The stand-in's answers to what was sent."""
    scheduled = requests.scheduled_ns[order] / NS_PER_S
    inputs, outputs = requests.requested_input_tokens[order], requests.requested_output_tokens[order]
    return Heard(scheduled, *stand_in.answers(scheduled, inputs, outputs), outputs)


def _long_runs(stand_in: StandIn, held: Held, targets: Sequence[Target]) -> list[Heard]:
    """The stand-in's answers to long schedules, as many as tell each target's percentile well.

    Where places are few and lives long, all the waiting of thousands of requests comes from a handful of busy periods.
    The schedules are the same for all points but for their rate, so that their luck does not bend the curve.
    """
    runs: list[Heard] = []
    while len(runs) < _MOST_RUNS:
        runs.append(_long_run(stand_in, held, _SEED + len(runs)))
        known = [_long_error(np.stack([run.values(target) for run in runs]), target) for target in targets]
        if max(known) <= _KNOWN:
            break
    return runs


def _long_error(long: Floats, target: Target) -> float:
    """The standard error of the logarithm of the percentile of all rows of *long*, by batches drawn again."""
    values = long.reshape(-1)
    pooled = pool(values, batch_labels(len(values), MOST_BATCHES), np.zeros(MOST_BATCHES, dtype=np.int64))
    drawn = _logarithms(pooled, target)
    if drawn is None:
        return math.inf
    alike = variance_factor(pooled.shares_above(percentile(values, target)))
    return float(np.std(drawn)) * math.sqrt(alike)


def _long_run(stand_in: StandIn, held: Held, seed: int) -> Heard:
    """The stand-in's answers to a long schedule, once it has settled.

    Its arrivals are stretched so that the work it holds comes at exactly the load's rate.
    """
    schedule = make_schedule(held.workload, held.load, Stop(requests=_LONG_RUN), seed)
    assert schedule.arrival_ns is not None  # noqa: S101 - open loop
    inputs, outputs = schedule.input_tokens, schedule.output_tokens
    scheduled = schedule.arrival_ns / NS_PER_S * _stretch(stand_in, schedule, held.load, held.workload)
    first, last = stand_in.answers(scheduled, inputs, outputs)
    return Heard(scheduled, first, last, outputs).part(slice(_SETTLING, -_SETTLING // 2))


def _stretch(stand_in: StandIn, schedule: Schedule, load: OpenLoad, workload: Workload) -> float:
    """By which factor the arrivals of *schedule* must lie farther apart for its work to come as the law has it."""
    means = mean_length(workload.input_tokens), mean_length(workload.output_tokens)
    assert schedule.arrival_ns is not None  # noqa: S101 - open loop
    arrived = len(schedule) / float(schedule.arrival_ns[-1]) * NS_PER_S / load.rate_rps
    share = stand_in.prompt_share(*means)
    drawn = float(schedule.input_tokens.mean()) / means[0], float(schedule.output_tokens.mean()) / means[1]
    return arrived * (share * drawn[0] + (1 - share) * drawn[1])
