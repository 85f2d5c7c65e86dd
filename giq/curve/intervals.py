"""Percentiles as order statistics, and 90 % intervals by resampling batches of consecutive requests."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from giq.curve.point import Distribution, Estimate

MOST_BATCHES = 20
_FEWEST_BATCHES = 8
_BATCH_SIZE = 5
_RESAMPLES = 400
_RANKS = 2048
_TAIL = 0.05
_BEYOND = 5
_STANDARD = NormalDist()


def batch_count(n: int) -> int | None:
    """Into how many batches *n* consecutive requests are cut: 20, fewer below 100, None when intervals cannot be made.

    Neighbours in a queue are alike, so a resample draws whole batches, not requests (the batch means
    method: Law, "Simulation Modeling and Analysis", 5th ed., section 9.5.3).
    """
    count = min(MOST_BATCHES, n // _BATCH_SIZE)
    return count if count >= _FEWEST_BATCHES else None


def batch_labels(n: int, count: int) -> NDArray[np.intp]:
    """The batch of each of *n* consecutive requests: equal sizes, but for one."""
    return (np.arange(n) * count) // max(n, 1)


@dataclass(frozen=True, eq=False)
class Pool:
    """One metric's values over a point's requests, sorted, each with its batch; infinite ones only counted.

    `finite` is float64, ascending; `batch` (intp) is parallel to it; `infinite` (int64) counts by batch.
    """

    finite: NDArray[np.float64]
    batch: NDArray[np.intp]
    infinite: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.finite) + int(self.infinite.sum())

    def order_statistic(self, percent: int) -> float:
        """The smallest value that at least *percent* % of all values do not exceed (the inverted CDF).

        No interpolation: a target holds for this value if and only if that share of requests meets it, and an
        infinite value stays infinite.
        """
        rank = max(1, -(-percent * len(self) // 100))
        return float(self.finite[rank - 1]) if rank <= len(self.finite) else math.inf


def pool(values: NDArray[np.float64], batch: NDArray[np.intp], more_infinite: NDArray[np.int64]) -> Pool:
    """The pool of *values* (NaN: undefined, left out) with *more_infinite* infinite ones added to each batch."""
    finite = np.isfinite(values)
    order = np.argsort(values[finite], kind="stable")
    infinite = np.bincount(batch[np.isposinf(values)], minlength=len(more_infinite))
    return Pool(values[finite][order], batch[finite][order], infinite + more_infinite)


def distribution(pooled: Pool, *, intervals: bool, grid: bool) -> Distribution:
    """Mean and percentiles of *pooled*, with 90 % intervals where they can be made, and the quantile grid if asked.

    The mean is of the finite values only (a request that failed has no latency to average); percentiles count
    infinite ones. An interval needs five values beyond its percentile on either side.
    """
    n = len(pooled)
    if n == 0:
        return Distribution()
    drawn = _Resampled(pooled) if intervals else None
    percentiles = {}
    for percent in (50, 90, 95, 99):
        value = pooled.order_statistic(percent)
        enough = n * min(percent, 100 - percent) >= 100 * _BEYOND
        percentiles[f"p{percent}"] = _estimate(value, drawn.order_statistics(percent) if drawn and enough else None)
    mean = float(pooled.finite.mean()) if len(pooled.finite) else None
    return Distribution(
        mean=None if mean is None else _estimate(mean, drawn.means() if drawn else None),
        quantiles=_grid(pooled) if grid else None,
        **percentiles,
    )


def _grid(pooled: Pool) -> tuple[float, ...]:
    """The 0th to 100th percentile, rounded to the single precision in which they are stored."""
    grid = np.array([pooled.order_statistic(percent) for percent in range(101)], dtype=np.float32)
    return tuple(grid.tolist())


def _estimate(value: float, resampled: NDArray[np.float64] | None) -> Estimate:
    if resampled is None:
        return Estimate(value=value)
    ordered = np.sort(resampled)
    below = math.floor(_tail_share() * len(ordered))
    return Estimate(value=value, lo=min(value, float(ordered[below])), hi=max(value, float(ordered[-1 - below])))


class _Resampled:
    """A pool drawn again *_RESAMPLES* times, batch by batch with replacement.

    Every draw is a weighting of the batches, so that the values are sorted once. Pools of more than _RANKS
    values are looked at in that many evenly spaced ranks: the ends of an interval are exact to 1/2,000 of the values.
    """

    def __init__(self, pooled: Pool) -> None:
        n, batches = len(pooled.finite), len(pooled.infinite)
        self._pool = pooled
        self._weights = _weights(batches)
        self._ranks = np.unique(np.linspace(0, max(n - 1, 0), min(n, _RANKS)).astype(np.intp))
        cell = np.searchsorted(self._ranks, np.arange(n))
        by_cell = np.bincount(pooled.batch * len(self._ranks) + cell, minlength=batches * len(self._ranks))
        counts = np.cumsum(by_cell.reshape(batches, -1), axis=1)
        self._finite = counts[:, -1] if n else np.zeros(batches, dtype=np.int64)
        self._total = self._weights @ (self._finite + pooled.infinite)
        self._below = self._weights @ counts.astype(np.float64)

    def order_statistics(self, percent: int) -> NDArray[np.float64]:
        """The percentile of each draw, infinite where it falls on an infinite value."""
        rank = np.maximum(np.ceil(percent * self._total / 100), 1)
        found = (self._below < rank[:, None]).sum(axis=1)
        seen: NDArray[np.float64] = np.append(self._pool.finite[self._ranks], math.inf)[found]
        return seen

    def means(self) -> NDArray[np.float64] | None:
        """The mean of the finite values of each draw; None if a draw has none."""
        sums = np.bincount(self._pool.batch, self._pool.finite, minlength=len(self._finite))
        counts = self._weights @ self._finite.astype(np.float64)
        if counts.min() <= 0:
            return None
        drawn: NDArray[np.float64] = (self._weights @ sums) / counts
        return drawn


@lru_cache(maxsize=32)
def _weights(batches: int) -> NDArray[np.float64]:
    """How often each batch is in each draw, (_RESAMPLES, batches): always the same, so that so are the intervals."""
    rng = np.random.default_rng(20)
    return rng.multinomial(batches, np.full(batches, 1 / batches), size=_RESAMPLES).astype(np.float64)


@lru_cache(maxsize=1)
def _tail_share() -> float:
    """The share of draws beyond each end of a 90 % interval, widened for the small number of batches.

    Drawing from B batches understates their spread by sqrt((B - 1) / B) and takes it as known, so the normal
    quantile is replaced by Student's (Hesterberg, "What Teachers Should Know About the Bootstrap", The
    American Statistician 69(4), 2015, section 5.3). For 20 batches 3.8 % instead of 5 %.
    """
    stretch = math.sqrt(MOST_BATCHES / (MOST_BATCHES - 1))
    return _STANDARD.cdf(-stretch * student_quantile(1 - _TAIL, MOST_BATCHES - 1))


def student_quantile(share: float, freedom: float) -> float:
    """The *share* quantile of Student's t, to 0.1 % from 5 degrees of *freedom* on.

    By the expansion in the normal quantile (Abramowitz and Stegun, Handbook of Mathematical Functions, 26.7.5).
    """
    z = _STANDARD.inv_cdf(share)
    first = (z**3 + z) / 4
    second = (5 * z**5 + 16 * z**3 + 3 * z) / 96
    third = (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384
    return z + first / freedom + second / freedom**2 + third / freedom**3
