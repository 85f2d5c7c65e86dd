"""Where a monotone curve through uncertain points crosses a limit, and how sure that is."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

NEAR = 0.03
"""Points whose loads differ by less than this share are one measurement in several parts."""
_FAR, _SAME, _RISE = 0.12, 2.0, 1.0
_DRAWS = 300
_TAIL = 0.05
_BENT = 0.1
_SHARED, _SHARED_VALUE = 0.01, 0.01
"""As logarithms of the load and of the value: the errors that all points have in common, which no number of them takes
away."""
_USUAL_SLOPE, _LEAST_SLOPE, _FARTHEST, _WIDE = 1.0, 0.25, 0.5, 0.2
_Z90 = 1.645

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Crossing:
    """The load up to which the curve stays at or below its limit; `lo` and `hi` are the ends of its 90 % interval.

    `below`: already the lowest load is above it. `above`: no load is. The value is then that end of the range.
    `slope` is the growth of the values' logarithm with that of the load there, None at an end of the range, and
    `distance` how far the next measured load is, as a logarithm. `shared` is that part of the interval on either side,
    as a logarithm, which more points would not make smaller: large where the curve is flat.
    """

    value: float
    lo: float
    hi: float
    below: bool
    above: bool
    slope: float | None
    distance: float
    shared: float = 0.0


def crossing(loads: Floats, values: Floats, errors: Floats, limit: float) -> Crossing:
    """Where *values* (with standard *errors* of their logarithms) cross *limit* as *loads* grow.

    Loads within 3 % of each other, or within 12 % where their errors hide the rise between them, are pooled by the
    inverse of their variance; the least-squares curve that never falls
    is taken (pool adjacent violators: Barlow et al., "Statistical Inference under Order Restrictions", 1972), and
    between two loads the reciprocal of the value falls in a straight line: as for a queue's wait, c / (1 - rho),
    and for the time of a token, a + b n, of n running sequences that share the steps (n = rate x tokens x that time).
    The interval is that of the crossings of 300 curves drawn with those errors, those that cross beyond the loads
    included, wider by a tenth of the distance to the next load: no curve is quite like that; its lower end also by how
    much earlier a curve crosses whose logarithm rises in a straight line, as where a server is suddenly full, and its
    upper end by how much later one that goes on as before, and rises after that.
    """
    x, y, error = _pooled(np.log(loads), np.log(values), errors)
    level = math.log(limit)
    value, slope, side = _cross(x, y, error, level)
    rng = np.random.default_rng(20)
    drawn = y + error * rng.standard_t(12, size=(_DRAWS, len(y)))
    found = np.sort([_beyond(x, row, error, level, slope) for row in drawn])
    cut = int(_TAIL * _DRAWS)
    distance = float(np.abs(x - value).min())
    known = _Z90 * _least_error(x, y, error, value)
    shared = _Z90 * math.hypot(_SHARED, _SHARED_VALUE / _wide_slope(x, y, error, value))
    low, high = min(value - known, float(found[cut])), max(value + known, float(found[-1 - cut]))
    below, above = (math.hypot(shared, end - value) + _BENT * distance for end in (low, high))
    if side == 0:
        below = math.hypot(below, max(value - _earlier(x, y, error, level), 0.0))
        above = math.hypot(above, max(_later(x, y, error, level) - value, 0.0))
    lo, hi = value - below, value + above
    return Crossing(math.exp(value), math.exp(lo), math.exp(hi), side < 0, side > 0, slope, distance, shared)


def _pooled(x: Floats, y: Floats, error: Floats) -> tuple[Floats, Floats, Floats]:
    """Neighbours joined, in the order of loads."""
    order = np.lexsort((y, x))
    groups: list[list[int]] = []
    for place in order.tolist():
        if groups and _one(_mean(x, y, error, groups[-1]), (x[place], y[place], error[place]), x[groups[-1][0]]):
            groups[-1].append(place)
        else:
            groups.append([place])
    table = np.array([_mean(x, y, error, group) for group in groups])
    return table[:, 0], table[:, 1], table[:, 2]


def _mean(x: Floats, y: Floats, error: Floats, group: list[int]) -> tuple[float, float, float]:
    weights = 1 / error[group] ** 2
    total = float(weights.sum())
    return float(x[group] @ weights) / total, float(y[group] @ weights) / total, 1 / math.sqrt(total)


def _one(group: tuple[float, float, float], point: tuple[float, float, float], begin: float) -> bool:
    """Whether a point goes with a group that begins at *begin*: near, or too uncertain to tell where a curve rises.

    Two uncertain points that are close would else make a step, which is crossed between them whatever the limit.
    """
    error = math.hypot(group[2], point[2])
    apart, doubt = point[0] - begin, min(max(error / _RISE, NEAR), _FAR)
    return apart <= NEAR or (apart <= doubt and abs(point[1] - group[1]) <= _SAME * error)


def _cross(x: Floats, y: Floats, error: Floats, level: float) -> tuple[float, float | None, int]:
    """The crossing, the slope there, and -1 or 1 where all of the curve is above or below."""
    knots = _never_falling(x, y, 1 / error**2)
    if knots[0][1] > level:
        return float(x[0]), None, -1
    for (left, low), (right, high) in pairwise(knots):
        if high > level:
            share = (math.exp(level - low) - 1) / (math.exp(level - low) - math.exp(level - high))
            load = math.exp(left) + share * (math.exp(right) - math.exp(left))
            slope = (math.exp(level - low) - math.exp(level - high)) * load / (math.exp(right) - math.exp(left))
            return math.log(load), slope, 0
    return float(x[-1]), None, 1


def _earlier(x: Floats, y: Floats, error: Floats, level: float) -> float:
    """The crossing where the value's logarithm rises in a straight line, or suddenly and then as after the next load.

    The latter where it was measured after that load, and less steep than before it.
    """
    places, values = np.array(_never_falling(x, y, 1 / error**2)).T
    straight = float(np.interp(level, values, places))
    after = int(np.searchsorted(values, level, side="right"))
    right, high = float(places[after]), float(values[after])
    end = min(right + _WIDE, float(places[-1]))
    if end - right <= NEAR:
        return straight
    slope = (float(np.interp(end, places, values)) - high) / (end - right)
    doubtful = _Z90 * float(np.interp(right, x, error))
    sudden = right - (high - level + doubtful) / max(slope, _LEAST_SLOPE)
    return min(straight, max(sudden, float(places[after - 1])))


def _later(x: Floats, y: Floats, error: Floats, level: float) -> float:
    """The crossing where a curve goes on from the last load below *level* as it came there, and is sudden after it.

    It comes by the slope of a wide stretch before that load, at least a quarter, a quarter where nothing was measured:
    a target may be met far beyond the loads held while rungs, which complete much more, miss it by far.
    """
    places, values = np.array(_never_falling(x, y, 1 / error**2)).T
    after = int(np.searchsorted(values, level, side="right"))
    left, low = float(places[after - 1]), float(values[after - 1])
    begin = max(left - _WIDE, float(places[0]))
    slope = (low - float(np.interp(begin, places, values))) / (left - begin) if left - begin > NEAR else 0.0
    doubtful = _Z90 * float(np.interp(left, x, error))
    return min(left + (level - low + doubtful) / max(slope, _LEAST_SLOPE), float(places[after]))


def _least_error(x: Floats, y: Floats, error: Floats, value: float) -> float:
    """The standard error of the crossing at *value* by all that is known about there and the slope of a wide stretch.

    Between two loads that chance put apart a curve seems steep, and its crossing better known than either.
    """
    near = np.abs(x - value) <= _FAR
    if not near.any():
        return 0.0
    return float(1 / math.sqrt((1 / error[near] ** 2).sum())) / _wide_slope(x, y, error, value)


def _wide_slope(x: Floats, y: Floats, error: Floats, value: float) -> float:
    """The slope of a wide stretch around *value*, where that is measured; at least a quarter."""
    knots = np.array(_never_falling(x, y, 1 / error**2))
    left, right = np.interp([value - _WIDE, value + _WIDE], knots[:, 0], knots[:, 1])
    span = min(value + _WIDE, knots[-1, 0]) - max(value - _WIDE, knots[0, 0])
    return float(max((right - left) / span if span > _FAR else _USUAL_SLOPE, _LEAST_SLOPE))


def _beyond(x: Floats, y: Floats, error: Floats, level: float, slope: float | None) -> float:
    """The crossing, which may lie beyond the loads: then as far as the usual *slope* leads from the curve's end."""
    found, _, side = _cross(x, y, error, level)
    if side == 0:
        return found
    knots = _never_falling(x, y, 1 / error**2)
    end = knots[0][1] if side < 0 else knots[-1][1]
    way = (level - end) / max(_USUAL_SLOPE if slope is None else slope, _LEAST_SLOPE)
    return found + max(min(way, _FARTHEST), -_FARTHEST)


def _never_falling(x: Floats, y: Floats, weights: Floats) -> list[tuple[float, float]]:
    """The knots of the weighted least-squares curve that never falls: each block of equal values at its middle."""
    blocks: list[tuple[float, float, float]] = []
    for place, value, weight in zip(x.tolist(), y.tolist(), weights.tolist(), strict=True):
        while blocks and blocks[-1][1] >= value:
            left, low, before = blocks.pop()
            total = before + weight
            place, value, weight = (
                (left * before + place * weight) / total,
                (low * before + value * weight) / total,
                total,
            )
        blocks.append((place, value, weight))
    return [(place, value) for place, value, _ in blocks]
