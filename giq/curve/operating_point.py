"""What a deployment unit does at one rate: read off its curve between the measured points."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from giq.curve.curve import Curve
from giq.curve.load_axis import LoadAxis, at_rate, load_axis
from giq.curve.point import Point
from giq.errors import DataError
from giq.units import format_rate


@dataclass(frozen=True)
class OperatingPoint:
    """A unit at `rate_rps`: interpolated linearly between the two measured points `point_ids` (or at one).

    Each number is None where a point it rests on lacks it.
    """

    rate_rps: float
    output_tps: float | None
    input_tps: float | None
    in_flight_mean: float | None
    running_mean: float | None
    waiting_mean: float | None
    kv_usage_mean: float | None
    point_ids: tuple[str, ...]
    axis: LoadAxis

    def metric(self, name: str, statistic: str) -> float | None:
        """One statistic (mean, p50, p90, p95, p99) of one metric there, in seconds; None where unknown."""

        def of(point: Point) -> float | None:
            found = point.metric(name).at(statistic)
            return None if found is None else found.value

        return _read(self.axis, of, self.rate_rps)


def operating_point(curve: Curve, rate_rps: float) -> OperatingPoint:
    """The operating point of *curve* at *rate_rps*, from the points that `capacity` rests on too.

    Raises:
        DataError: no point is valid, or the rate lies outside the measured range.
    """
    axis = load_axis(curve)
    if not axis.points:
        raise DataError("the curve has no valid load point", hint="Measure it again.")
    low, high = axis.rates[0], axis.rates[-1]
    if not low <= rate_rps <= high:
        measured = f"{format_rate(low)} to {format_rate(high)}"
        raise DataError(
            f"{format_rate(rate_rps)} is outside what was measured ({measured})",
            hint="Measure a load there: a curve is never read beyond its points.",
        )

    def at(name: str) -> float | None:
        return _read(axis, lambda point: getattr(point, name), rate_rps)

    return OperatingPoint(
        rate_rps=rate_rps,
        output_tps=at("output_tps"),
        input_tps=at("input_tps"),
        in_flight_mean=at("in_flight_mean"),
        running_mean=at("running_mean"),
        waiting_mean=at("waiting_mean"),
        kv_usage_mean=at("kv_usage_mean"),
        point_ids=_neighbours(axis, rate_rps),
        axis=axis,
    )


def _read(axis: LoadAxis, of: Callable[[Point], float | None], rate: float) -> float | None:
    return at_rate(axis.rates, [of(point) for point in axis.points], rate)


def _neighbours(axis: LoadAxis, rate: float) -> tuple[str, ...]:
    if rate in axis.rates:
        return (axis.points[axis.rates.index(rate)].point_id,)
    above = next(index for index, other in enumerate(axis.rates) if other > rate)
    return axis.points[above - 1].point_id, axis.points[above].point_id
