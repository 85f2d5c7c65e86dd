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


def token_buckets(most: int) -> tuple[float, ...]:
    """1, 2, 5, 10, 20 ... up to *most* tokens, as vLLM has them."""
    bounds = [step * 10**power for power in range(len(str(most))) for step in (1, 2, 5)]
    return tuple(float(bound) for bound in bounds if bound <= most)


class Counters:
    """All counters and histograms of one engine core.

    A client that hangs up is counted nowhere but in its tokens, as vLLM 0.32 does.
    """

    def __init__(self, most_tokens: int) -> None:
        self.finished_by_reason = dict.fromkeys(FINISHED_REASONS, 0)
        self.prompt_tokens = 0
        self.generation_tokens = 0
        self.ttft = Tally(TTFT_BUCKETS)
        self.gaps = Tally(ITL_BUCKETS)
        self.per_token = Tally(ITL_BUCKETS)
        self.latency = Tally(REQUEST_BUCKETS)
        self.queue = Tally(REQUEST_BUCKETS)
        self.inference = Tally(REQUEST_BUCKETS)
        self.prefill = Tally(REQUEST_BUCKETS)
        self.decode = Tally(REQUEST_BUCKETS)
        self.prompts = Tally(token_buckets(most_tokens))
        self.outputs = Tally(token_buckets(most_tokens))

    def first_token(self, prompt: int, seconds: float) -> None:
        """A request got its first token: its prompt counts from now on."""
        self.prompt_tokens += prompt
        self.generation_tokens += 1
        self.ttft.add(seconds)

    def gap(self, seconds: float, tokens: int) -> None:
        """A request got further tokens in one step."""
        self.generation_tokens += tokens
        self.gaps.add(seconds)

    def finished(self, reason: str, tokens: tuple[int, int], times: tuple[float, float, float, float]) -> None:
        """A request is done: tokens in and out; when it came, was last admitted, got its first and its last token."""
        came, admitted, first, last = times
        prompt, output = tokens
        self.finished_by_reason[reason] += 1
        self.latency.add(last - came)
        self.queue.add(admitted - came)
        self.inference.add(last - admitted)
        self.prefill.add(max(0.0, first - admitted))
        self.decode.add(last - first)
        self.prompts.add(prompt)
        self.outputs.add(output)
        if output > 1:
            self.per_token.add((last - first) / (output - 1))
