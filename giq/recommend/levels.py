"""What a unit does at the rates of its curve, small enough to be kept with a recommendation (pure)."""

from __future__ import annotations

import math
from collections.abc import Callable

from giq.curve.curve import Curve
from giq.curve.load_axis import load_axis
from giq.curve.operating_point import OperatingPoint, operating_point
from giq.curve.point import METRICS, STATISTICS, Point
from giq.documents import Entry, replace


class Level(Entry, frozen=True, kw_only=True):
    """A unit at `rate_rps`, read off its curve; each number None where a point it rests on lacks it.

    `latencies_s` is by metric and statistic, like `ttft_p90`; what is unknown or infinite is absent.
    `point_ids` name the points it rests on, like `RUN/p001` (without a run `p001`).
    """

    rate_rps: float
    input_tps: float | None = None
    output_tps: float | None = None
    in_flight_mean: float | None = None
    running_mean: float | None = None
    waiting_mean: float | None = None
    kv_usage_mean: float | None = None
    latencies_s: dict[str, float] = {}
    point_ids: tuple[str, ...]

    def metric(self, name: str, statistic: str) -> float | None:
        """One statistic of one metric, in seconds."""
        return self.latencies_s.get(f"{name}_{statistic}")


def operating_level(curve: Curve, rate_rps: float) -> Level:
    """The level at *rate_rps*, with its latencies; at the nearest end of what was measured where it lies beyond."""
    rates = load_axis(curve).rates
    point = operating_point(_named_by_run(curve), min(max(rate_rps, rates[0]), rates[-1]))
    named = {(name, statistic): point.metric(name, statistic) for name in METRICS for statistic in STATISTICS}
    latencies = {
        f"{name}_{statistic}": value
        for (name, statistic), value in named.items()
        if value is not None and math.isfinite(value)
    }
    return replace(_level(point), latencies_s=latencies)


def levels_below(curve: Curve, rate_rps: float) -> tuple[Level, ...]:
    """The levels at every measured rate below *rate_rps*, in order of rate, without latencies."""
    rates = sorted({rate for rate in load_axis(curve).rates if rate < rate_rps})
    named = _named_by_run(curve)
    return tuple(_level(operating_point(named, rate)) for rate in rates)


def tokens_per_request(curve: Curve) -> tuple[float, float]:
    """Mean input and output tokens of a request, over all valid points weighted by their requests.

    Capacity times these are the token rates at capacity: read off single points, their noise could make tokens
    dearer at a higher rate than at a lower one.
    """
    points = curve.valid_points
    weights = [max(point.n_requests, 1) for point in points]

    def mean(of: Callable[[Point], float]) -> float:
        return sum(of(point) * weight for point, weight in zip(points, weights, strict=True)) / sum(weights)

    return mean(lambda point: point.input_tokens_mean), mean(lambda point: point.output_tokens_mean)


def _named_by_run(curve: Curve) -> Curve:
    """*curve* with the run in the name of each point: every run calls its points p001, p002 and so on."""
    points = (
        replace(point, point_id=f"{point.run_id}/{point.point_id}") if point.run_id else point for point in curve.points
    )
    return Curve(curve.config, curve.workload, tuple(points))


def _level(point: OperatingPoint) -> Level:
    return Level(
        rate_rps=point.rate_rps,
        input_tps=point.input_tps,
        output_tps=point.output_tps,
        in_flight_mean=point.in_flight_mean,
        running_mean=point.running_mean,
        waiting_mean=point.waiting_mean,
        kv_usage_mean=point.kv_usage_mean,
        point_ids=point.point_ids,
    )
