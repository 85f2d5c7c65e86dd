"""The saturation point of a curve: the highest rate of requests that stays stable."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

from giq.curve.curve import Curve
from giq.curve.point import INVALIDATING, Estimate, Point
from giq.documents import Entry
from giq.units import format_rate

KEPT_UP = 0.97
"""An open-loop point that completes less than this share of what was offered is past saturation."""
PLATEAU_GAIN = 0.05
"""A doubling of concurrency that completes less than this share more is on the plateau."""

_OVERLOADED = {"NOT_STEADY", "ERRORS", "TOO_FEW"}
_LEAST_STEP = 1.25
_WAITING_SHARE = 0.2
_LEAST_DOUBT = 0.01
_MOST_TO_COME = 2.0
_Z90 = 1.645


class Saturation(Entry, frozen=True, kw_only=True):
    """The saturation point in requests/s per deployment unit.

    When `reached` is False the curve never saturates in its range: `rate` is then the highest rate that was
    stable, a lower bound without an upper end, or None without a usable point.
    """

    rate: Estimate | None
    reached: bool
    reason: str


def saturation(curve: Curve) -> Saturation:
    """The saturation point, estimated from the plateau of completions.

    On the plateau are open-loop points `past_saturation`, closed-loop rungs `backlogged`, and those from the first
    doubling of concurrency on that completed less than 5 % more. Those within 5 % of what the best of them completed
    for sure are pooled (overload can lower completions, and the best alone would be the luckiest), by what their work
    amounts to at the law's mean lengths (`giq.curve.work`). Where that is unknown, by their completions, with
    the interval of a Poisson count of them, or, where that is wider, of the growth of in-flight: what is not completed
    piles up. The rate is not below what a valid open-loop point kept up with.

    An unsteady point, one with errors or one with few requests counts here, since its completions are real; one
    whose client was late or whose counters disagree does not. A ramp holds no rate: nothing is read off it.
    """
    if not curve.workload.arrival.is_steady:
        return Saturation(rate=None, reached=False, reason=f"not told by {curve.workload.arrival}, which holds no rate")
    plateau = plateau_points(curve)
    if not plateau:
        return _not_reached([stable_rate(point) for point in curve.valid_points])
    best = max(_least(_completions(point)) for point in plateau)
    pooled = [point for point in plateau if _completions(point).value >= (1 - PLATEAU_GAIN) * best]
    rate, width = _mean([_completions(point) for point in pooled], [point.window_s for point in pooled])
    below, above = _doubt([point for point in pooled if point.work_rps is None])
    kept_up = [min(point.achieved_rps, stable_rate(point)) for point in curve.valid_points if point.load_kind == "open"]
    value = max([rate, *kept_up])
    lo, hi = max(rate - max(width, below), 0.0), max(rate + max(width, above), value)
    estimate = Estimate(value=value, lo=lo, hi=hi)
    return Saturation(rate=estimate, reached=True, reason=f"completions level off at {format_rate(value)}")


def levelling_off(curve: Curve) -> float | None:
    """About where completions level off: the saturation point, or where the last two rungs say that it will be.

    N slots complete S N / (N + h) where each answer takes a fixed time and shares the rest with the others; two rungs
    fix S, which is taken to be at most twice the larger rung's. None below two rungs.
    """
    found = saturation(curve)
    if found.reached and found.rate is not None:
        return found.rate.value
    closed = [point for point in curve.points if point.load_kind == "closed" and point.concurrency]
    rungs = sorted(closed, key=lambda point: point.concurrency or 0.0)
    if len(rungs) < 2 or min(rungs[-1].achieved_rps, rungs[-2].achieved_rps) <= 0:
        return None
    lower, upper = rungs[-2], rungs[-1]
    ratio = (upper.concurrency or 1.0) / (lower.concurrency or 1.0)
    inverse = (ratio / upper.achieved_rps - 1 / lower.achieved_rps) / (ratio - 1) if ratio > 1 else 0.0
    return 1 / max(inverse, 1 / (_MOST_TO_COME * upper.achieved_rps))


def plateau_points(curve: Curve) -> list[Point]:
    """The points at which the server always had work and their completions can be believed.

    An open-loop point that was offered less than a rung completed is not one of them: its in-flight rose by chance.
    """
    rungs = _plateau_rungs(curve.points)
    if curve.workload.conversation is not None:  # overload leaves conversations at their first, shortest turns
        return rungs
    completed = max((point.achieved_rps for point in curve.points if point.load_kind == "closed"), default=0.0)
    over = [point for point in curve.points if past_saturation(point) and not _spoilt(point)]
    return [point for point in over if (point.offered_rps or 0.0) > KEPT_UP * completed] + rungs


def past_saturation(point: Point) -> bool:
    """Whether an open-loop point offered more than the server completes, for sure.

    It completed less than 97 % of what was offered, while the number in flight rose (its slope's interval is above
    0) or requests were refused or timed out (ERRORS).
    """
    if point.load_kind != "open" or point.offered_rps is None:
        return False
    slope = point.in_flight_slope
    rises = slope is not None and slope.lo is not None and slope.lo > 0
    return point.achieved_rps < KEPT_UP * point.offered_rps and (rises or "ERRORS" in point.flags)


def backlogged(point: Point) -> bool:
    """Whether requests of a closed-loop point waited for a place on the server all the time, as its own metrics say."""
    waiting, slots = point.waiting_mean, point.concurrency
    return point.load_kind == "closed" and waiting is not None and waiting >= max(1.0, _WAITING_SHARE * (slots or 0.0))


def stable_rate(point: Point) -> float:
    """The rate that a valid point proves stable: what was offered (closed loop: completed)."""
    return point.achieved_rps if point.load_kind == "closed" or point.offered_rps is None else point.offered_rps


def long_run_rate(point: Point) -> float:
    """What a closed loop completes in the long run, where that is told; else what it completed."""
    return point.achieved_rps if point.work_rps is None else point.work_rps.value


def gain_per_doubling(lower: Point, upper: Point) -> float:
    """By which share completions rose per doubling of concurrency from one closed-loop point to another."""
    doublings = math.log2((upper.concurrency or 1.0) / (lower.concurrency or 1.0))
    if lower.achieved_rps <= 0 or upper.achieved_rps <= 0:
        return math.inf if upper.achieved_rps > 0 else -1.0
    return float((upper.achieved_rps / lower.achieved_rps) ** (1 / doublings) - 1)


def _completions(point: Point) -> Estimate:
    """What a point with work all the time completed per second, at the law's mean lengths where they are known."""
    if point.work_rps is not None and point.work_rps.lo is not None:
        return point.work_rps
    counted = point.achieved_rps * point.window_s
    width = point.achieved_rps * (_Z90 / math.sqrt(counted) if counted > 0 else 1.0)
    return Estimate(value=point.achieved_rps, lo=point.achieved_rps - width, hi=point.achieved_rps + width)


def _least(estimate: Estimate) -> float:
    return estimate.value if estimate.lo is None else estimate.lo


def _mean(found: Sequence[Estimate], weights: Sequence[float]) -> tuple[float, float]:
    """The weighted mean of independent estimates, and half the width of its 90 % interval (at least 1 %)."""
    total = sum(weights)
    if total <= 0:
        return max(one.value for one in found), max(one.value for one in found)
    value = sum(weight * one.value for weight, one in zip(weights, found, strict=True)) / total
    halves = [weight * ((one.hi or one.value) - one.value) / total for weight, one in zip(weights, found, strict=True)]
    return value, max(math.hypot(*halves), _LEAST_DOUBT * value)


def _doubt(pooled: Sequence[Point]) -> tuple[float, float]:
    """By how much the completions of the pooled points may be lower and higher, as their in-flight's growth tells."""
    slopes = [point.in_flight_slope for point in pooled if past_saturation(point) and point.in_flight_slope is not None]
    known = [(slope.value, slope.lo, slope.hi) for slope in slopes if slope.lo is not None and slope.hi is not None]
    if not known:
        return 0.0, 0.0
    below, above = sum(hi - value for value, _, hi in known), sum(value - lo for value, lo, _ in known)
    return below / len(known), above / len(known)


def _plateau_rungs(points: Sequence[Point]) -> list[Point]:
    """The closed-loop points from the first doubling of concurrency on that gained next to nothing."""
    rungs = sorted(
        (point for point in points if point.load_kind == "closed" and point.concurrency and not _spoilt(point)),
        key=lambda point: (point.concurrency or 0.0, point.achieved_rps, point.point_id),
    )
    full = [point for point in rungs if backlogged(point)]
    if full:
        return full
    for place, (lower, upper) in enumerate(pairwise(rungs)):
        apart = (upper.concurrency or 0.0) >= _LEAST_STEP * (lower.concurrency or 0.0)
        if apart and lower.achieved_rps > 0 and gain_per_doubling(lower, upper) < PLATEAU_GAIN:
            return rungs[place:]
    return []


def _spoilt(point: Point) -> bool:
    """Whether a point's completions cannot be believed."""
    return any(flag in INVALIDATING and flag not in _OVERLOADED for flag in point.flags)


def _not_reached(stable: Sequence[float]) -> Saturation:
    if not stable:
        return Saturation(rate=None, reached=False, reason="no valid load point")
    highest = max(stable)
    reason = f"not reached: the highest load measured, {format_rate(highest)}, was still stable"
    return Saturation(rate=Estimate(value=highest, lo=highest), reached=False, reason=reason)
