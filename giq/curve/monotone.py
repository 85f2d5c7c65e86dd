"""Where a monotone curve through uncertain points crosses a limit, and how sure that is."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

NEAR = 0.03
"""Points whose loads differ by less than this share are one measurement in several parts."""
_DRAWS = 300
_TAIL = 0.05
_BENT = 0.2

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Crossing:
    """The load up to which the curve stays at or below its limit; `lo` and `hi` are the ends of its 90 % interval.

    `below`: already the lowest load is above it. `above`: no load is. The value is then that end of the range.
    `slope` is the growth of the values' logarithm with that of the load there, None at an end of the range, and
    `distance` how far the next measured load is, as a logarithm.
    """

    value: float
    lo: float
    hi: float
    below: bool
    above: bool
    slope: float | None
    distance: float


def crossing(loads: Floats, values: Floats, errors: Floats, limit: float) -> Crossing:
    """Where *values* (with standard *errors* of their logarithms) cross *limit* as *loads* grow.

    Loads within 3 % of each other are pooled by the inverse of their variance; the least-squares curve that never falls
    is taken (pool adjacent violators: Barlow et al., "Statistical Inference under Order Restrictions", 1972), and
    between two loads the reciprocal of the value falls in a straight line: as for a queue's wait, c / (1 - rho),
    and for the time of a token, a + b n, of n running sequences that share the steps (n = rate x tokens x that time).
    The interval is that of the crossings of 300 curves drawn with those errors, wider by a fifth of the distance to
    the next load: no curve is quite like that.
    """
    x, y, error = _pooled(np.log(loads), np.log(values), errors)
    level = math.log(limit)
    value, slope, side = _cross(x, y, error, level)
    rng = np.random.default_rng(20)
    drawn = y + error * rng.standard_t(12, size=(_DRAWS, len(y)))
    found = np.sort([_cross(x, row, error, level)[0] for row in drawn])
    cut = int(_TAIL * _DRAWS)
    distance = float(np.abs(x - value).min())
    bent = _BENT * distance
    lo, hi = min(value, float(found[cut])) - bent, max(value, float(found[-1 - cut])) + bent
    return Crossing(math.exp(value), math.exp(lo), math.exp(hi), side < 0, side > 0, slope, distance)


def _pooled(x: Floats, y: Floats, error: Floats) -> tuple[Floats, Floats, Floats]:
    """Neighbours joined, in the order of loads."""
    order = np.lexsort((y, x))
    groups: list[list[int]] = []
    for place in order:
        if groups and x[place] - x[groups[-1][0]] <= NEAR:
            groups[-1].append(int(place))
        else:
            groups.append([int(place)])
    weights = [1 / error[group] ** 2 for group in groups]
    means = [
        (float(np.average(x[group], weights=w)), float(np.average(y[group], weights=w)), 1 / math.sqrt(float(w.sum())))
        for group, w in zip(groups, weights, strict=True)
    ]
    table = np.array(means)
    return table[:, 0], table[:, 1], table[:, 2]


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
