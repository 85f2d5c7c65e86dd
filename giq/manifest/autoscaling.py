"""The autoscaler's target, read off the curve below capacity; or why there is no autoscaler."""

from __future__ import annotations

import math
from collections.abc import Sequence

from giq.catalog.servers import MetricNames
from giq.documents import Entry, Name, PositiveInt
from giq.errors import UsageError
from giq.manifest.choice import LoadLevel, ServingChoice
from giq.manifest.options import DEFAULT_MAX_REPLICAS, ManifestOptions
from giq.manifest.startup import Startup
from giq.units import format_rate, format_share


class PodMetric(Entry, frozen=True, kw_only=True):
    """A metric of the server, by the name that the Custom Metrics Stackdriver Adapter knows, and its target."""

    name: Name
    average_value: Name


class Autoscaler(Entry, frozen=True, kw_only=True):
    """Between how many replicas, by which metrics (the one that asks for most decides), and why so, in words."""

    min_replicas: PositiveInt
    max_replicas: PositiveInt
    metrics: tuple[PodMetric, ...]
    reason: str


def headroom(options: ManifestOptions, startup_s: float) -> float:
    """The share of capacity at which the autoscaler must act so that traffic may grow until help is there.

    1 / ((1 + tolerance) (1 + growth x (start-up + sync))): while a replica starts and metrics travel, traffic
    that grows by the given share per second just reaches capacity.
    """
    grown = 1.0 + options.growth_per_s * (startup_s + options.sync_s)
    return 1.0 / ((1.0 + options.tolerance) * grown)


def running_at(levels: Sequence[LoadLevel], rate_rps: float) -> float | None:
    """Requests running in one unit at *rate_rps*, between the levels of the curve that tell; None where none does.

    Below the lowest of them in proportion to the rate (Little's law with that level's time in service, which
    only shrinks with less load: the true value is at most this). Above the highest: None.
    """
    known = [(level.rate_rps, level.running) for level in levels if level.running is not None]
    if not known or rate_rps > known[-1][0]:
        return None
    below = (0.0, 0.0)
    for rate, running in known:
        if rate_rps <= rate:
            return below[1] + (running - below[1]) * (rate_rps - below[0]) / (rate - below[0])
        below = (rate, running)
    return None


def quantity(value: float) -> str | None:
    """*value* as a Kubernetes quantity, rounded down: whole from 10 on, thousandths below; None below a thousandth."""
    if value >= 10:
        return str(math.floor(value))
    thousandths = math.floor(value * 1000 + 1e-9)
    if thousandths < 1:
        return None
    return str(thousandths // 1000) if thousandths % 1000 == 0 else f"{thousandths}m"


def autoscaler_of(
    choice: ServingChoice, metrics: MetricNames, startup: Startup, options: ManifestOptions
) -> Autoscaler | str:
    """The autoscaler of *choice*, or the reason why there is none.

    The target is running requests per replica at the headroom's rate: they follow the load at once, while
    KV-cache use alone stays low for short requests and CPU says nothing. Waiting requests beyond those at
    capacity are a guard, for where running ones cannot rise further.

    Raises:
        UsageError: fewer replicas at most than at least.
    """
    lowest, highest = _bounds(choice, options)
    if choice.capacity is None:
        return choice.unmet_reason or "the curve meets the targets at no rate"
    share = headroom(options, startup.total_s)
    rate = share * choice.capacity.value
    running = running_at(choice.levels, rate)
    if running is None:
        return "the curve lacks the server's count of running requests, which the target is read from"
    target = quantity(running)
    if target is None:
        return f"at {format_rate(rate)} per replica fewer than 0.001 requests run, too few for a target"
    wanted = [PodMetric(name=metric_name(metrics.running), average_value=target), *_guard(choice, metrics)]
    return Autoscaler(
        min_replicas=lowest,
        max_replicas=highest,
        metrics=tuple(wanted),
        reason=_reason(choice, share, startup, options),
    )


def metric_name(server_name: str) -> str:
    """A gauge of Google Cloud Managed Service for Prometheus, as the Stackdriver Adapter spells it."""
    return f"prometheus.googleapis.com|{server_name}|gauge"


def _guard(choice: ServingChoice, metrics: MetricNames) -> list[PodMetric]:
    waiting = choice.levels[-1].waiting
    if waiting is None:
        return []
    return [PodMetric(name=metric_name(metrics.waiting), average_value=str(max(1, math.ceil(waiting))))]


def _bounds(choice: ServingChoice, options: ManifestOptions) -> tuple[int, int]:
    lowest = options.min_replicas or choice.replicas
    highest = options.max_replicas or max(DEFAULT_MAX_REPLICAS, 2 * lowest)
    if highest < lowest:
        raise UsageError(
            f"at most {highest} replicas is fewer than at least {lowest}",
            hint="Raise the maximum, lower the minimum, or ask for a lower request rate.",
        )
    return lowest, highest


def _reason(choice: ServingChoice, share: float, startup: Startup, options: ManifestOptions) -> str:
    capacity = choice.capacity.value if choice.capacity else math.nan
    lowest = min(level.rate_rps for level in choice.levels if level.running is not None)
    read = "interpolated on the curve" if lowest <= share * capacity else "in proportion to the curve's lowest value"
    return (
        f"target: requests running at {format_rate(share * capacity)}, {format_share(share)} of capacity "
        f"({format_rate(capacity)}), {read}; leaves room for traffic that grows "
        f"{format_share(options.growth_per_s * 60)} a minute while a replica starts ({startup.total_s:.0f} s) and "
        f"metrics arrive ({options.sync_s:.0f} s), and for the autoscaler's tolerance of "
        f"{format_share(options.tolerance)}"
    )
