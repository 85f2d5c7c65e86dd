"""Operating points are read between measured points and never beyond them."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from giq.curve import Curve, Distribution, Estimate, Point, operating_point
from giq.errors import DataError

MakePoint = Callable[..., Point]
MakeCurve = Callable[[Iterable[Point]], Curve]


@pytest.fixture(scope="session")
def measured(make_point: MakePoint, make_curve: MakeCurve, same: Callable[..., Distribution]) -> Curve:
    """Three valid open-loop points at 2, 4 and 8 req/s, and an invalid one at 16."""
    told = [
        make_point("open", 2.0, running_mean=3.0, waiting_mean=0.0, kv_usage_mean=0.1, ttft=same(0.1)),
        make_point("open", 4.0, running_mean=7.0, waiting_mean=1.0, ttft=same(0.3)),
        make_point("open", 8.0, running_mean=15.0, waiting_mean=None, kv_usage_mean=0.9, ttft=Distribution()),
        make_point("open", 16.0, flags=("NOT_STEADY",)),
    ]
    return make_curve(told)


def test_everything_is_interpolated_linearly(measured: Curve) -> None:
    """At 3 req/s each number lies halfway, and the two points it rests on are named."""
    found = operating_point(measured, 3.0)
    assert (found.output_tps, found.input_tps, found.in_flight_mean) == (150.0, 300.0, 6.0)
    assert (found.running_mean, found.waiting_mean) == (5.0, 0.5)
    assert found.metric("ttft", "p90") == pytest.approx(0.2)
    assert found.metric("ttft", "mean") == pytest.approx(0.2)
    assert found.point_ids == ("open-2.0", "open-4.0")
    assert found.rate_rps == 3.0


def test_a_measured_rate_is_that_point(measured: Curve) -> None:
    """At a measured rate the point itself answers, whatever its neighbours lack."""
    found = operating_point(measured, 4.0)
    assert (found.running_mean, found.waiting_mean, found.kv_usage_mean) == (7.0, 1.0, None)
    assert found.metric("ttft", "p50") == pytest.approx(0.3)
    assert found.point_ids == ("open-4.0",)


def test_what_one_neighbour_lacks_is_unknown(measured: Curve) -> None:
    """Between a point that tells and one that does not there is no number."""
    found = operating_point(measured, 6.0)
    assert (found.waiting_mean, found.kv_usage_mean, found.metric("ttft", "p90")) == (None, None, None)
    assert found.running_mean == 11.0


@pytest.mark.parametrize("rate", [1.9, 8.1, 16.0])
def test_beyond_the_measured_range_nothing_is_read(measured: Curve, rate: float) -> None:
    """Outside the valid points it is a data error that names the range."""
    with pytest.raises(DataError, match=r"2\.00 req/s to 8\.00 req/s"):
        operating_point(measured, rate)


def test_a_curve_without_valid_points_has_none(make_point: MakePoint, make_curve: MakeCurve) -> None:
    """Invalid points are not read."""
    with pytest.raises(DataError, match="no valid"):
        operating_point(make_curve([make_point("open", 2.0, flags=("ERRORS",))]), 2.0)


@given(st.lists(st.tuples(st.floats(0.1, 100), st.floats(0, 10)), min_size=1, max_size=8), st.floats(0, 1))
def test_an_interpolated_value_lies_between_its_points(
    make_point: MakePoint, make_curve: MakeCurve, values: list[tuple[float, float]], share: float
) -> None:
    """Whatever the points, the value read is within those of the points named."""
    points = [
        make_point("open", rate, point_id=str(number), ttft=Distribution(p90=Estimate(value=value)))
        for number, (rate, value) in enumerate(values)
    ]
    rates = [rate for rate, _ in values]
    rate = min(max(min(rates) + share * (max(rates) - min(rates)), min(rates)), max(rates))
    found = operating_point(make_curve(points), rate)
    near = [values[int(point_id)][1] for point_id in found.point_ids]
    read = found.metric("ttft", "p90")
    assert read is not None
    assert min(near) - 1e-9 <= read <= max(near) + 1e-9
