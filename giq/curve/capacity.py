"""Capacity at targets: the highest rate such that it and every lower rate meets each target."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import zip_longest
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from giq.curve.curve import Curve
from giq.curve.load_axis import LoadAxis, at_rate, load_axis
from giq.curve.monotone import Crossing
from giq.curve.point import INVALIDATING, Estimate, Point
from giq.curve.saturation import Saturation, long_run_rate, saturation
from giq.curve.target_crossing import foreseen_rate, plainly_over, queue_guess, target_crossing, told_of
from giq.curve.targets import Target, thresholds
from giq.documents import Entry
from giq.units import format_rate, format_seconds

__all__ = ["Capacity", "Miss", "Saturation", "capacity", "saturation"]

_FORESIGHT, _FORESEEN = 0.35, "foreseen from closed loops"
"""The standard error of the logarithm of what is foreseen: nine in ten of the cases of tests/truth are no farther off
than its interval."""
_Z90 = 1.645
_KNOWN = 0.1
"""A crossing with such an error is known well enough without."""

Status = Literal["met", "met_beyond_range", "unmet", "no_points"]


class Miss(Entry, frozen=True, kw_only=True):
    """How the lowest load measured misses a target: what it has instead."""

    target: Target
    value: Estimate
    rate_rps: float
    point_id: str

    def __str__(self) -> str:
        metric = str(self.target).partition(" <= ")[0]
        limit = format_seconds(self.target.seconds)
        return f"{metric} is {format_seconds(self.value.value)} at {format_rate(self.rate_rps)}, above {limit}"


class Capacity(Entry, frozen=True, kw_only=True):
    """The capacity of one deployment unit at some targets, in requests/s.

    `met`: `rate` is the capacity. `met_beyond_range`: every load measured meets them, `rate` is the highest and
    a lower bound. `unmet`: the lowest load measured already misses one (`nearest_miss`). `no_points`: nothing to
    judge by. `limiting` is the target that sets the rate, None where saturation, the range or the share of requests
    that meet all targets at once does; `reason` names each of them. The interval of a rate that the share sets is
    not known.
    `joint_attainment` is the share of requests that meet all targets at `rate`, where the points tell it.
    """

    rate: Estimate | None
    status: Status
    limiting: Target | None = None
    nearest_miss: Miss | None = None
    joint_attainment: float | None = None
    reason: str


@dataclass(frozen=True)
class _Criterion:
    """One thing that must stay at or below *bound*, with its value, lower and upper end at each rate."""

    target: Target | None
    name: str
    bound: float
    rates: NDArray[np.float64]
    value: NDArray[np.float64]
    lo: NDArray[np.float64]
    hi: NDArray[np.float64]
    overload_rps: float
    has_intervals: bool


@dataclass(frozen=True)
class _Limit:
    """The highest rate that one criterion allows: None where not even the lowest; `beyond` where all.

    `target` is None for the share of requests that must meet all targets at once, whose ends are not known.
    """

    target: Target | None
    name: str
    rate: float | None
    lo: float | None
    hi: float
    beyond: bool


def capacity(curve: Curve, targets: Sequence[Target], attainment: float | None = None) -> Capacity:
    """The capacity of *curve* at all *targets*; with *attainment* also that share of requests must meet them jointly.

    Of open-loop points of runs: each target's percentile over the rates (as expected in the long run, else corrected
    for what chance offered, `realised_rates`) is made the least-squares curve that never falls, and read off where it
    crosses the limit; points near each other are pooled, and the interval is that of the curves which their own
    intervals allow (`crossing`).

    Otherwise the percentile over the rates of the `load_axis` is made monotone by its running maximum, so that every
    lower rate meets the target too, and interpolated linearly between the last rate that meets it and the first that
    does not; to an infinite value there is no line, and the last rate that meets it is taken. The interval is read
    off the curves of the percentile's lower and upper ends, since what is predicted errs in all points alike.
    The rate never lies outside the measured range nor above saturation.

    An open-loop point that is invalid only for being past saturation ends the range like a point of infinite
    latency, if it plainly misses the target: with the lower end of its interval, or by a factor of 2 where it has
    none. Without targets the capacity is what is stable.
    """
    axis = load_axis(curve)
    crossed = [_crossed(curve, target) for target in targets]
    if not axis.points and (not targets or attainment is not None or None in crossed):
        return Capacity(rate=None, status="no_points", reason=_why_none(curve))
    if any(crossed):
        axis = replace(axis, note="")
    criteria = [_of_target(curve, axis, target) for target in targets]
    if attainment is not None and targets:
        criteria.append(_of_attainment(axis, targets, attainment))
    limits: list[_Limit] = []
    for criterion, limit in zip_longest(criteria, crossed):
        if limit is None and not len(criterion.rates):
            name = str(criterion.target) if criterion.target else f"attainment of {thresholds(targets)}"
            return Capacity(rate=None, status="no_points", reason=f"no valid point tells the {name}")
        limits.append(limit or _limit(criterion))
    if any(limit.rate is None for limit in limits):
        return _unmet(curve, axis, targets, next(limit for limit in limits if limit.rate is None))
    return _met(curve, axis, targets, limits)


def _of_target(curve: Curve, axis: LoadAxis, target: Target) -> _Criterion:
    rates, value = axis.values(lambda point: _part(target.value(point), "value"))
    _, lo = axis.values(lambda point: _part(target.value(point), "lo"))
    _, hi = axis.values(lambda point: _part(target.value(point), "hi"))
    overloads = [point.offered_rps or 0.0 for point in curve.points if axis.is_open and plainly_over(point, target)]
    known = any((found := target.value(point)) is not None and found.lo is not None for point in axis.points)
    return _Criterion(target, str(target), target.seconds, rates, value, lo, hi, min(overloads, default=np.inf), known)


def _of_attainment(axis: LoadAxis, targets: Sequence[Target], attainment: float) -> _Criterion:
    rates, missing = axis.values(_missing_share(targets))
    name = f"{attainment * 100:g} % of requests meeting all targets at once"
    return _Criterion(None, name, 1 - attainment, rates, missing, missing, missing, np.inf, False)


def _missing_share(targets: Sequence[Target]) -> Callable[[Point], float | None]:
    """What share of a point's requests misses one of *targets*; None where the point does not tell."""
    name = thresholds(targets)
    return lambda point: next((1 - item.joint for item in point.attainment if item.targets == name), None)


def _part(estimate: Estimate | None, end: str) -> float | None:
    """The value of an estimate or one end of its interval, for which the value stands where it lacks one."""
    if estimate is None:
        return None
    found: float | None = getattr(estimate, end)
    return estimate.value if found is None else found


def _crossed(curve: Curve, target: Target) -> _Limit | None:
    """The limit of a curve of open-loop points that come from runs; None of any other."""
    if any(point.run_id is None for point in curve.points):
        return None
    found = target_crossing(curve, target)
    if found is not None and not (found.below or found.above):
        return _crossed_at(found, target, foreseen_rate(curve, target))
    foreseen = _foreseen(curve, target, found)
    if foreseen is not None or found is None:
        return foreseen
    guess = queue_guess(curve, target)
    if found.below and (met := _highest_met(curve, target, found.value)) is not None:
        between = (met + found.value) / 2 if guess is None else min(max(guess, met), found.value)
        return _Limit(target, str(target), between, met, found.value, False)
    highest = max(point.achieved_rps for point in curve.points)
    if guess is not None and found.above and found.value < guess < highest:
        return _Limit(target, str(target), guess, found.value, np.inf, False)
    if found.below:
        return _Limit(target, str(target), None, None, 0.0, False)
    offered = max(point.offered_rps or 0.0 for point in curve.points if point.load_kind == "open")
    return _Limit(target, str(target), offered, offered, np.inf, True)


def _crossed_at(found: Crossing, target: Target, foreseen: float | None) -> _Limit:
    """The limit at a crossing; where that is known badly, and what is *foreseen* agrees, their mean.

    Weighted by the inverse of the variances of their logarithms, as of two independent estimates.
    """
    error = math.log(found.hi / found.lo) / (2 * _Z90)
    apart = 0.0 if foreseen is None else math.log(foreseen / found.value)
    if foreseen is None or error < _KNOWN or abs(apart) > 2 * math.hypot(error, _FORESIGHT):
        return _Limit(target, str(target), found.value, found.lo, found.hi, False)
    share = error**2 / (error**2 + _FORESIGHT**2)
    rate, factor = found.value * math.exp(share * apart), math.exp(_Z90 * _FORESIGHT * math.sqrt(share))
    return _Limit(target, f"{target}, partly {_FORESEEN}", rate, rate / factor, rate * factor, False)


def _foreseen(curve: Curve, target: Target, found: Crossing | None) -> _Limit | None:
    """The limit as closed loops let it be foreseen, where no open loop was held for long enough to be valid.

    Those that were held still bound it: where all meet *target*, or all miss it.
    """
    rate = foreseen_rate(curve, target)
    held = any(point.load_kind == "open" for point in curve.valid_points)
    deep = any(point.concurrency == 1 for point in curve.points)
    if rate is None or (held and (found is None or found.above or deep or rate >= found.value)):
        return None
    lo, hi = (rate * math.exp(side * _Z90 * _FORESIGHT) for side in (-1, 1))
    if found is not None and found.above:
        rate, lo, hi = max(rate, found.value), max(lo, found.value), max(hi, found.value)
    if found is not None and found.below:
        rate, lo, hi = min(rate, found.value), min(lo, found.value), min(hi, found.value)
    return _Limit(target, f"{target}, {_FORESEEN}", rate, lo, hi, False)


def _highest_met(curve: Curve, target: Target, below: float) -> float | None:
    """The highest rate *below* that at which a rung met *target*: where no open-loop point does, it lies above."""
    met = [
        long_run_rate(point)
        for point in curve.points
        if point.load_kind == "closed"
        and long_run_rate(point) < below
        and (value := target.value(point)) is not None
        and value.value <= target.seconds
    ]
    return max(met, default=None)


def _limit(criterion: _Criterion) -> _Limit:
    inside = criterion.rates < criterion.overload_rps
    rates = criterion.rates[inside]
    if not len(rates):
        return _Limit(criterion.target, criterion.name, None, None, 0.0, False)
    rate, all_meet = _highest(rates, criterion.value[inside], criterion.bound)
    if criterion.target is None:
        return _Limit(None, criterion.name, rate, None, np.inf, all_meet)
    low, _ = _highest(rates, criterion.hi[inside], criterion.bound)
    high, all_could = _highest(rates, criterion.lo[inside], criterion.bound, to_infinite=1.0)
    overloaded = bool(np.isfinite(criterion.overload_rps))
    upper = criterion.overload_rps if all_could else (high or 0.0)
    lower = (low or 0.0) if criterion.has_intervals else None
    return _Limit(criterion.target, criterion.name, rate, lower, float(upper), all_meet and not overloaded)


def _highest(
    rates: NDArray[np.float64], values: NDArray[np.float64], bound: float, to_infinite: float = 0.0
) -> tuple[float | None, bool]:
    """The highest rate up to which the running maximum of *values* stays at or below *bound*, and whether all does.

    *to_infinite* is the share of the way taken towards a rate whose value is infinite.
    """
    distinct, place = np.unique(rates, return_inverse=True)
    worst = np.full(len(distinct), -np.inf)
    np.maximum.at(worst, place, values)
    worst = np.maximum.accumulate(worst)
    missing = int(np.searchsorted(worst, bound, side="right"))
    if missing == len(worst):
        return float(distinct[-1]), True
    if missing == 0:
        return None, False
    below, above = worst[missing - 1], worst[missing]
    share = to_infinite if np.isinf(above) else (bound - below) / (above - below)
    step = distinct[missing] - distinct[missing - 1]
    return float(min(distinct[missing - 1] + share * step, distinct[missing])), False


def _met(curve: Curve, axis: LoadAxis, targets: Sequence[Target], limits: Sequence[_Limit]) -> Capacity:
    """The capacity where every target is met somewhere: the lowest of the limits, and of saturation."""
    top = axis.rates[-1] if axis.rates else 0.0
    lowest = min(
        limits,
        key=lambda limit: (limit.rate or 0.0, limit.beyond),
        default=_Limit(None, "saturation", top, None, np.inf, True),
    )
    stable = saturation(curve)
    cap = stable.rate if stable.reached else None
    rate = lowest.rate or 0.0
    limiting = None if lowest.beyond else lowest
    beyond = lowest.beyond
    if cap is not None and (rate >= cap.value or (beyond and not targets)):
        rate, limiting, beyond = (min(rate, cap.value), None, False) if targets else (cap.value, None, False)
    by_share = limiting is not None and limiting.target is None
    estimate = Estimate(value=rate) if by_share else _interval(rate, limits, cap, beyond)
    shares = [_missing_share(targets)(point) for point in axis.points]
    missing = at_rate(axis.rates, shares, rate) if targets and axis.rates and axis.rates[0] <= rate <= top else None
    return Capacity(
        rate=estimate,
        status="met_beyond_range" if beyond else "met",
        limiting=None if limiting is None else limiting.target,
        joint_attainment=None if missing is None else max(1 - missing, _surely_met(targets)),
        reason=_why(axis, limiting, beyond, rate),
    )


def _surely_met(targets: Sequence[Target]) -> float:
    """The least share of requests that meets all *targets* where each is met at its percentile (Boole's inequality).

    Between two measured points the share is interpolated over what may be a cliff, the percentiles likewise; this
    keeps the two from contradicting each other.
    """
    return max(0.0, 1 - sum(1 - target.percent / 100 for target in targets))


def _interval(rate: float, limits: Sequence[_Limit], cap: Estimate | None, beyond: bool) -> Estimate:
    """*rate* with the interval that the limits and saturation leave; no upper end for a lower bound."""
    lows = [limit.lo for limit in limits if limit.lo is not None]
    highs = [limit.hi for limit in limits if np.isfinite(limit.hi)]
    if cap is not None and cap.hi is not None:
        highs.append(cap.hi)
    if not limits and cap is not None and cap.lo is not None:
        lows.append(cap.lo)
    known = bool(lows)
    return Estimate(
        value=rate,
        lo=min(rate, *lows) if known else None,
        hi=max(rate, min(highs)) if known and highs and not beyond else None,
    )


def _why(axis: LoadAxis, limiting: _Limit | None, beyond: bool, rate: float) -> str:
    if limiting is not None:
        reason = f"limited by {limiting.name}"
    elif beyond:
        reason = f"all loads measured meet the targets; {format_rate(rate)}, the highest, is a lower bound"
    else:
        reason = "limited by saturation"
    return f"{reason} ({axis.note})" if axis.note else reason


def _unmet(curve: Curve, axis: LoadAxis, targets: Sequence[Target], limit: _Limit) -> Capacity:
    """The capacity where the lowest load already misses: with the target missed by the largest factor there."""
    if limit.target is None:
        reason = f"at the lowest load measured, {format_rate(axis.rates[0])}, too few requests meet all targets"
        return Capacity(rate=None, status="unmet", reason=reason)
    over = [(p.offered_rps or 0.0, p) for p in curve.points if p.load_kind == "open" and _excess(p, limit.target) > 1]
    placed = sorted([*over, *zip(axis.rates, axis.points, strict=True)], key=lambda pair: (pair[0], pair[1].point_id))
    rate, point = next(pair for pair in placed if _excess(pair[1], limit.target) > 1)
    worst = max(targets, key=lambda target: _excess(point, target))
    value = told_of(point, worst)
    assert value is not None  # noqa: S101 - it exceeds its target, so it is known
    miss = Miss(target=worst, value=value, rate_rps=rate, point_id=point.point_id)
    reason = f"at the lowest load measured {miss}"
    return Capacity(rate=None, status="unmet", limiting=limit.target, nearest_miss=miss, reason=reason)


def _excess(point: Point, target: Target) -> float:
    """By which factor *point* exceeds *target*; 0 where it does not tell."""
    value = told_of(point, target)
    return 0.0 if value is None else value.value / target.seconds


def _why_none(curve: Curve) -> str:
    if not curve.points:
        return "the curve has no load point"
    flags = sorted({flag for point in curve.points for flag in point.flags if flag in INVALIDATING})
    return f"none of {len(curve.points)} load points is valid: {', '.join(flags)}"
