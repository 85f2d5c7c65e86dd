"""What the server counts, as plain numbers: cheap to add to on the path of every token."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence

FINISHED_REASONS = ("stop", "length", "abort", "error", "repetition")

REQUEST_BUCKETS = (
    0.3, 0.5, 0.8, 1.0, 1.5, 2.0, 2.5, 5.0, 10.0, 15.0, 20.0, 30.0, 40.0, 50.0, 60.0, 120.0, 240.0, 480.0, 960.0,
    1920.0, 7680.0,
)  # fmt: skip
TTFT_BUCKETS = (
    0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0, 20.0, 40.0, 80.0,
    160.0, 640.0, 2560.0,
)  # fmt: skip
ITL_BUCKETS = (
    0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0, 20.0, 40.0, 80.0,
)  # fmt: skip
"""Bucket bounds of vLLM 0.32 (v1/metrics/buckets.py), in seconds."""


class Tally:
    """A histogram: how many values fell into each bucket (the last has no bound), and their sum."""

    def __init__(self, bounds: Sequence[float]) -> None:
        self.bounds = tuple(bounds)
        self.counts = [0] * (len(self.bounds) + 1)
        self.total = 0.0

    def add(self, value: float) -> None:
        """Count *value*."""
        self.counts[bisect_left(self.bounds, value)] += 1
        self.total += value

    def cumulative(self) -> list[tuple[str, float]]:
        """Bound and count of values up to it, as Prometheus wants them."""
        counted, rows = 0, []
        for bound, count in zip((*map(str, self.bounds), "+Inf"), self.counts, strict=True):
            counted += count
            rows.append((bound, float(counted)))
        return rows


class Counters:
    """All counters and histograms of one engine.

    A client that hangs up is counted nowhere but in its tokens, as vLLM 0.32 does.
    """

    def __init__(self) -> None:
        self.finished_by_reason = dict.fromkeys(FINISHED_REASONS, 0)
        self.prompt_tokens = 0
        self.generation_tokens = 0
        self.ttft = Tally(TTFT_BUCKETS)
        self.latency = Tally(REQUEST_BUCKETS)
        self.queue = Tally(REQUEST_BUCKETS)
        self.gaps = Tally(ITL_BUCKETS)

    def first_token(self, prompt: int, seconds: float) -> None:
        """A request got its first token: its prompt counts from now on."""
        self.prompt_tokens += prompt
        self.generation_tokens += 1
        self.ttft.add(seconds)

    def gap(self, seconds: float) -> None:
        """A request got a further token."""
        self.generation_tokens += 1
        self.gaps.add(seconds)

    def finished(self, reason: str, seconds: float, queued: float) -> None:
        """A request is done, after *seconds* in all and *queued* seconds before it was last admitted."""
        self.finished_by_reason[reason] += 1
        self.latency.add(seconds)
        self.queue.add(queued)
