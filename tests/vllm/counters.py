"""The server's own counters and histograms, read from outside giq."""

from __future__ import annotations

import math
import time
import urllib.request
from dataclasses import dataclass

from prometheus_client.parser import text_string_to_metric_families

FAILED = ("abort", "error")


@dataclass(frozen=True)
class Histogram:
    """Sum, count and cumulative buckets by upper bound."""

    total: float
    count: float
    buckets: dict[float, float]

    def __sub__(self, earlier: Histogram) -> Histogram:
        buckets = {bound: number - earlier.buckets.get(bound, 0) for bound, number in self.buckets.items()}
        return Histogram(self.total - earlier.total, self.count - earlier.count, buckets)

    @property
    def mean(self) -> float:
        """The mean in the histogram's unit."""
        return self.total / self.count

    def median_bucket(self) -> tuple[float, float]:
        """The bounds of the bucket that holds the median."""
        lower = 0.0
        for bound in sorted(self.buckets):
            if self.buckets[bound] >= self.count / 2:
                return lower, bound
            lower = bound
        return lower, math.inf


@dataclass(frozen=True)
class Counters:
    """One reading of /metrics."""

    succeeded: float
    input_tokens: float
    output_tokens: float
    prefix_hits: float
    busy: float
    ttft: Histogram
    latency: Histogram
    itl: Histogram

    def __sub__(self, earlier: Counters) -> Counters:
        return Counters(
            self.succeeded - earlier.succeeded,
            self.input_tokens - earlier.input_tokens,
            self.output_tokens - earlier.output_tokens,
            self.prefix_hits - earlier.prefix_hits,
            self.busy,
            self.ttft - earlier.ttft,
            self.latency - earlier.latency,
            self.itl - earlier.itl,
        )


def read_counters(url: str) -> Counters:
    """The counters of the server at *url*, once it is idle."""
    for _ in range(300):
        values = _values(url)
        counters = counters_of(values)
        if counters.busy == 0:
            return counters
        time.sleep(0.1)
    raise TimeoutError("the server did not become idle in 30 s")


Values = list[tuple[str, dict[str, str], float]]
"""Names, labels and values of samples."""


def _values(url: str) -> Values:
    with urllib.request.urlopen(f"{url}/metrics", timeout=10) as reply:
        text = reply.read().decode()
    return [
        (sample.name, sample.labels, sample.value)
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    ]


def counters_of(values: Values) -> Counters:
    """The counters among samples of /metrics, or among their growth."""

    def total(name: str, skip: tuple[str, ...] = ()) -> float:
        return sum(v for n, labels, v in values if n == name and labels.get("finished_reason") not in skip)

    return Counters(
        succeeded=total("vllm:request_success_total", FAILED),
        input_tokens=total("vllm:prompt_tokens_total"),
        output_tokens=total("vllm:generation_tokens_total"),
        prefix_hits=total("vllm:prefix_cache_hits_total"),
        busy=total("vllm:num_requests_running") + total("vllm:num_requests_waiting"),
        ttft=_histogram(values, "vllm:time_to_first_token_seconds"),
        latency=_histogram(values, "vllm:e2e_request_latency_seconds"),
        itl=_histogram(values, "vllm:inter_token_latency_seconds"),
    )


def _histogram(values: Values, name: str) -> Histogram:
    return Histogram(
        total=sum(v for n, _, v in values if n == f"{name}_sum"),
        count=sum(v for n, _, v in values if n == f"{name}_count"),
        buckets={float(labels["le"]): v for n, labels, v in values if n == f"{name}_bucket"},
    )
