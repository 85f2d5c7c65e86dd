"""What a load tool held and how exact it was, from the times of its requests."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

Seconds = NDArray[np.float64]


@dataclass(frozen=True)
class Cell:
    """One load: so many streams kept in flight, each of `output_tokens` after `first_ms`, one every `gap_ms`.

    `rate_rps` instead of streams is an open loop.
    """

    name: str
    output_tokens: int
    first_ms: float
    gap_ms: float
    streams: int = 0
    rate_rps: float = 0.0
    input_tokens: int = 64

    @property
    def request_s(self) -> float:
        """How long one request takes at an exact server."""
        return (self.first_ms + (self.output_tokens - 1) * self.gap_ms) / 1e3


def streams(count: int) -> Cell:
    """So many streams of 200 tokens: 2.04 s each."""
    return Cell(f"{count} streams", output_tokens=200, first_ms=50, gap_ms=10, streams=count)


SHORT = Cell("short", output_tokens=8, first_ms=0, gap_ms=0, streams=200)
"""Replies of 8 tokens that the server sends at once, 200 in flight."""


@dataclass(frozen=True)
class Figures:
    """One row: held rates (all of it over last received - first sent, nothing trimmed), latencies in ms.

    `itl_p99_ms` None: the tool does not keep the gaps. `extra` holds what only some tools tell.
    """

    requests: int
    failed: int
    tokens_per_s: float
    requests_per_s: float
    ttft_p50_ms: float
    ttft_p99_ms: float
    itl_p99_ms: float | None
    extra: dict[str, Any] = field(default_factory=dict)


def figures(
    cell: Cell, sent_s: Seconds, last_s: Seconds, ttft_s: Seconds, gaps_s: Seconds | None, failed: int = 0, **extra: Any
) -> Figures:
    """The figures of requests that were answered in full (the exact server counts the tokens of each: all there).

    Raises:
        ValueError: not one was answered.
    """
    if not len(sent_s):
        raise ValueError("no request was answered in full")
    seconds = float(last_s.max() - sent_s.min())
    ttft = np.quantile(ttft_s, [0.5, 0.99]) * 1e3
    return Figures(
        requests=len(sent_s),
        failed=failed,
        tokens_per_s=len(sent_s) * cell.output_tokens / seconds,
        requests_per_s=len(sent_s) / seconds,
        ttft_p50_ms=float(ttft[0]),
        ttft_p99_ms=float(ttft[1]),
        itl_p99_ms=None if gaps_s is None or not len(gaps_s) else float(np.quantile(gaps_s, 0.99) * 1e3),
        extra=extra,
    )
