"""Where the open-loop points of runs say that a target is about to be missed, and how sure that is."""

from __future__ import annotations

import math

import numpy as np

from giq.curve.curve import Curve
from giq.curve.monotone import Crossing, crossing
from giq.curve.point import INVALIDATING, Estimate, Point
from giq.curve.realised import prompt_share, realised_rates
from giq.curve.saturation import past_saturation, plateau_points, saturation
from giq.curve.targets import Target

QUEUE_REQUESTS = 4.0
"""A queue forgets its state over about (1 + cv^2) / (1 - rho)^2 services; independent are values twice as far apart.
With cv = 1 these are 4 / (1 - rho)^2 requests of the server's full speed."""

ENOUGH = 20.0

_SURELY_OVER = 0.9
_BEYOND = 10.0
_UNKNOWN_ERROR = 0.1
_LEAST_ERROR = 0.003
_UNSTEADY = 2.0
_OPTIMISM = 1.5
"""By how much a point's own interval understates how far it is off: it knows nothing of its slow start. Set on the
cases 0 to 57 of tests/truth."""
_FULLEST = 0.98
_Z90 = 1.645
_OVERLOADED = {"NOT_STEADY", "ERRORS", "TOO_FEW"}


def target_crossing(curve: Curve, target: Target) -> Crossing | None:
    """Where *target*'s percentile, measured in open loop, crosses its limit; None where no point tells.

    Points that are invalid only for being past saturation or short count as far as they plainly miss the target; one
    that is unsteady though not past saturation counts with twice its error.
    """
    opened = [point for point in curve.points if point.load_kind == "open"]
    stable = saturation(curve)
    most = stable.rate.value if stable.reached and stable.rate is not None else None
    counted = [point for point in opened if _counts(point, target, most)]
    told = [(point, value) for point in counted if (value := target.value(point)) is not None]
    if not told:
        return None
    rates = realised_rates(curve, [point for point, _ in told], prompt_share(plateau_points(curve)))
    largest = max([value.value for _, value in told if math.isfinite(value.value)], default=1.0)
    values = [min(value.value, _BEYOND * max(largest, target.seconds)) for _, value in told]
    least = least_value(curve, target)
    errors = [_error(point, value, target, most, least) for point, value in told]
    return crossing(np.array(rates), np.array(values), np.array(errors), target.seconds)


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
    if target.metric not in ("ttft", "latency"):
        return 0.0
    independent = requests * (1 - min(load, _FULLEST)) ** 2 / QUEUE_REQUESTS
    return waited_share / math.sqrt(max(independent, 0.25)) if independent < ENOUGH else 0.0


def plainly_over(point: Point, target: Target) -> bool:
    """Whether an invalid open-loop point is only past saturation or short, and surely misses *target*."""
    estimate = target.value(point)
    if point.valid or not _servers_own(point) or estimate is None:
        return False
    return (estimate.value / 2 if estimate.lo is None else estimate.lo) > target.seconds


def _servers_own(point: Point) -> bool:
    return point.load_kind == "open" and {flag for flag in point.flags if flag in INVALIDATING} <= _OVERLOADED


def _counts(point: Point, target: Target, most: float | None) -> bool:
    only_unsteady = {flag for flag in point.flags if flag in INVALIDATING} <= {"NOT_STEADY"}
    return point.valid or plainly_over(point, target) or (only_unsteady and not surely_over(point, most))


def surely_over(point: Point, most: float | None) -> bool:
    """Whether a point is past saturation, and not far below the saturation point *most*: a short one may seem so."""
    return past_saturation(point) and (most is None or (point.offered_rps or 0.0) > _SURELY_OVER * most)


def _error(point: Point, estimate: Estimate, target: Target, most: float | None, least: float) -> float:
    """The standard error of the logarithm: of the 90 % interval (a tenth where there is none), or `queue_error`."""
    lo, hi = estimate.lo, estimate.hi
    known = lo is not None and hi is not None and lo > 0 and math.isfinite(hi)
    error = math.log((hi or 1.0) / (lo or 1.0)) / (2 * _Z90) if known else _UNKNOWN_ERROR
    if most is not None and point.offered_rps is not None:
        waited = max(1 - least / estimate.value, 0.0) if estimate.value > 0 else 0.0
        error = max(error, queue_error(target, waited, most * point.window_s, point.offered_rps / most))
    return _OPTIMISM * max(error, _LEAST_ERROR) * (_UNSTEADY if "NOT_STEADY" in point.flags else 1.0)
