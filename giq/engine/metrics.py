"""`/metrics`: the engine's counters under the names of a vLLM version."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
    Metric,
)
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from prometheus_client.registry import CollectorRegistry

from giq.engine.counters import Tally
from giq.engine.real_time import RealTimeCore, RealTimeEngine
from giq.engine.scheduler import Scheduler
from giq.engine.spec import EngineSpec

CONTENT_TYPE = CONTENT_TYPE_LATEST
_LABELS = ("engine", "model_name")
_TIMES = (
    ("vllm:request_queue_time_seconds", "Histogram of time spent in WAITING phase for request.", "queue"),
    ("vllm:request_inference_time_seconds", "Histogram of time spent in RUNNING phase for request.", "inference"),
    ("vllm:request_prefill_time_seconds", "Histogram of time spent in PREFILL phase for request.", "prefill"),
    ("vllm:request_decode_time_seconds", "Histogram of time spent in DECODE phase for request.", "decode"),
    (
        "vllm:request_time_per_output_token_seconds",
        "Histogram of time_per_output_token_seconds per request.",
        "per_token",
    ),
    ("vllm:request_prompt_tokens", "Number of prefill tokens processed.", "prompts"),
    ("vllm:request_generation_tokens", "Number of generation tokens processed.", "outputs"),
)
"""Histograms that have had the same names in all versions of the catalog, and the tally behind each."""


class EngineMetrics:
    """Reads the engine at the moment it is scraped; a Prometheus collector."""

    def __init__(self, spec: EngineSpec, engine: RealTimeEngine, model_name: str) -> None:
        self._names = spec.metrics
        self._config = spec.config.canonical()
        self._calibration = spec.calibration.calibration_id
        self._engine = engine
        self._model = model_name
        self._created = time.time()
        self._registry = CollectorRegistry(auto_describe=False)
        self._registry.register(self)

    def text(self) -> bytes:
        """The whole page."""
        return generate_latest(self._registry)

    def collect(self) -> Iterator[Metric]:
        """Every family, with its present values: of each engine core its own."""
        yield from self._gauges()
        yield from self._counters()
        yield from self._histograms()
        info = InfoMetricFamily("giq_engine", "The simulated engine behind this server.")
        info.add_metric([], {"config": self._config, "calibration_id": self._calibration})
        yield info
        lag = GaugeMetricFamily("giq_engine_lag_seconds", "How far behind its own clock the engine was at worst.")
        lag.add_metric([], self._engine.lag_s)
        yield lag

    def _cores(self) -> list[tuple[tuple[str, str], RealTimeCore]]:
        """The values of the labels, and the core that they are of."""
        cores = (*self._engine.cores, *self._engine.prefill)
        return [((str(number), self._model), core) for number, core in enumerate(cores)]

    def _gauges(self) -> Iterator[Metric]:
        rows: tuple[tuple[str, str, Callable[[Scheduler], float]], ...] = (
            (self._names.running, "Number of requests in model execution batches.", lambda core: len(core.running)),
            (self._names.waiting, "Number of requests waiting to be processed.", lambda core: len(core.waiting)),
            (self._names.kv_usage, "KV-cache usage. 1 means 100 percent usage.", lambda core: core.kv_usage),
        )
        for name, help_text, value in rows:
            family = GaugeMetricFamily(name, help_text, labels=_LABELS)
            for labels, core in self._cores():
                family.add_metric(labels, value(core.scheduler))
            yield family

    def _counters(self) -> Iterator[Metric]:
        names = self._names
        rows: tuple[tuple[str, str, Callable[[RealTimeCore], float]], ...] = (
            (names.prompt_tokens, "Number of prefill tokens processed.", lambda core: core.counters.prompt_tokens),
            (
                names.generation_tokens,
                "Number of generation tokens processed.",
                lambda core: core.counters.generation_tokens,
            ),
            (
                names.preemptions,
                "Cumulative number of preemption from the engine.",
                lambda core: core.scheduler.preemptions,
            ),
            (names.prefix_queries, "Prefix cache queries, in tokens.", lambda core: core.scheduler.queried),
            (names.prefix_hits, "Prefix cache hits, in tokens.", lambda core: core.scheduler.hit),
        )
        for name, help_text, value in rows:
            family = CounterMetricFamily(name, help_text, labels=_LABELS)
            for labels, core in self._cores():
                family.add_metric(labels, value(core), created=self._created)
            yield family
        done = CounterMetricFamily(
            names.request_success,
            "Count of successfully processed requests.",
            labels=("engine", "finished_reason", "model_name"),
        )
        for (engine, model), core in self._cores():
            for reason, count in core.counters.finished_by_reason.items():
                done.add_metric((engine, reason, model), count, created=self._created)
        yield done

    def _histograms(self) -> Iterator[Metric]:
        names = self._names
        rows = (
            (names.ttft, "Histogram of time to first token in seconds.", "ttft"),
            (names.inter_token_latency, "Histogram of inter-token latency in seconds.", "gaps"),
            (names.e2e_latency, "Histogram of e2e request latency in seconds.", "latency"),
            *_TIMES,
        )
        for name, help_text, tally in rows:
            family = HistogramMetricFamily(name, help_text, labels=_LABELS)
            for labels, core in self._cores():
                found: Tally = getattr(core.counters, tally)
                family.add_metric(labels, buckets=found.cumulative(), sum_value=found.total)
            yield family
