"""Whether a series stands or moves: its slope with an interval that knows about autocorrelation."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from giq.curve.intervals import student_quantile
from giq.curve.point import Estimate

_FEWEST = 8
_MOST_CORRELATED = 0.9


def slope(times: NDArray[np.float64], values: NDArray[np.float64]) -> Estimate | None:
    """The least-squares slope of batch means *values* over *times*, with its 90 % interval; None below 8 batches.

    Batch means of a queue near its knee are still correlated. The error of the slope is therefore widened by
    (1 + r) / (1 - r), where r is the lag-1 correlation of the residuals (a first-order autoregression; Law,
    "Simulation Modeling and Analysis", section 9.5), corrected for the bias -(1 + 4 r) / n of its estimate in
    short series (Kendall, "Note on bias in the estimation of autocorrelation", Biometrika 41, 1954).
    """
    n = len(values)
    if n < _FEWEST:
        return None
    centred = times - times.mean()
    spread = float((centred**2).sum())
    value = float((centred * values).sum()) / spread
    residuals = values - values.mean() - value * centred
    squares = float((residuals**2).sum())
    error = math.sqrt(squares / (n - 2) / spread * _inflation(residuals, squares))
    width = student_quantile(0.95, n - 2) * error
    return Estimate(value=value, lo=value - width, hi=value + width)


def _inflation(residuals: NDArray[np.float64], squares: float) -> float:
    """By how much correlated neighbours widen the variance of a slope."""
    if squares <= 0:
        return 1.0
    n = len(residuals)
    raw = float((residuals[:-1] * residuals[1:]).sum()) / squares
    r = min(max((n * raw + 1) / (n - 4), 0.0), _MOST_CORRELATED)
    return (1 + r) / (1 - r)


def truncation(values: NDArray[np.float64], size: int = 5) -> int:
    """How many leading *values* belong to the warm-up, by MSER-5: at most half of them.

    Of the batch means of *size* values, the cut d is taken that minimises var(Y_d, ..., Y_m) / (m - d), the
    squared standard error of the mean of what remains (White, "An effective truncation heuristic for bias
    reduction in simulation output", Simulation 69(6), 1997; MSER-5: White, Cobb and Spratt, Winter Simulation
    Conference 2000).
    """
    m = len(values) // size
    if m < 4:
        return 0
    means = values[: m * size].reshape(m, size).mean(axis=1)
    remaining = np.arange(m, 0, -1)
    sums = np.cumsum(means[::-1])[::-1]
    squares = np.cumsum((means**2)[::-1])[::-1]
    error = (squares - sums**2 / remaining) / remaining**2
    return int(np.argmin(error[: m // 2 + 1])) * size
