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

    On the plateau are open-loop points `past_saturation`, and closed-loop rungs from the first doubling of
    concurrency on that completed less than 5 % more. Those within 5 % of the best of them are pooled (overload can
    lower completions, and the best alone would be the luckiest). The interval is that of a Poisson count of all
    their completions (wide for requests of equal length), or, where that is wider, of the growth of in-flight: what is
    not completed piles up. The rate is not below what a valid open-loop point kept up with.

    An unsteady point, one with errors or one with few requests counts here, since its completions are real; one
    whose client was late or whose counters disagree does not.
    """
    plateau = [point for point in curve.points if past_saturation(point) and not _spoilt(point)]
    plateau += _plateau_rungs(curve.points)
    if not plateau:
        return _not_reached([stable_rate(point) for point in curve.valid_points])
    best = max(point.achieved_rps for point in plateau)
    pooled = [point for point in plateau if point.achieved_rps >= (1 - PLATEAU_GAIN) * best]
    window_s = sum(point.window_s for point in pooled)
    completed = sum(point.achieved_rps * point.window_s for point in pooled)
    rate = completed / window_s if window_s > 0 else best
    below, above = _doubt(pooled)
    width = rate * _Z90 / math.sqrt(completed) if completed > 0 else rate
    kept_up = [min(point.achieved_rps, stable_rate(point)) for point in curve.valid_points if point.load_kind == "open"]
    value = max([rate, *kept_up])
    lo, hi = max(rate - max(width, below), 0.0), max(rate + max(width, above), value)
    estimate = Estimate(value=value, lo=lo, hi=hi)
    return Saturation(rate=estimate, reached=True, reason=f"completions level off at {format_rate(value)}")


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


def stable_rate(point: Point) -> float:
    """The rate that a valid point proves stable: what was offered (closed loop: completed)."""
    return point.achieved_rps if point.load_kind == "closed" or point.offered_rps is None else point.offered_rps


def gain_per_doubling(lower: Point, upper: Point) -> float:
    """By which share completions rose per doubling of concurrency from one closed-loop point to another."""
    doublings = math.log2((upper.concurrency or 1.0) / (lower.concurrency or 1.0))
    if lower.achieved_rps <= 0 or upper.achieved_rps <= 0:
        return math.inf if upper.achieved_rps > 0 else -1.0
    return float((upper.achieved_rps / lower.achieved_rps) ** (1 / doublings) - 1)


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
