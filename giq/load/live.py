"""The running figures of a load point, cheap enough to be kept while it is measured."""

from __future__ import annotations

from collections import deque
from statistics import median
from time import monotonic_ns

from giq.curve.requests import Record
from giq.load.job import Progress
from giq.units import NS_PER_S

LATEST_ANSWERS = 256
TICKS = 8


class Live:
    """Figures over the latest answers and the latest ticks; `progress` is called at an even pace."""

    def __init__(self, planned: int | None) -> None:
        self._planned = planned
        self._started_ns = monotonic_ns()
        self._done = 0
        self._failed = 0
        self._tokens = 0
        self._ttft: deque[float] = deque(maxlen=LATEST_ANSWERS)
        self._tpot: deque[float] = deque(maxlen=LATEST_ANSWERS)
        self._ticks: deque[tuple[int, int, int]] = deque([(self._started_ns, 0, 0)], maxlen=TICKS + 1)

    def start(self, at_ns: int) -> None:
        """The first request falls due at *at_ns*."""
        self._started_ns = at_ns
        self._ticks.clear()
        self._ticks.append((at_ns, 0, 0))

    def note(self, record: Record) -> None:
        """An answer was decoded."""
        self._done += 1
        first, last, tokens = record.first_token_ns, record.last_token_ns, record.output_tokens
        if record.outcome != "ok":
            self._failed += 1
        elif first is not None and last is not None:
            self._ttft.append((first - record.sent_ns) / NS_PER_S)
            if tokens is not None and tokens > 1:
                self._tpot.append((last - first) / (tokens - 1) / NS_PER_S)
        self._tokens += tokens or 0

    def progress(self, sent: int, in_flight: int) -> Progress:
        """The figures now."""
        now = monotonic_ns()
        then, sent_then, tokens_then = self._ticks[0]
        self._ticks.append((now, sent, self._tokens))
        span_s = max(now - then, 1_000_000) / NS_PER_S
        return Progress(
            elapsed_s=max(0.0, (now - self._started_ns) / NS_PER_S),
            sent=sent,
            done=self._done,
            failed=self._failed,
            in_flight=in_flight,
            planned=self._planned,
            rate_rps=(sent - sent_then) / span_s,
            ttft_p50_s=median(self._ttft) if self._ttft else None,
            tpot_p50_s=median(self._tpot) if self._tpot else None,
            output_tps=(self._tokens - tokens_then) / span_s,
        )


def joined(parts: list[Progress]) -> Progress:
    """The figures of several workers together; of the medians the mean, weighted by the answers behind them."""
    return Progress(
        elapsed_s=max(part.elapsed_s for part in parts),
        sent=sum(part.sent for part in parts),
        done=sum(part.done for part in parts),
        failed=sum(part.failed for part in parts),
        in_flight=sum(part.in_flight for part in parts),
        planned=None if any(part.planned is None for part in parts) else sum(part.planned or 0 for part in parts),
        rate_rps=sum(part.rate_rps for part in parts),
        ttft_p50_s=_weighted([(part.ttft_p50_s, part.done) for part in parts]),
        tpot_p50_s=_weighted([(part.tpot_p50_s, part.done) for part in parts]),
        output_tps=sum(part.output_tps for part in parts),
    )


def _weighted(values: list[tuple[float | None, int]]) -> float | None:
    known = [(value, weight) for value, weight in values if value is not None and weight > 0]
    total = sum(weight for _, weight in known)
    return sum(value * weight for value, weight in known) / total if total else None
