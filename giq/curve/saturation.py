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

    On the plateau are open-loop points `past_saturation` and the closed-loop rungs from which a doubling of
    concurrency completed less than 5 % more. The plateau is the highest completion rate among them (overload
    can only lower it), its interval from the growth of in-flight (open loop: what is not completed piles up) or
    from the spread between the rungs. An unsteady point, one with errors or one with few requests counts here, since
    its completions are real; one whose client was late or whose counters disagree does not.
    """
    plateau = [found for point in curve.points if (found := _overloaded(point)) is not None]
    rungs = _plateau_rungs(curve.points)
    if rungs is not None:
        plateau.append(rungs)
    stable = [stable_rate(point) for point in curve.valid_points]
    if not plateau:
        return _not_reached(stable)
    best = max(plateau, key=lambda estimate: estimate.value)
    proven = [point.achieved_rps for point in curve.valid_points]
    value = max([best.value, *proven])
    rate = Estimate(value=value, lo=min(best.lo or 0.0, value), hi=max(best.hi or value, value))
    return Saturation(rate=rate, reached=True, reason=f"completions level off at {format_rate(value)}")


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


def _overloaded(point: Point) -> Estimate | None:
    """The plateau that one open-loop point past saturation shows."""
    if not past_saturation(point) or _spoilt(point):
        return None
    rate, slope = point.achieved_rps, point.in_flight_slope
    if slope is None or slope.lo is None or slope.hi is None:
        return Estimate(value=rate)
    return Estimate(value=rate, lo=max(0.0, rate - (slope.hi - slope.value)), hi=rate + (slope.value - slope.lo))


def _plateau_rungs(points: Sequence[Point]) -> Estimate | None:
    """The plateau that closed-loop points show: the best of the last two on it, open above by the last gain."""
    rungs = sorted(
        (point for point in points if point.load_kind == "closed" and point.concurrency and not _spoilt(point)),
        key=lambda point: (point.concurrency or 0.0, point.achieved_rps, point.point_id),
    )
    for lower, upper in pairwise(rungs):
        if (upper.concurrency or 0.0) < _LEAST_STEP * (lower.concurrency or 0.0):
            continue
        gain = gain_per_doubling(lower, upper)
        if gain < PLATEAU_GAIN and lower.achieved_rps > 0:
            low, high = sorted([lower.achieved_rps, upper.achieved_rps])
            return Estimate(value=high, lo=low, hi=high * (1 + max(gain, 0.0)))
    return None


def _spoilt(point: Point) -> bool:
    """Whether a point's completions cannot be believed."""
    return any(flag in INVALIDATING and flag not in _OVERLOADED for flag in point.flags)


def _not_reached(stable: Sequence[float]) -> Saturation:
    if not stable:
        return Saturation(rate=None, reached=False, reason="no valid load point")
    highest = max(stable)
    reason = f"not reached: the highest load measured, {format_rate(highest)}, was still stable"
    return Saturation(rate=Estimate(value=highest, lo=highest), reached=False, reason=reason)
