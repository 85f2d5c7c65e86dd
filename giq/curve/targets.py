"""Latency targets: a metric, a limit, and the percentile of requests that must stay within it."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Literal

from giq.curve.point import Estimate, Point
from giq.documents import Entry
from giq.errors import UsageError
from giq.units import format_seconds

TargetMetric = Literal["ttft", "itl", "tpot", "ntpot", "latency"]

TARGET_METRICS: tuple[TargetMetric, ...] = ("ttft", "itl", "tpot", "ntpot", "latency")
PERCENTILES = ("p50", "p90", "p95", "p99")
_SCHEDULED = {"ttft": "ttft_scheduled", "latency": "latency_scheduled"}


class Target(Entry, frozen=True):
    """The *percentile* of *metric* must be at most *seconds*; a mean is no target.

    In open loop TTFT and latency are judged from the scheduled time, so that waiting to be sent counts.

    Raises:
        UsageError: an unknown metric or percentile, or a limit that is not a positive number.
    """

    metric: TargetMetric
    seconds: float
    percentile: str = "p90"

    def __post_init__(self) -> None:
        if self.metric not in TARGET_METRICS:
            raise UsageError(f"no target can be set on {self.metric!r}", hint=f"Known: {', '.join(TARGET_METRICS)}.")
        if self.percentile not in PERCENTILES:
            known = ", ".join(PERCENTILES)
            raise UsageError(f"a target needs a percentile, not {self.percentile!r}", hint=f"Known: {known}.")
        if not (math.isfinite(self.seconds) and self.seconds > 0):
            raise UsageError(f"the target {self.seconds!r} s is no time above zero", hint="Like 300ms.")

    def __str__(self) -> str:
        return f"{self.percentile} {self.metric.upper() if self.metric != 'latency' else 'latency'} <= " + (
            format_seconds(self.seconds)
        )

    @property
    def percent(self) -> int:
        """The percentile as a number: 90 for p90."""
        return int(self.percentile[1:])

    @property
    def key(self) -> str:
        """A short name that says all of it, like `ttft_p90<0.3`."""
        return f"{self.metric}_{self.percentile}<{self.seconds:.12g}"

    @property
    def threshold(self) -> str:
        """What one request must do to meet it, like `ttft<0.3`.

        Of ITL a request has many: it must keep its own percentile within the limit (`itl_p90<0.05`).
        """
        return self.key if self.metric == "itl" else f"{self.metric}<{self.seconds:.12g}"

    def judged(self, load_kind: str) -> str:
        """The metric of a point that this target is judged on, in an `open` or `closed` loop."""
        return _SCHEDULED.get(self.metric, self.metric) if load_kind == "open" else self.metric

    def value(self, point: Point) -> Estimate | None:
        """What *point* has to compare with the limit; None where it lacks that percentile.

        A source that does not tell scheduled from sent (a published point) is judged from sent.
        """
        found = point.metric(self.judged(point.load_kind)).at(self.percentile)
        return found or point.metric(self.metric).at(self.percentile)


def thresholds(targets: Iterable[Target]) -> str:
    """The name under which a point keeps the attainment of *targets* jointly, like `tpot<0.05,ttft<0.3`."""
    return ",".join(sorted({target.threshold for target in targets}))


def requests_needed(targets: Iterable[Target]) -> int:
    """How many measured requests a point needs: ten beyond the highest percentile asked (p90 without targets).

    100 for p90, 1,000 for p99: with fewer, a percentile rests on single requests.
    """
    percent = max((target.percent for target in targets), default=90)
    return math.ceil(10 * 100 / (100 - percent))
