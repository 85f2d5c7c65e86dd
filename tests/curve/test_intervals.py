"""Percentiles are order statistics, and intervals cover what they promise."""

from __future__ import annotations

import math
from statistics import NormalDist

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from giq.curve.intervals import batch_count, batch_labels, distribution, pool, student_quantile
from giq.curve.point import Distribution, Estimate

VALUES = st.lists(st.one_of(st.floats(0, 1e6), st.just(math.inf)), min_size=1, max_size=300)


def summary(values: NDArray[np.float64], more_infinite: int = 0) -> Distribution:
    """The distribution of *values* in the order given."""
    batches = batch_count(len(values))
    labels = batch_labels(len(values), batches or 1)
    infinite = np.zeros(batches or 1, dtype=np.int64)
    infinite[-1] = more_infinite
    return distribution(pool(values, labels, infinite), intervals=batches is not None, grid=True)


def estimates(found: Distribution) -> list[Estimate]:
    """The percentiles in order."""
    return [estimate for estimate in (found.p50, found.p90, found.p95, found.p99) if estimate is not None]


@given(VALUES)
def test_a_percentile_is_the_smallest_value_that_so_many_do_not_exceed(values: list[float]) -> None:
    """p90 <= limit holds exactly when at least 90 % of all values are at or below the limit, infinite ones counted."""
    found = summary(np.array(values))
    for percent, estimate in zip((50, 90, 95, 99), estimates(found), strict=True):
        assert estimate.value in values
        assert 100 * sum(value <= estimate.value for value in values) >= percent * len(values)
        assert 100 * sum(value < estimate.value for value in values) < percent * len(values)


@given(VALUES)
def test_percentiles_and_their_ends_are_monotone(values: list[float]) -> None:
    """p50 <= p90 <= p95 <= p99, so are the grid and the ends of the intervals, and each interval holds its value."""
    found = summary(np.array(values))
    assert found.quantiles is not None
    assert len(found.quantiles) == 101
    assert list(found.quantiles) == sorted(found.quantiles)
    assert found.quantiles[0] == float(np.float32(min(values)))
    assert found.quantiles[100] == float(np.float32(max(values)))
    with_ends = [estimate for estimate in estimates(found) if estimate.lo is not None and estimate.hi is not None]
    for end in ("lo", "value", "hi"):
        ends = [getattr(estimate, end) for estimate in with_ends]
        assert ends == sorted(ends)
    assert all(estimate.lo <= estimate.value <= estimate.hi for estimate in with_ends)  # type: ignore[operator]


def test_undefined_values_are_left_out_and_infinite_ones_are_not_averaged() -> None:
    """NaN counts nowhere; an infinite value counts in percentiles, but the mean is that of the others."""
    found = summary(np.array([1.0, math.nan, 3.0, math.inf]), more_infinite=1)
    assert [estimate.value for estimate in estimates(found)] == [3.0, math.inf, math.inf, math.inf]
    assert found.mean == Estimate(value=2.0)
    assert summary(np.array([math.nan])) == Distribution()


def test_an_interval_needs_values_beyond_its_percentile() -> None:
    """Below 40 values there is none; p99 gets one from 500 on."""
    assert all(estimate.lo is None for estimate in estimates(summary(np.arange(39.0))))
    assert [estimate.lo is not None for estimate in estimates(summary(np.arange(100.0)))] == [True, True, True, False]
    assert all(estimate.hi is not None for estimate in estimates(summary(np.arange(500.0))))


def test_intervals_are_always_the_same() -> None:
    """The same values in the same order give the same interval; nothing is drawn from the clock."""
    values = np.random.default_rng(1).exponential(size=500)
    assert summary(values) == summary(values)


def test_an_infinite_end_is_possible() -> None:
    """Where failures come in one batch, the upper end of p90 is infinite before the value is."""
    values = np.ones(200)
    values[100:118] = math.inf
    found = summary(values).p90
    assert found is not None
    assert (found.value, found.hi) == (1.0, math.inf)


@pytest.mark.parametrize(("percent", "correlation", "least"), [(50, 0.0, 0.85), (90, 0.0, 0.85), (90, 0.8, 0.8)])
def test_intervals_cover_the_truth_nine_times_in_ten(percent: int, correlation: float, least: float) -> None:
    """Over many samples, independent and autocorrelated ones, the 90 % interval holds the true percentile."""
    truth, covered, trials = NormalDist().inv_cdf(percent / 100), 0, 150
    rng = np.random.default_rng(3)
    for _ in range(trials):
        noise = rng.normal(size=1000) * math.sqrt(1 - correlation**2)
        values = noise.copy()
        for i in range(1, len(values)):
            values[i] = correlation * values[i - 1] + noise[i]
        found = summary(values).at(f"p{percent}")
        assert found is not None
        covered += found.lo <= truth <= found.hi  # type: ignore[operator]
    assert least <= covered / trials <= 0.97


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10_000), st.floats(0.0, 0.97), st.floats(1.0, 100.0))
def test_no_interval_reaches_where_no_value_can_be(seed: int, alike: float, hump: float) -> None:
    """Of two humps of values in runs, however alike neighbours are, p50 to p95 never begin below the smallest."""
    rng = np.random.default_rng(seed)
    same = np.where(rng.random(400) < alike, 0, 1)  # 1: another hump may begin
    upper = rng.random(400)[np.maximum.accumulate(np.arange(400) * same)] < rng.uniform(0.2, 0.8)
    values = rng.uniform(1.0, 1.1, size=400) * np.where(upper, hump, 1.0)
    found = summary(values)
    for estimate in (found.p50, found.p90, found.p95):
        assert estimate is not None
        assert estimate.lo is not None
        assert estimate.lo >= values.min()


def test_the_end_of_an_interval_may_lie_beyond_all_values() -> None:
    """Where waits grow all the time, p90 may come to be longer than the longest seen."""
    found = summary(np.linspace(1.0, 10.0, 400)).p90
    assert found is not None
    assert found.hi is not None
    assert found.hi > 10.0


def test_large_pools_are_read_at_enough_ranks() -> None:
    """With 200,000 values in 2,000 correlated groups the interval is that of the groups, and close to the truth."""
    rng = np.random.default_rng(4)
    level = np.repeat(rng.exponential(size=2000), 100)
    labels = np.repeat(batch_labels(2000, 20), 100)
    found = distribution(pool(level, labels, np.zeros(20, dtype=np.int64)), intervals=True, grid=False)
    alone = distribution(pool(level[::100], labels[::100], np.zeros(20, dtype=np.int64)), intervals=True, grid=False)
    for pooled, single in zip(estimates(found), estimates(alone), strict=True):
        assert pooled.value == single.value
        assert [pooled.lo, pooled.hi] == pytest.approx([single.lo, single.hi], rel=0.03)
    assert found.quantiles is None


def test_batches_are_consecutive_and_even() -> None:
    """There are 20 from 100 requests on, fewer below and none below 40, and their sizes differ by at most one."""
    assert [batch_count(n) for n in (39, 40, 99, 100, 10_000)] == [None, 8, 19, 20, 20]
    sizes = np.bincount(batch_labels(107, 20))
    assert (len(sizes), sizes.min(), sizes.max()) == (20, 5, 6)


@pytest.mark.parametrize(("freedom", "quantile"), [(5, 2.0150), (10, 1.8125), (18, 1.7341), (19, 1.7291)])
def test_student_quantiles_are_those_of_the_tables(freedom: int, quantile: float) -> None:
    """The 95 % quantiles agree with published tables to 0.1 %."""
    assert student_quantile(0.95, freedom) == pytest.approx(quantile, rel=1e-3)
