"""Which load points to calibrate on: spread over loads and lengths, or the one that tells most next."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Vector = NDArray[np.float64]

Place = tuple[float, float, float]
"""Concurrency (or rate), input and output tokens of a load point."""


def spread(places: Sequence[Place], count: int) -> list[int]:
    """The *count* of *places* to calibrate on, as indexes; decided by loads and lengths alone.

    The first is the smallest load with the shortest lengths (by the sum of the three logarithms); each other is the
    one farthest from those chosen (sum of the differences of logarithms). Ties go to the smaller concurrency, then
    input, then output.
    """
    order = sorted(range(len(places)), key=lambda index: places[index])
    at = np.log(np.maximum(np.array([places[index] for index in order], dtype=np.float64), 1e-9))
    chosen = [int(np.argmin(np.round(at.sum(axis=1), 9)))] if count and order else []
    while len(chosen) < min(count, len(order)):
        distance = np.abs(at[:, None, :] - at[None, chosen, :]).sum(axis=2).min(axis=1)
        distance[chosen] = -1.0
        chosen.append(int(np.argmax(np.round(distance, 9))))
    return [order[index] for index in chosen]


def variance_left(covariance: NDArray[np.float64], tried: Vector, judged: Vector, errors: Vector) -> float:
    """The mean predictive variance that is left at the *judged* points once *tried* has been measured.

    Both hold slopes of logarithms: (metrics, factors) and (points, metrics, factors); *errors* are the standard
    deviations of the metrics. Variances are in units of the metric's own error.
    """
    hessian = np.linalg.inv(covariance) + tried.T @ (tried / errors[:, None] ** 2)
    after = np.linalg.inv(hessian)
    spreads = np.einsum("pij,jk,pik->pi", judged, after, judged) / errors**2
    return float(spreads.mean())
