"""What a unit does at the rates of its curve, small enough to be kept with a recommendation (pure)."""

from __future__ import annotations

import math
from collections.abc import Sequence

from giq.curve.curve import Curve
from giq.curve.load_axis import load_axis
from giq.curve.operating_point import OperatingPoint, operating_point
from giq.curve.point import METRICS, STATISTICS
from giq.documents import Entry


class Level(Entry, frozen=True, kw_only=True):
    """A unit at `rate_rps`, read off its curve; each number None where a point it rests on lacks it.

    `latencies_s` is by metric and statistic, like `ttft_p90`; what is unknown or infinite is absent.
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


def levels_to(curve: Curve, rate_rps: float) -> tuple[Level, ...]:
    """The levels at every measured rate below *rate_rps*, and last the one at it.

    Where it lies beyond what was measured, the last is the one at the nearest end.
    """
    rates = load_axis(curve).rates
    top = min(max(rate_rps, rates[0]), rates[-1])
    return tuple(_level(operating_point(curve, rate)) for rate in sorted({*(r for r in rates if r < top), top}))


def busiest(levels: Sequence[Level], ratio: float) -> Level:
    """The level with the most tokens a second, an output token counting *ratio* times an input token.

    That is the last one but for noise: a unit that may run at the last rate may also run at a lower one, so a
    dip measured at the last never makes its tokens dearer.
    """
    return max(levels, key=lambda level: (level.input_tps or 0.0) / ratio + (level.output_tps or 0.0))


def _level(point: OperatingPoint) -> Level:
    named = {(name, statistic): point.metric(name, statistic) for name in METRICS for statistic in STATISTICS}
    return Level(
        rate_rps=point.rate_rps,
        input_tps=point.input_tps,
        output_tps=point.output_tps,
        in_flight_mean=point.in_flight_mean,
        running_mean=point.running_mean,
        waiting_mean=point.waiting_mean,
        kv_usage_mean=point.kv_usage_mean,
        latencies_s={
            f"{name}_{statistic}": value
            for (name, statistic), value in named.items()
            if value is not None and math.isfinite(value)
        },
        point_ids=point.point_ids,
    )
