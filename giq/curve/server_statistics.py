"""What the server said of itself during a window: queue, batch, KV cache, prefix hits."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from giq.catalog.servers import MetricNames
from giq.curve.requests import Sample
from giq.documents import Entry


class ServerStatistics(Entry, frozen=True, kw_only=True):
    """The server's own numbers over a window, of all its engines; None where it did not tell.

    `running_mean` and `waiting_mean` are requests, `kv_usage_mean` and `kv_usage_max` shares of the KV cache, all
    time-weighted; `preemptions` is how many happened, `prefix_hit_share` hit over queried tokens.
    """

    running_mean: float | None = None
    waiting_mean: float | None = None
    kv_usage_mean: float | None = None
    kv_usage_max: float | None = None
    preemptions: float | None = None
    prefix_hit_share: float | None = None


class _Series:
    """One metric with one set of labels: its samples in time."""

    def __init__(self, samples: Iterable[Sample]) -> None:
        ordered = sorted(samples, key=lambda sample: sample.ts_ns)
        self.times: NDArray[np.float64] = np.array([sample.ts_ns for sample in ordered], dtype=np.float64)
        self.values: NDArray[np.float64] = np.array([sample.value for sample in ordered], dtype=np.float64)

    def inside(self, start_ns: int, end_ns: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Times and values within the window, with those interpolated at its ends."""
        within = (self.times > start_ns) & (self.times < end_ns)
        times = np.concatenate([[start_ns], self.times[within], [end_ns]])
        return times, np.interp(times, self.times, self.values)

    def mean(self, start_ns: int, end_ns: int) -> float:
        """The time-weighted mean of a gauge, straight between samples."""
        times, values = self.inside(start_ns, end_ns)
        return float(((values[1:] + values[:-1]) / 2 * np.diff(times)).sum() / (end_ns - start_ns))

    def highest(self, start_ns: int, end_ns: int) -> float:
        """The highest value of a gauge."""
        return float(self.inside(start_ns, end_ns)[1].max())

    def increase(self, start_ns: int, end_ns: int) -> float:
        """By how much a counter rose; a fall is a restart, from which it counts on."""
        steps = np.diff(self.values)
        risen = np.concatenate([[0.0], np.cumsum(np.where(steps < 0, self.values[1:], steps))])
        at_start, at_end = np.interp([start_ns, end_ns], self.times, risen)
        return float(at_end - at_start)


def server_statistics(samples: Sequence[Sample], names: MetricNames, start_ns: int, end_ns: int) -> ServerStatistics:
    """The statistics of *samples* from *start_ns* to *end_ns*, told from their metric names.

    Running and waiting requests and all counters are added up over engines and servers; KV usage is averaged,
    and its maximum is that of the fullest. Without time, or without a metric, its fields are None.
    """
    if end_ns <= start_ns:
        return ServerStatistics()
    grouped = _grouped(samples)
    caches = grouped.get(names.kv_usage, [])

    def total(name: str) -> float | None:
        series = grouped.get(name, [])
        return sum(one.mean(start_ns, end_ns) for one in series) if series else None

    def risen(name: str) -> float | None:
        series = grouped.get(name) or grouped.get(f"{name}_total", [])
        return sum(one.increase(start_ns, end_ns) for one in series) if series else None

    queried, hit = risen(names.prefix_queries), risen(names.prefix_hits)
    return ServerStatistics(
        running_mean=total(names.running),
        waiting_mean=total(names.waiting),
        kv_usage_mean=sum(one.mean(start_ns, end_ns) for one in caches) / len(caches) if caches else None,
        kv_usage_max=max((one.highest(start_ns, end_ns) for one in caches), default=None),
        preemptions=risen(names.preemptions),
        prefix_hit_share=hit / queried if queried and hit is not None else None,
    )


def _grouped(samples: Iterable[Sample]) -> dict[str, list[_Series]]:
    """The series of each metric: one for each server, engine and set of labels."""
    found: dict[str, dict[tuple[object, ...], list[Sample]]] = {}
    for sample in samples:
        labels = (sample.source, sample.engine, *sorted(sample.labels.items()))
        found.setdefault(sample.metric, {}).setdefault(labels, []).append(sample)
    return {metric: [_Series(series) for series in by_labels.values()] for metric, by_labels in found.items()}
