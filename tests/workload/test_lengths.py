"""Token lengths follow their named distribution and stay within their bounds."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from giq.catalog.use_cases import Lengths
from giq.errors import UsageError
from giq.workload import draw_lengths, mean_length

MANY = 200_000

DISTRIBUTIONS = [
    Lengths(mean=128),
    Lengths(mean=128.6),
    Lengths(distribution="uniform", mean=55, minimum=10, maximum=100),
    Lengths(distribution="normal", mean=500, spread=100),
    Lengths(distribution="normal", mean=500, spread=400, minimum=200, maximum=800),
    Lengths(distribution="lognormal", mean=300, spread=0.9),
    Lengths(distribution="lognormal", mean=300, spread=1.5, minimum=4, maximum=2048),
]


def rng(seed: int = 0) -> np.random.Generator:
    """A fresh generator."""
    return np.random.default_rng(seed)


@pytest.mark.parametrize("lengths", DISTRIBUTIONS, ids=str)
def test_mean_length_is_the_mean_of_the_draws(lengths: Lengths) -> None:
    """The mean told in closed form is within 4 standard errors (and rounding) of that of many draws."""
    drawn = draw_lengths(lengths, MANY, rng())
    error = 4 * drawn.std() / math.sqrt(MANY) + 0.05
    assert mean_length(lengths) == pytest.approx(drawn.mean(), abs=error)


def test_a_lognormal_has_its_arithmetic_mean_and_log_spread() -> None:
    """`mean` is that of the lengths and `spread` the standard deviation of their logarithm."""
    drawn = draw_lengths(Lengths(distribution="lognormal", mean=5000, spread=0.5), MANY, rng())
    assert drawn.mean() == pytest.approx(5000, rel=0.01)
    assert np.log(drawn).std() == pytest.approx(0.5, rel=0.01)


def test_a_normal_has_its_mean_and_spread() -> None:
    """Far from its bounds a normal length keeps its mean and standard deviation."""
    drawn = draw_lengths(Lengths(distribution="normal", mean=5000, spread=300), MANY, rng())
    assert (drawn.mean(), drawn.std()) == (pytest.approx(5000, rel=0.001), pytest.approx(300, rel=0.01))


def test_a_uniform_reaches_both_ends_evenly() -> None:
    """Every value from minimum to maximum comes, about equally often."""
    drawn = draw_lengths(Lengths(distribution="uniform", mean=5, minimum=3, maximum=7), MANY, rng())
    values, counts = np.unique(drawn, return_counts=True)
    assert values.tolist() == [3, 4, 5, 6, 7]
    assert counts.max() / counts.min() < 1.05


@given(
    st.sampled_from(["normal", "lognormal", "fixed"]),
    st.floats(1, 5000),
    st.floats(0, 3),
    st.integers(1, 400),
    st.integers(0, 4000),
    st.integers(0, 50),
)
def test_draws_are_bounded_and_a_longer_draw_extends_a_shorter(
    distribution: str, mean: float, spread: float, minimum: int, width: int, count: int
) -> None:
    """All draws lie within the bounds, and those of a smaller count are the first of a larger one's."""
    lengths = Lengths(
        distribution=distribution,  # type: ignore[arg-type]
        mean=mean,
        spread=spread,
        minimum=minimum,
        maximum=minimum + width,
    )
    short, long = draw_lengths(lengths, count, rng(1)), draw_lengths(lengths, count + 7, rng(1))
    assert long.dtype == np.int32
    assert long.min() >= minimum
    assert long.max() <= minimum + width
    assert np.array_equal(short, long[:count])
    assert minimum <= mean_length(lengths) <= minimum + width


def test_contradictory_bounds_are_refused() -> None:
    """A uniform length without a maximum, and a minimum above the maximum, are usage errors."""
    for wrong in (Lengths(distribution="uniform", mean=5), Lengths(mean=5, minimum=9, maximum=8)):
        with pytest.raises(UsageError):
            draw_lengths(wrong, 1, rng())
        with pytest.raises(UsageError):
            mean_length(wrong)
