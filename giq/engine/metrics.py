"""`/metrics`: the engine's counters under the names of a vLLM version."""

from __future__ import annotations

import time
from collections.abc import Iterator

from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
    Metric,
)
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from prometheus_client.registry import CollectorRegistry

from giq.engine.counters import Counters, Tally
from giq.engine.real_time import RealTimeEngine
from giq.engine.spec import EngineSpec

CONTENT_TYPE = CONTENT_TYPE_LATEST
_LABELS = ("engine", "model_name")
_QUEUE = "vllm:request_queue_time_seconds"


class EngineMetrics:
    """Reads the engine at the moment it is scraped; a Prometheus collector."""

    def __init__(self, spec: EngineSpec, engine: RealTimeEngine, model_name: str) -> None:
        self._names = spec.metrics
        self._config = spec.config.canonical()
        self._calibration = spec.calibration.calibration_id
        self._engine = engine
        self._values = ("0", model_name)
        self._created = time.time()
        self._registry = CollectorRegistry(auto_describe=False)
        self._registry.register(self)

    def text(self) -> bytes:
        """The whole page."""
        return generate_latest(self._registry)

    def collect(self) -> Iterator[Metric]:
        """Every family, with its present values."""
        yield from self._gauges()
        yield from self._counters(self._engine.counters)
        yield from self._histograms(self._engine.counters)
        info = InfoMetricFamily("giq_engine", "The simulated engine behind this server.")
        info.add_metric([], {"config": self._config, "calibration_id": self._calibration})
        yield info
        lag = GaugeMetricFamily("giq_engine_lag_seconds", "How far behind its own clock the engine was at worst.")
        lag.add_metric([], self._engine.lag_s)
        yield lag

    def _gauges(self) -> Iterator[Metric]:
        scheduler = self._engine.scheduler
        rows = (
            (self._names.running, "Number of requests in model execution batches.", len(scheduler.running)),
            (self._names.waiting, "Number of requests waiting to be processed.", len(scheduler.waiting)),
            (self._names.kv_usage, "KV-cache usage. 1 means 100 percent usage.", scheduler.kv_usage),
        )
        for name, help_text, value in rows:
            family = GaugeMetricFamily(name, help_text, labels=_LABELS)
            family.add_metric(self._values, value)
            yield family

    def _counters(self, counters: Counters) -> Iterator[Metric]:
        rows = (
            (self._names.prompt_tokens, "Number of prefill tokens processed.", counters.prompt_tokens),
            (self._names.generation_tokens, "Number of generation tokens processed.", counters.generation_tokens),
            (
                self._names.preemptions,
                "Cumulative number of preemption from the engine.",
                self._engine.scheduler.preemptions,
            ),
            (self._names.prefix_queries, "Prefix cache queries, in tokens.", counters.prompt_tokens),
            (self._names.prefix_hits, "Prefix cache hits, in tokens.", 0),
        )
        for name, help_text, value in rows:
            family = CounterMetricFamily(name, help_text, labels=_LABELS)
            family.add_metric(self._values, value, created=self._created)
            yield family
        done = CounterMetricFamily(
            self._names.request_success,
            "Count of successfully processed requests.",
            labels=("engine", "finished_reason", "model_name"),
        )
        engine, model = self._values
        for reason, count in counters.finished_by_reason.items():
            done.add_metric((engine, reason, model), count, created=self._created)
        yield done

    def _histograms(self, counters: Counters) -> Iterator[Metric]:
        yield self._histogram(self._names.ttft, "Histogram of time to first token in seconds.", counters.ttft)
        yield self._histogram(
            self._names.inter_token_latency, "Histogram of inter-token latency in seconds.", counters.gaps
        )
        yield self._histogram(self._names.e2e_latency, "Histogram of e2e request latency in seconds.", counters.latency)
        yield self._histogram(_QUEUE, "Histogram of time spent in WAITING phase for request.", counters.queue)

    def _histogram(self, name: str, help_text: str, tally: Tally) -> Metric:
        family = HistogramMetricFamily(name, help_text, labels=_LABELS)
        family.add_metric(self._values, buckets=tally.cumulative(), sum_value=tally.total)
        return family
