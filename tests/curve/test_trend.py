"""Slopes come with honest intervals, and MSER finds where a warm-up ends."""

from __future__ import annotations

import math

import numpy as np
import pytest

from giq.curve.trend import slope, truncation

TIMES = np.arange(20.0)


def test_a_straight_line_has_its_slope_without_doubt() -> None:
    """Values on a line give the slope, with an interval of no width."""
    found = slope(TIMES, 3.0 + 0.5 * TIMES)
    assert found is not None
    assert [found.lo, found.value, found.hi] == pytest.approx([0.5, 0.5, 0.5])


def test_a_flat_series_has_slope_zero() -> None:
    """Constant values give 0 and no width."""
    found = slope(TIMES, np.full(20, 7.0))
    assert found is not None
    assert (found.lo, found.value, found.hi) == (0.0, 0.0, 0.0)


def test_too_few_batches_have_no_slope() -> None:
    """Below 8 batches nothing is said."""
    assert slope(TIMES[:7], TIMES[:7]) is None


@pytest.mark.parametrize(("correlation", "most"), [(0.0, 0.14), (0.5, 0.2), (0.7, 0.25)])
def test_noise_without_trend_seldom_looks_like_one(correlation: float, most: float) -> None:
    """Over many series of noise the 90 % interval leaves out 0 about one time in ten, little more when correlated."""
    rng, trials, wrong, naive = np.random.default_rng(2), 400, 0, 0
    for _ in range(trials):
        values = rng.normal(size=20)
        for i in range(1, 20):
            values[i] = correlation * values[i - 1] + math.sqrt(1 - correlation**2) * values[i]
        found = slope(TIMES, values)
        assert found is not None
        wrong += not found.lo <= 0 <= found.hi  # type: ignore[operator]
        residual = values - np.polyval(np.polyfit(TIMES, values, 1), TIMES)
        error = math.sqrt((residual**2).sum() / 18 / ((TIMES - TIMES.mean()) ** 2).sum())
        naive += abs(found.value) > 1.734 * error
    assert wrong / trials <= most
    assert correlation == 0 or naive / trials > most  # what it would be with neighbours taken as independent


def test_mser_cuts_a_ramp_and_nothing_more() -> None:
    """A ramp of 60 before 440 steady noisy values is cut, to within two batches."""
    rng = np.random.default_rng(1)
    values = np.concatenate([np.linspace(0, 10, 60), np.full(440, 10.0)]) + rng.normal(size=500) * 0.5
    assert 45 <= truncation(values) <= 70


def test_mser_keeps_a_steady_series_and_at_most_halves_a_moving_one() -> None:
    """A constant is kept whole; of an endless ramp half is cut; below 20 values nothing is."""
    assert truncation(np.full(100, 3.0)) == 0
    assert truncation(np.arange(100.0)) == 50
    assert truncation(np.arange(19.0)) == 0
