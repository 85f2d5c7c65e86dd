"""Percentiles as order statistics, and 90 % intervals by resampling batches of consecutive requests."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from itertools import pairwise
from statistics import NormalDist
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from giq.curve.point import Distribution, Estimate
from giq.curve.requests import Requests
from giq.units import NS_PER_S

MOST_BATCHES = 20
_FEWEST_BATCHES = 8
_BATCH_SIZE = 5
_RESAMPLES = 400
_PERCENTILES = (50, 90, 95, 99)
_RANKS = 2048
_VALUES_AT_ONCE = 100_000
_FEW = 10_000
_TAIL = 0.05
_BEYOND = 5
_MOST_CORRELATED = 0.8
_STANDARD = NormalDist()


def batch_count(n: int) -> int | None:
    """Into how many batches *n* consecutive requests are cut: 20, fewer below 100, None when intervals cannot be made.

    Neighbours in a queue are alike, so a resample draws whole batches, not requests (the batch means
    method: Law, "Simulation Modeling and Analysis", 5th ed., section 9.5.3).
    """
    count = min(MOST_BATCHES, n // _BATCH_SIZE)
    return count if count >= _FEWEST_BATCHES else None


def batch_labels(n: int, count: int) -> NDArray[np.int8]:
    """The batch of each of *n* consecutive requests, of *count* (at most 127): equal sizes, but for one."""
    begins = -(-np.arange(count + 1) * n // count)
    return np.repeat(np.arange(count, dtype=np.int8), np.diff(begins))


@dataclass(frozen=True, eq=False)
class Pool:
    """One metric's values over a point's requests, sorted, and how they are shared out among the batches.

    `finite` holds the finite ones, ascending, in 1/`per_second` s (integers stay integers: there may be millions);
    `infinite` (int64) only counts by batch. `ranks` are places in `finite`, evenly spaced and at most _RANKS of them;
    `within` (int64, batches by ranks) counts each batch's values up to that place, and `sums` (float64) adds them up.
    """

    finite: NDArray[Any]
    per_second: int
    infinite: NDArray[np.int64]
    ranks: NDArray[np.intp]
    within: NDArray[np.int64]
    sums: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.finite) + int(self.infinite.sum())

    def order_statistic(self, percent: int) -> float:
        """The smallest value that at least *percent* % of all values do not exceed (the inverted CDF), in seconds.

        No interpolation: a target holds for this value if and only if that share of requests meets it, and an
        infinite value stays infinite.
        """
        rank = max(1, -(-percent * len(self) // 100))
        return float(self.finite[rank - 1] / self.per_second) if rank <= len(self.finite) else math.inf

    @property
    def counts(self) -> NDArray[np.int64]:
        """How many finite values each batch has."""
        return self.within[:, -1] if len(self.finite) else np.zeros(len(self.infinite), dtype=np.int64)

    @cached_property
    def at_ranks(self) -> NDArray[np.float64]:
        """The values at `ranks`, in seconds."""
        found: NDArray[np.float64] = self.finite[self.ranks] / self.per_second
        return found

    def share_up_to(self, value: float, side: Literal["left", "right"]) -> float:
        """The share of all values below *value* ("left"), or not above it ("right"), known to the next of `ranks`."""
        place = int(np.searchsorted(self.at_ranks, value, side))
        return float(self.ranks[place] if side == "left" else self.ranks[place - 1] + 1) / len(self)

    def at_share(self, share: float) -> float:
        """The value that *share* of all values do not exceed, at least the smallest; infinite among the five largest.

        Those do not tell what may come.
        """
        rank = max(1, math.ceil(share * len(self)))
        last = min(len(self.finite), len(self) - _BEYOND)
        return float(self.finite[rank - 1] / self.per_second) if rank <= max(1, last) else math.inf

    def correlation(self, value: float) -> float:
        """How alike neighbouring batches are: the lag-1 correlation of their shares above *value*, 0 to 0.8.

        Corrected for its bias of about -(1 + 4 r) / n in short series (Kendall, Biometrika 41, 1954).
        """
        return _correlation(self.shares_above(value))

    def shares_above(self, value: float) -> NDArray[np.float64]:
        """The share of each batch that lies above *value*."""
        rank = int(np.searchsorted(self.at_ranks, value, side="right")) - 1
        within = self.within[:, rank] if rank >= 0 else np.zeros(len(self.infinite), dtype=np.int64)
        shares: NDArray[np.float64] = 1 - within / np.maximum(self.counts + self.infinite, 1)
        return shares


def _correlation(series: NDArray[np.float64]) -> float:
    """The lag-1 correlation of *series*, 0 to 0.8."""
    n, deviation = len(series), series - series.mean()
    squares = float(deviation @ deviation)
    if squares <= 0 or n < _FEWEST_BATCHES:
        return 0.0
    raw = float(deviation[:-1] @ deviation[1:]) / squares
    return min(max((n * raw + 1) / (n - 4), 0.0), _MOST_CORRELATED)


def variance_factor(series: NDArray[np.float64]) -> float:
    """By how much the variance of a mean of *series* grows for neighbours being alike: (1 + r) / (1 - r)."""
    correlation = _correlation(series)
    return (1 + correlation) / (1 - correlation)


def resampled(pooled: Pool, percent: int) -> NDArray[np.float64]:
    """The percentile in each of the draws of batches, which are the same for all pools of as many batches."""
    found: NDArray[np.float64] = _Resampled(pooled).order_statistics([percent])[0]
    return found


def _widened(estimate: Estimate, pooled: Pool, percent: int) -> Estimate:
    """*estimate* of a percentile for batches that are alike: the variance of a mean grows by (1 + r) / (1 - r).

    (See `trend.slope`.) What is a mean here is the share of values that lie below: the interval of that share is
    stretched and read off the pool again, so that no end is below all values, or between two humps where none lies.
    Where many values are equal that jumps over them, so that an end never goes farther than by stretching the
    logarithm of the value: which alone tells how far the upper end is when the share beyond it is used up (a queue
    that grows has its longest waits to come).
    """
    value, lo, hi = estimate.value, estimate.lo, estimate.hi
    if lo is None or hi is None or not (lo > 0 and math.isfinite(hi)):
        return estimate
    correlation = pooled.correlation(value)
    if correlation <= 0:
        return estimate
    wider, middle = math.sqrt((1 + correlation) / (1 - correlation)), percent / 100
    least = pooled.at_share(middle - (middle - pooled.share_up_to(lo, "left")) * wider)
    most = pooled.at_share(middle + (pooled.share_up_to(hi, "right") - middle) * wider)
    return Estimate(
        value=value,
        lo=min(lo, max(value * (lo / value) ** wider, least)),
        hi=max(hi, min(value * (hi / value) ** wider, most)),
    )


def pool(values: NDArray[np.float64], batch: NDArray[np.signedinteger[Any]], more_infinite: NDArray[np.int64]) -> Pool:
    """The pool of *values* (NaN: undefined, left out) with *more_infinite* infinite ones added to each batch."""
    finite = np.isfinite(values)
    infinite = np.bincount(batch[np.isposinf(values)], minlength=len(more_infinite)) + more_infinite
    if not finite.all():
        values, batch = values[finite], batch[finite]
    slices = (slice(at, at + _VALUES_AT_ONCE) for at in range(0, len(values), _VALUES_AT_ONCE))
    return _pooled(np.sort(values), 1, infinite, ((values[part], batch[part]) for part in slices))


def pool_of_gaps(requests: Requests, batch: NDArray[np.int8], infinite: NDArray[np.int64]) -> Pool:
    """The pool of all token gaps of the requests that have a *batch* (-1: none), with *infinite* ones by batch."""
    least, most = (int(end(initial=0)) for end in (requests.gaps_ns.min, requests.gaps_ns.max))
    held = np.int64 if least < 0 else np.min_scalar_type(most)
    finite = np.empty(int(np.diff(requests.gap_offsets)[batch >= 0].sum()), dtype=held)
    at = 0
    for values, _ in _gaps(requests, batch):
        finite[at : at + len(values)] = values
        at += len(values)
    finite.sort()
    return _pooled(finite, NS_PER_S, infinite, _gaps(requests, batch))


def _gaps(requests: Requests, batch: NDArray[np.int8]) -> Iterator[tuple[NDArray[Any], NDArray[Any]]]:
    """The gaps that `pool_of_gaps` takes and the batches of each, a part at a time."""
    at = 0
    for part in requests.parts():
        of = np.repeat(batch[at : at + len(part)], np.diff(part.gap_offsets))
        at += len(part)
        yield part.gaps_ns[of >= 0], of[of >= 0]


def _pooled(
    finite: NDArray[Any],
    per_second: int,
    infinite: NDArray[np.int64],
    parts: Iterable[tuple[NDArray[Any], NDArray[Any]]],
) -> Pool:
    """A pool of sorted values, which come again in *parts* with the batches of each."""
    batches, ranks = len(infinite), _ranks(len(finite))
    within = np.zeros((batches, len(ranks)), dtype=np.int64)
    sums = np.zeros(batches)
    for values, batch in parts:
        more, added = (_among_ranks if len(values) < _FEW else _among_batches)(values, batch, finite[ranks], batches)
        within += more
        sums += added
    return Pool(finite, per_second, infinite, ranks, within, sums / per_second)


def _among_ranks(
    values: NDArray[Any], batch: NDArray[Any], at_ranks: NDArray[Any], batches: int
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """How many of *values* each batch has up to each of *at_ranks*, which ascend, and their sums."""
    places = batch.astype(np.intp) * len(at_ranks) + np.searchsorted(at_ranks, values)
    counted = np.bincount(places, minlength=batches * len(at_ranks)).reshape(batches, len(at_ranks))
    return np.cumsum(counted, axis=1), np.bincount(batch, values, minlength=batches).astype(np.float64)


def _among_batches(
    values: NDArray[Any], batch: NDArray[Any], at_ranks: NDArray[Any], batches: int
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """The same, for many values: not each is looked up among the ranks, but the ranks among those of each batch."""
    ordered = values.astype(at_ranks.dtype, copy=False)[np.argsort(batch, kind="stable")]
    ends = [0, *np.cumsum(np.bincount(batch, minlength=batches)).tolist()]
    within, sums = np.empty((batches, len(at_ranks)), dtype=np.int64), np.empty(batches)
    for one, (begin, end) in enumerate(pairwise(ends)):
        part = np.sort(ordered[begin:end])
        within[one] = np.searchsorted(part, at_ranks, side="right")
        sums[one] = part.sum()
    return within, sums


@lru_cache(maxsize=64)
def _ranks(n: int) -> NDArray[np.intp]:
    """The places that are looked at among *n* sorted values."""
    return np.unique(np.linspace(0, max(n - 1, 0), min(n, _RANKS)).astype(np.intp))


def distribution(pooled: Pool, *, intervals: bool, grid: bool) -> Distribution:
    """Mean and percentiles of *pooled*, with 90 % intervals where they can be made, and the quantile grid if asked.

    The mean is of the finite values only (a request that failed has no latency to average); percentiles count
    infinite ones. An interval needs five values beyond its percentile on either side.
    """
    n = len(pooled)
    if n == 0:
        return Distribution()
    drawn = _Resampled(pooled) if intervals else None
    known = [p for p in _PERCENTILES if drawn and n * min(p, 100 - p) >= 100 * _BEYOND]
    found = dict(zip(known, drawn.order_statistics(known), strict=True)) if drawn and known else {}
    percentiles = {}
    for percent in _PERCENTILES:
        value = pooled.order_statistic(percent)
        percentiles[f"p{percent}"] = _widened(_estimate(value, found.get(percent)), pooled, percent)
    mean = float(pooled.finite.mean() / pooled.per_second) if len(pooled.finite) else None
    return Distribution(
        mean=None if mean is None else _estimate(mean, drawn.means() if drawn else None),
        quantiles=_grid(pooled) if grid else None,
        **percentiles,
    )


def _grid(pooled: Pool) -> tuple[float, ...]:
    """The 0th to 100th percentile, rounded to the single precision in which they are stored."""
    ranks = np.maximum(1, -(-np.arange(101) * len(pooled) // 100))
    grid, known = np.full(101, math.inf), ranks <= len(pooled.finite)
    grid[known] = pooled.finite[ranks[known] - 1] / pooled.per_second
    return tuple(grid.astype(np.float32).tolist())


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
        self._pool = pooled
        self._weights = _weights(len(pooled.infinite))
        self._total = self._weights @ (pooled.counts + pooled.infinite)

    def order_statistics(self, percents: Sequence[int]) -> NDArray[np.float64]:
        """Each percentile of each draw, (percents, draws), infinite where it falls on an infinite value.

        The place of a percentile is the first rank up to which the draw has enough values: by bisection, since of all
        ranks together the sums of every draw would take most of the time of a summary; those of a few are quick.
        """
        finite = self._pool.finite
        if len(finite) == len(self._pool) and finite[0] == finite[-1]:
            return np.full((len(percents), len(self._total)), self._pool.at_ranks[0])
        wanted = np.maximum(np.ceil(np.outer(percents, self._total) / 100), 1)
        within = np.ascontiguousarray(self._pool.within.T, dtype=np.float64)
        low, high = self._narrowed(within, wanted)
        while (searched := low < high).any():
            middle = (low + high) // 2
            values = np.einsum("pdb,db->pd", within[np.minimum(middle, len(within) - 1)], self._weights)
            low = np.where(searched & (values < wanted), middle + 1, low)
            high = np.where(searched & (values >= wanted), middle, high)
        seen: NDArray[np.float64] = np.append(self._pool.at_ranks, math.inf)[low]
        return seen

    def _narrowed(
        self, within: NDArray[np.float64], wanted: NDArray[np.float64]
    ) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
        """Between which places those lie up to which draws have *wanted* values, (percents, draws) each."""
        stride = 1 << len(within).bit_length() // 2
        coarse = self._weights @ within[stride - 1 :: stride].T
        found = (coarse < wanted[:, :, np.newaxis]).sum(axis=2)
        return found * stride, np.minimum((found + 1) * stride - 1, len(within))

    def means(self) -> NDArray[np.float64] | None:
        """The mean of the finite values of each draw; None if a draw has none."""
        counts = self._weights @ self._pool.counts.astype(np.float64)
        if counts.min() <= 0:
            return None
        drawn: NDArray[np.float64] = (self._weights @ self._pool.sums) / counts
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
