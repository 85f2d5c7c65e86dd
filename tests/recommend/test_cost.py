"""Money: GIQ's formula against rows that GIQ published, whole replicas, intervals."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from giq.curve.point import Estimate
from giq.errors import UsageError
from giq.recommend.cost import over_capacity, replica_hours, replicas_for, token_cost

PRICES = st.floats(0.01, 1000)
RATES = st.floats(0.01, 1e5)


@pytest.mark.parametrize(
    ("usd_per_hour", "output_tps", "usd_per_million_output", "usd_per_million_input"),
    [(1.9735, 2050, 0.222, 0.055), (2.0236, 13335, 0.035, 0.009)],
    ids=["gemma-2-27b on one H100", "gpt-oss-20b on one H100"],
)
def test_published_rows(
    usd_per_hour: float, output_tps: float, usd_per_million_output: float, usd_per_million_input: float
) -> None:
    """An H100 spot hour gives the token costs that GIQ printed for it, at its chatbot's 108 in and 132 out."""
    cost = token_cost(usd_per_hour, output_tps * 108 / 132, output_tps, 4.0)
    assert round(cost.output, 3) == usd_per_million_output
    assert cost.input == pytest.approx(usd_per_million_input, abs=0.0006)


def test_by_hand() -> None:
    """One dollar an hour over (400 / 4 + 100) equivalent tokens/s is 1e6 / (3600 * 200) dollars per million."""
    cost = token_cost(1.0, 400.0, 100.0, 4.0)
    assert cost.output == pytest.approx(1e6 / 720_000)
    assert cost.input == pytest.approx(cost.output / 4)


@given(PRICES, RATES, RATES, st.floats(0.1, 20))
def test_tokens_pay_for_the_machine(usd_per_hour: float, input_tps: float, output_tps: float, ratio: float) -> None:
    """All tokens of an hour at their prices add up to the price of the hour."""
    cost = token_cost(usd_per_hour, input_tps, output_tps, ratio)
    bill = (input_tps * cost.input + output_tps * cost.output) * 3600 / 1e6
    assert bill == pytest.approx(usd_per_hour)


@pytest.mark.parametrize("wrong", [(0.0, 1.0, 1.0, 4.0), (1.0, 0.0, 0.0, 4.0), (1.0, -1.0, 9.0, 4.0), (1, 1, 1, 0.0)])
def test_no_cost_without_tokens_or_price(wrong: tuple[float, float, float, float]) -> None:
    """A price, ratio or token rate that makes no sense is an error, never a number."""
    with pytest.raises(UsageError, match="no price of a token"):
        token_cost(*wrong)


@pytest.mark.parametrize(
    ("rate", "capacity", "replicas"),
    [(10, 5, 2), (10.01, 5, 3), (0.1, 5, 1), (0.3, 0.1, 3), (20, 6.7, 3)],
)
def test_whole_replicas(rate: float, capacity: float, replicas: int) -> None:
    """A rate is carried by whole units, and one that divides exactly needs none beyond."""
    assert replicas_for(rate, capacity) == replicas
    assert replicas_for(rate, capacity, spare=2) == replicas + 2


@pytest.mark.parametrize(("capacity", "spare"), [(0.0, 0), (1.0, -1)])
def test_no_replicas_of_nothing(capacity: float, spare: int) -> None:
    """A unit without capacity, and a negative spare, are errors."""
    with pytest.raises(UsageError, match="no number of replicas"):
        replicas_for(1.0, capacity, spare)


@given(st.floats(0.01, 1000), st.floats(0.01, 1000), st.floats(0, 0.99), st.floats(0, 5), RATES)
def test_intervals_contain_the_value(price: float, rate: float, below: float, above: float, value: float) -> None:
    """The interval of a cost contains the cost, and a wider capacity never makes it narrower."""
    capacity = Estimate(value=value, lo=value * (1 - below), hi=value * (1 + above))
    for cost in (replica_hours(price, rate, capacity), over_capacity(price, capacity)):
        assert cost.lo is not None
        assert cost.hi is not None
        assert cost.lo <= cost.value <= cost.hi


def test_unknown_bounds_stay_unknown() -> None:
    """A bound that the capacity lacks, or a capacity that may be zero, gives no bound of the cost."""
    assert over_capacity(1.0, Estimate(value=2.0)) == Estimate(value=1.0)
    assert over_capacity(1.0, Estimate(value=2.0, lo=0.0, hi=4.0)) == Estimate(value=1.0, lo=0.5)
    assert replica_hours(1.0, 4.0, Estimate(value=2.0, lo=0.0, hi=4.0)) == Estimate(value=2.0, lo=1.0)
