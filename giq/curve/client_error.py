"""What the client adds to what it measures: found against an exact server, and judged against the answer (pure)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from giq.curve.point import Point
from giq.curve.targets import Target
from giq.documents import Entry, NonNegative, PositiveInt, replace
from giq.units import format_seconds

COUNTS_SHARE = 0.05
"""An error below this share of a target is none: the load at which a latency target is reached moves by less."""

OWN_SHARE = 0.25
"""Without targets: above this share of what was measured a figure says too much of the client."""

TIMER_S = 0.0015
"""What an event loop's own timers are late by, to the millisecond, however idle it is: no lag."""


class Spread(Entry, frozen=True, kw_only=True):
    """Percentiles of what the client added to the values of one metric, in seconds."""

    p50: NonNegative
    p90: NonNegative
    p99: NonNegative

    def at(self, percentile: str) -> float:
        """The error of a percentile; of p95 that of p99, which is no less."""
        return {"p50": self.p50, "p90": self.p90}.get(percentile, self.p99)


class ClientError(Entry, frozen=True, kw_only=True):
    """The client's own error at one load, against a server whose every write is known.

    Errors are per request (ITL: per gap) what the client measured minus what the server did, so the server's own
    lateness is no part of them. `tokens_per_s` and `requests_per_s` are those held; `shortfall` is the share by which
    that is less than a client without delay would hold. TPOT's is of answers of `output_tokens` tokens: it
    falls with their length. `server_late` is how late the exact server itself was.
    """

    streams: PositiveInt
    output_tokens: PositiveInt
    requests: PositiveInt
    tokens_per_s: NonNegative
    requests_per_s: NonNegative
    ttft: Spread
    itl: Spread
    tpot: Spread
    latency: Spread
    shortfall: NonNegative
    cpu_share: NonNegative
    loop_lag_p99_s: NonNegative
    server_late_p50_s: NonNegative
    server_late_p99_s: NonNegative
    measured_at: str

    def covers(self, streams: float, tokens_per_s: float, requests_per_s: float) -> bool:
        """Whether that load is no more than this one in any respect."""
        return streams <= self.streams and tokens_per_s <= self.tokens_per_s and requests_per_s <= self.requests_per_s

    @property
    def worst_s(self) -> float:
        """The largest error of any time that is measured, at its 99th percentile."""
        return max(self.ttft.p99, self.itl.p99, self.latency.p99)

    def of(self, metric: str, percentile: str, output_tokens: float) -> float:
        """The error of a percentile of *metric* in answers of so many tokens."""
        if metric in ("tpot", "ntpot"):
            steps = max(1.0, output_tokens - (metric == "tpot"))
            whole = self.tpot.at(percentile) * (self.output_tokens - 1)
            return (whole if metric == "tpot" else self.latency.at(percentile)) / steps
        spread = {"ttft": self.ttft, "itl": self.itl}.get(metric, self.latency)
        return spread.at(percentile)


class ClientCalibration(Entry, frozen=True, kw_only=True):
    """What is known of the client before a run: its error at some loads, with so many `workers` on so many `cores`.

    `upper_bound` says why the errors are no more than upper bounds: the exact server had no core of its own.
    """

    errors: tuple[ClientError, ...]
    workers: PositiveInt
    cores: PositiveInt
    cached: bool
    upper_bound: str | None = None

    def at(self, streams: float, tokens_per_s: float, requests_per_s: float) -> ClientError | None:
        """The error at the next higher load that was calibrated; None beyond the highest."""
        covering = [error for error in self.errors if error.covers(streams, tokens_per_s, requests_per_s)]
        return min(covering, key=lambda error: (error.tokens_per_s, error.worst_s), default=None)

    def of(self, point: Point) -> ClientError | None:
        """The error at the load of *point*."""
        streams = point.concurrency if point.concurrency is not None else math.ceil(point.in_flight_mean)
        return self.at(streams, point.output_tps, point.achieved_rps)


class LoopLag(Entry, frozen=True, kw_only=True):
    """How late the client's event loop was while a point was measured, in seconds."""

    mean: NonNegative
    p50: NonNegative
    p90: NonNegative
    p99: NonNegative

    def error(self, metric: str, percentile: str, output_tokens: float) -> float:
        """What that lateness may have added to a percentile of *metric*.

        A stamp is late by as much as the loop is; per output token that is the less, the more there are.
        """
        late = {"p50": self.p50, "p90": self.p90}.get(percentile, self.p99)
        late = max(0.0, late - TIMER_S)
        return late / max(1.0, output_tokens - 1) if metric in ("tpot", "ntpot") else late


def client_bound(point: Point, targets: Sequence[Target], error: ClientError | None, lag: LoopLag) -> tuple[str, ...]:
    """Why the client's own error could change what *point* answers; nothing when it could not.

    The error of a percentile is the calibrated one at that load, or what the event loop's lag while the point was
    measured comes to, whichever is more. A client stamps late, never early: the truth lies between the value less
    the error and the value (TPOT, the difference of two stamps: on both sides).

    With targets a point answers whether each is met. The error could change that when the truth may lie on the other
    side of the limit than the value, and the error is more than 5 % of the limit. Without targets it answers with
    its figures: TTFT and TPOT at p90 must not be the client's own by more than a quarter. A closed loop answers
    with its rate too: of the mean time of a request no more than 5 % may be the client's.
    """
    known = _Known(point, error, lag)
    judged = [known.flip(target) for target in targets] if targets else [known.share(name) for name in ("ttft", "tpot")]
    return tuple(reason for reason in (*judged, known.rate()) if reason is not None)


def judged(
    point: Point, targets: Sequence[Target], client: ClientCalibration | None, lag: LoopLag
) -> tuple[Point, tuple[str, ...]]:
    """*point* with the client's error bound at its load, flagged CLIENT_BOUND where that could change its answer.

    Also the reasons, and why the bound is not known where it is not. The bound is the largest error of any time that
    is measured, at its 99th percentile.
    """
    error = client.of(point) if client else None
    reasons = client_bound(point, targets, error, lag)
    flags = tuple(dict.fromkeys((*point.flags, *(["CLIENT_BOUND"] if reasons else []))))
    judged = replace(point, client_error_s=error.worst_s if error else None, flags=flags)
    if client is not None and error is None:
        reasons += ("the client's own error is not known at this load: it is beyond what was calibrated",)
    return judged, reasons


@dataclass(frozen=True)
class _Known:
    """A point and what is known of the client's error in it."""

    point: Point
    calibrated: ClientError | None
    lag: LoopLag

    def error(self, metric: str, percentile: str) -> float:
        tokens = self.point.output_tokens_mean
        found = self.calibrated.of(metric, percentile, tokens) if self.calibrated else 0.0
        return max(found, self.lag.error(metric, percentile, tokens))

    def flip(self, target: Target) -> str | None:
        """Whether the truth may lie on the other side of the target's limit than what was measured."""
        value, own, limit = target.value(self.point), self.error(target.metric, target.percentile), target.seconds
        if value is None or not math.isfinite(value.value) or own <= COUNTS_SHARE * limit:
            return None
        missed = value.value > limit >= value.value - own
        met = target.metric == "tpot" and value.value <= limit < value.value + own
        if not (missed or met):
            return None
        return (
            f"the client's own error of up to {format_seconds(own)} decides whether {target} is met "
            f"({format_seconds(value.value)} was measured)"
        )

    def share(self, metric: str) -> str | None:
        """Whether a figure says too much of the client."""
        value, own = self.point.metric(metric).p90, self.error(metric, "p90")
        if value is None or not math.isfinite(value.value) or own <= OWN_SHARE * value.value:
            return None
        return (
            f"of the p90 {metric.upper()} of {format_seconds(value.value)} up to {format_seconds(own)} is the client's "
            f"own, more than {OWN_SHARE:.0%}"
        )

    def rate(self) -> str | None:
        """Whether a closed loop is slower because its client took its time."""
        latency = self.point.latency.p50
        if self.point.load_kind != "closed" or latency is None or not math.isfinite(latency.value):
            return None
        own = max(self.calibrated.latency.p50 if self.calibrated else 0.0, self.lag.mean - TIMER_S)
        if own <= COUNTS_SHARE * latency.value:
            return None
        return (
            f"of the {format_seconds(latency.value)} that a request took {format_seconds(own)} is the client's own, "
            f"more than {COUNTS_SHARE:.0%}: the rate is its own, too"
        )
