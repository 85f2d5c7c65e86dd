"""The totals of a load point, or of one worker's share of it: they add up over workers."""

from __future__ import annotations

from array import array
from collections import Counter
from dataclasses import dataclass, field

import numpy as np

from giq.curve.client_error import LoopLag
from giq.curve.requests import Record
from giq.load.connection import Exchange
from giq.load.job import Ending, Lateness
from giq.units import NS_PER_S

_SERVED_IN_PART = ("timeout", "cut_off", "cancelled", "stream_error")
_CLIENT_LIMITS = ("too_many_open_files", "no_free_port")


@dataclass
class Tally:
    """What was sent and what came of it; times in ns on the machine's monotonic clock.

    `outcomes` counts records. The tokens are the server's, of requests that succeeded; `uncounted` of those came
    without counts and `differing` with other lengths than asked for. `unsure` requests may or may not have been
    counted by the server, with at most so many tokens. `delays_ns` and `lags_ns` are the client's own lateness.
    """

    ending: Ending = "schedule"
    started_ns: int = 0
    ended_ns: int = 0
    sent: int = 0
    outcomes: Counter[str] = field(default_factory=Counter)
    input_tokens: int = 0
    output_tokens: int = 0
    uncounted: int = 0
    differing: int = 0
    unsure: int = 0
    unsure_input_tokens: int = 0
    unsure_output_tokens: int = 0
    client_limited: int = 0
    cpu_s: float = 0.0
    delays_ns: array[int] = field(default_factory=lambda: array("q"))
    lags_ns: array[int] = field(default_factory=lambda: array("q"))
    scheduled_span: tuple[int, int] | None = None
    sent_span: tuple[int, int] | None = None

    def note_sent(self, exchange: Exchange) -> None:
        """A request was handed to the socket for the first time.

        The delays of those that fall due together with the first are not noted: a warm start sends hundreds at one
        moment, one after the other, and says nothing of how arrivals are paced.
        """
        self.sent += 1
        if self.scheduled_span is None or exchange.scheduled_ns > self.scheduled_span[0]:
            self.delays_ns.append(max(0, exchange.sent_ns - exchange.scheduled_ns - exchange.waited_ns))
        self.scheduled_span = _widened(self.scheduled_span, exchange.scheduled_ns)
        self.sent_span = _widened(self.sent_span, exchange.sent_ns - exchange.waited_ns)

    def note_record(self, record: Record) -> None:
        """An answer was decoded."""
        self.outcomes[record.outcome] += 1
        if record.outcome == "ok":
            self._note_ok(record)
        elif record.outcome in _SERVED_IN_PART and record.error_kind != "connect":
            self.unsure += 1
            self.unsure_input_tokens += record.requested_input_tokens
            self.unsure_output_tokens += record.requested_output_tokens
        elif record.error_kind in _CLIENT_LIMITS:
            self.client_limited += 1

    def _note_ok(self, record: Record) -> None:
        if record.output_tokens is None or record.input_tokens is None:
            self.uncounted += 1
            return
        self.input_tokens += record.input_tokens
        self.output_tokens += record.output_tokens
        asked = (record.requested_input_tokens, record.requested_output_tokens)
        self.differing += asked != (record.input_tokens, record.output_tokens)

    @property
    def ok(self) -> int:
        """Requests that succeeded."""
        return self.outcomes["ok"]

    def lateness(self, workers: int = 1) -> Lateness:
        """How well the client kept its own times, and the share of a core that each of its *workers* used."""
        delays = _quantiles(self.delays_ns)
        elapsed_s = max(1, self.ended_ns - self.started_ns) / NS_PER_S
        return Lateness(
            schedule_delay_p50_s=delays[0],
            schedule_delay_p99_s=delays[1],
            schedule_delay_max_s=delays[2],
            rate_error=_rate_error(self.scheduled_span, self.sent_span),
            loop_lag=_loop_lag(self.lags_ns),
            cpu_share=self.cpu_s / elapsed_s / workers,
        )


def merged(tallies: list[Tally]) -> Tally:
    """The totals of several workers' shares."""
    whole = Tally(
        ending=next((one.ending for one in tallies if one.ending != "schedule"), "schedule"),
        started_ns=min(one.started_ns for one in tallies),
        ended_ns=max(one.ended_ns for one in tallies),
    )
    for one in tallies:
        whole.outcomes.update(one.outcomes)
        whole.delays_ns.extend(one.delays_ns)
        whole.lags_ns.extend(one.lags_ns)
        for name in _SUMS:
            setattr(whole, name, getattr(whole, name) + getattr(one, name))
        for name in ("scheduled_span", "sent_span"):
            for bound in getattr(one, name) or ():
                setattr(whole, name, _widened(getattr(whole, name), bound))
    return whole


_SUMS = (
    "sent", "input_tokens", "output_tokens", "uncounted", "differing", "unsure", "unsure_input_tokens",
    "unsure_output_tokens", "client_limited", "cpu_s",
)  # fmt: skip


def _widened(span: tuple[int, int] | None, value: int) -> tuple[int, int]:
    return (value, value) if span is None else (min(span[0], value), max(span[1], value))


def _quantiles(values_ns: array[int]) -> tuple[float, float, float]:
    """Median, 99th percentile and maximum, in seconds; zeros for no values.

    Percentiles are values that occurred, the lower one: one value that stands out among a hundred is no percentile.
    """
    if not values_ns:
        return (0.0, 0.0, 0.0)
    values = np.frombuffer(values_ns, dtype=np.int64)
    middle, high, top = np.quantile(values, [0.5, 0.99, 1.0], method="lower") / NS_PER_S
    return (float(middle), float(high), float(top))


def _loop_lag(lags_ns: array[int]) -> LoopLag:
    if not lags_ns:
        return LoopLag(mean=0.0, p50=0.0, p90=0.0, p99=0.0)
    values = np.frombuffer(lags_ns, dtype=np.int64)
    p50, p90, p99 = np.quantile(values, [0.5, 0.9, 0.99], method="lower") / NS_PER_S
    return LoopLag(mean=float(values.mean()) / NS_PER_S, p50=float(p50), p90=float(p90), p99=float(p99))


def _rate_error(scheduled: tuple[int, int] | None, sent: tuple[int, int] | None) -> float:
    """How far the rate of sending was off the schedule's, as a share; 0 where neither has a length."""
    if scheduled is None or sent is None or scheduled[1] <= scheduled[0] or sent[1] <= sent[0]:
        return 0.0
    return abs((scheduled[1] - scheduled[0]) / (sent[1] - sent[0]) - 1.0)
