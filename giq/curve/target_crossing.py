"""Where the open-loop points of runs say that a target is about to be missed, and how sure that is."""

from __future__ import annotations

import math
from collections.abc import Sequence, Set

import numpy as np

from giq.curve.curve import Curve
from giq.curve.monotone import Crossing, crossing
from giq.curve.point import INVALIDATING, Estimate, Point
from giq.curve.realised import prompt_share, realised_rates
from giq.curve.saturation import levelling_off, long_run_rate, past_saturation, plateau_points, saturation
from giq.curve.targets import Target, requests_needed

QUEUE_REQUESTS = 4.0
"""A queue forgets its state over about (1 + cv^2) / (1 - rho)^2 services; independent are values twice as far apart.
With cv = 1 these are 4 / (1 - rho)^2 requests of the server's full speed."""

ENOUGH = 20.0
OF_WAITING = ("ttft", "latency")

_SURELY_OVER = 0.9
_BEYOND = 10.0
_UNKNOWN_ERROR = 0.1
_LEAST_ERROR = 0.003
_UNSTEADY = 2.0
_OPTIMISM = 1.5
"""By how much a point's own interval understates how far it is off: it knows nothing of its slow start. Set on the
cases 0 to 57 of tests/truth."""
_STOPPED = 1.05
"""By how much the error of the long run is understated: a search stops where intervals happen to be narrow."""
_FULLEST = 0.98
_Z90 = 1.645
_OVERLOADED = {"NOT_STEADY", "ERRORS", "TOO_FEW"}
_OF_DECODING = ("tpot", "ntpot", "itl")
_RUNG_ERROR = 0.15
_APART = 1.05
_FEWEST = 20
_FEW_ERRORS = 0.05
_LEAST_WAIT = 0.02


def target_crossing(curve: Curve, target: Target) -> Crossing | None:
    """Where *target*'s percentile in open loop crosses its limit; None where no point tells.

    It is the percentile expected in the long run, at the rate offered, where a point tells that; else the one measured,
    at the rate realised.
    Points that are invalid only for being past saturation count as far as they plainly miss the target; one that is
    unsteady though not past saturation counts with twice its error, a short one with its own large one. Where all
    open-loop points meet the limit, rungs tell what depends on how many run (`_beside`).
    """
    opened = [point for point in curve.points if point.load_kind == "open"]
    stable = saturation(curve)
    most = stable.rate.value if stable.reached and stable.rate is not None else None
    fastest = max((point.achieved_rps for point in curve.points if point.load_kind == "closed"), default=None)
    counted = [point for point in opened if _counts(point, target, most or fastest)]
    told = [(point, value) for point in counted if (value := told_of(point, target)) is not None]
    if not told:
        return None
    rates = realised_rates(curve, [point for point, _ in told], prompt_share(plateau_points(curve)))
    least = least_value(curve, target)
    errors = [_error(point, value, target, most, least) for point, value in told]
    for place, (point, _) in enumerate(told):
        if (known := long_run(point, target)) is not None:
            rates[place], errors[place] = point.offered_rps or rates[place], _long_error(known)
    found = _crossing(told, rates, errors, target)
    beside = _beside(curve, target, rates) if target.metric in _OF_DECODING else []
    if not beside or not found.above:
        return found
    rates += [long_run_rate(point) for point, _ in beside]
    return _crossing([*told, *beside], rates, errors + [_RUNG_ERROR] * len(beside), target)


def long_run(point: Point, target: Target) -> Estimate | None:
    """What *target*'s percentile would be at *point*'s load in the long run; None where that is not told."""
    return next((one.seconds for one in point.expected if one.target == target.key), None)


def told_of(point: Point, target: Target) -> Estimate | None:
    """The best that is known of *target*'s percentile at *point*: that of the long run, else what was measured."""
    return long_run(point, target) or target.value(point)


def _long_error(known: Estimate) -> float:
    """The standard error of the logarithm of a percentile in the long run."""
    assert known.lo is not None and known.hi is not None  # noqa: S101, PT018 - always told with an interval
    return _STOPPED * max(math.log(known.hi / known.lo) / (2 * _Z90), _LEAST_ERROR)


def _crossing(
    told: Sequence[tuple[Point, Estimate]], rates: Sequence[float], errors: Sequence[float], target: Target
) -> Crossing:
    """The crossing of what is told at *rates*; an infinite value counts as far beyond the others."""
    largest = max([value.value for _, value in told if math.isfinite(value.value)], default=1.0)
    values = [min(value.value, _BEYOND * max(largest, target.seconds)) for _, value in told]
    return crossing(np.array(rates), np.array(values), np.array(errors), target.seconds)


def _beside(curve: Curve, target: Target, rates: Sequence[float]) -> list[tuple[Point, Estimate]]:
    """The closed-loop rungs that completed more than all *rates* of open-loop points, and what they have.

    How fast tokens come depends on how many requests run, whatever sends them: a full server tells about the same as an
    open loop at the rate that it completed. Below, where the number that run fluctuates, a rung is too good.
    """
    rungs = [point for point in curve.points if point.load_kind == "closed" and _servers_own(point)]
    beside = [point for point in rungs if long_run_rate(point) > max(rates) * _APART]
    return [(point, value) for point in beside if (value := target.value(point)) is not None and value.value > 0]


def queue_guess(curve: Curve, target: Target) -> float | None:
    """Where a target on waiting is about to be missed, from the point nearest to its limit; None where nothing tells.

    A queue's wait grows like rho / (1 - rho) over what it is without one, where rho is the rate over the saturation
    point (Kingman's formula); one point and the least value fix its factor.
    """
    most, least = levelling_off(curve), least_value(curve, target)
    if target.metric not in OF_WAITING or most is None or least >= target.seconds:
        return None
    told = [
        (abs(math.log(value.value / target.seconds)), point.offered_rps / most, value.value)
        for point in curve.points
        if point.load_kind == "open" and point.offered_rps and _servers_own(point)
        and (value := target.value(point)) is not None and 0 < value.value < math.inf
    ]  # fmt: skip
    if not told:
        return None
    _, load, seconds = min(told)
    load = min(load, _FULLEST)
    factor = max(seconds - least, _LEAST_WAIT * target.seconds) * (1 - load) / load
    odds = (target.seconds - least) / factor
    return most * min(odds / (1 + odds), _FULLEST)


def foreseen_rate(curve: Curve, target: Target) -> float | None:
    """Where closed loops let it be foreseen that *target* is about to be missed; None where none does.

    Of several that one counts whose own rate is nearest to what it foresees.
    """
    told = [
        (abs(math.log(one.rate_rps / long_run_rate(point))), one.rate_rps)
        for point in curve.points
        if point.achieved_rps > 0
        for one in point.foreseen
        if one.target == target.key
    ]
    return min(told)[1] if told else None


def least_value(curve: Curve, target: Target) -> float:
    """The least value of the target's percentile at any load: what it is without a queue, about."""
    values = [value.value for point in curve.points if (value := target.value(point)) is not None]
    return min([value for value in values if math.isfinite(value)], default=0.0)


def queue_error(target: Target, waited_share: float, requests: float, load: float) -> float:
    """The least standard error of the logarithm of a TTFT's percentile, of which *waited_share* is waiting in a queue.

    *requests* are those that the server could complete in the window, *load* is the rate over its saturation point. One
    window sees only its own few busy periods, and batches of it tell nothing of what it did not see; from ENOUGH
    independent values on they do.
    """
    if target.metric not in OF_WAITING:
        return 0.0
    independent = requests * (1 - min(load, _FULLEST)) ** 2 / QUEUE_REQUESTS
    return waited_share / math.sqrt(max(independent, 0.25)) if independent < ENOUGH else 0.0


def plainly_over(point: Point, target: Target) -> bool:
    """Whether an invalid open-loop point is only past saturation, short or sent late, and surely misses *target*.

    What was sent late by less than the target is missed by is not missed for that.
    """
    estimate = target.value(point)
    if point.valid or point.load_kind != "open" or estimate is None:
        return False
    late = point.schedule_delay.p99
    if not _servers_own(point, {"GENERATOR_LATE"} if late is not None else set()):
        return False
    late_s = 0.0 if late is None else late.value
    return (estimate.value / 2 if estimate.lo is None else estimate.lo) - late_s > target.seconds


def _servers_own(point: Point, besides: Set[str] = frozenset()) -> bool:
    return {flag for flag in point.flags if flag in INVALIDATING} <= _OVERLOADED | besides


def _counts(point: Point, target: Target, most: float | None) -> bool:
    doubtful = _servers_own(point) and point.error_share <= _FEW_ERRORS
    enough = point.n_requests >= _FEWEST
    return point.valid or plainly_over(point, target) or (doubtful and enough and not surely_over(point, most))


def surely_over(point: Point, most: float | None) -> bool:
    """Whether a point is past saturation, and not far below the saturation point *most*: a short one may seem so."""
    return past_saturation(point) and (most is None or (point.offered_rps or 0.0) > _SURELY_OVER * most)


def _error(point: Point, estimate: Estimate, target: Target, most: float | None, least: float) -> float:
    """The standard error of the logarithm: of the 90 % interval (a tenth where there is none), or `queue_error`."""
    lo, hi = estimate.lo, estimate.hi
    known = lo is not None and hi is not None and lo > 0 and math.isfinite(hi)
    unknown = _UNKNOWN_ERROR * math.sqrt(requests_needed([target]) / max(point.n_requests, 1))
    error = math.log((hi or 1.0) / (lo or 1.0)) / (2 * _Z90) if known else unknown
    if most is not None and point.offered_rps is not None:
        waited = max(1 - least / estimate.value, 0.0) if estimate.value > 0 else 0.0
        error = max(error, queue_error(target, waited, most * point.window_s, point.offered_rps / most))
    return _OPTIMISM * max(error, _LEAST_ERROR) * (_UNSTEADY if "NOT_STEADY" in point.flags else 1.0)
