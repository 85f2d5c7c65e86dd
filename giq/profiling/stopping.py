"""How long loads take and what they cost, from what is known so far (pure)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import median

from giq.curve.point import Point
from giq.units import format_span
from giq.workload.workload import ClosedLoad, Load, Stop


def expected_seconds(load: Load, stop: Stop, points: Sequence[Point]) -> float | None:
    """About how long holding *load* until *stop* takes at most, None where nothing is known yet."""
    if isinstance(load, ClosedLoad):
        rates = [point.achieved_rps for point in points if (point.concurrency or math.inf) <= load.concurrency]
        rate = max(rates, default=0.0)
    else:
        rate = load.rate_rps
    by_count = stop.requests / rate if stop.requests and rate else None
    known = [seconds for seconds in (by_count, stop.duration_s) if seconds is not None]
    return min(known) if known else None


def measured_s(points: Sequence[Point], accelerators: int) -> float:
    """How long *points* were held in all, drains included, in seconds."""
    return sum(point.accelerator_seconds for point in points) / accelerators


def cost_words(points: Sequence[Point], spent_s: float, accelerators: int) -> str:
    """What a search cost: accelerator-seconds with all idle time, and the same in mean lifetimes of a request."""
    lived = [point.latency.mean.value for point in points if point.latency.mean is not None]
    lives = f", {spent_s / median(lived):,.0f} mean lifetimes of a request" if lived else ""
    return f"Cost: {spent_s * accelerators:,.0f} accelerator-seconds ({format_span(spent_s)} x {accelerators}{lives})."
