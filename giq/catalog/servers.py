"""Model servers by version: image, start command, flags and metric names."""

from __future__ import annotations

from giq.catalog.models import Source
from giq.documents import Entry, Name


class MetricNames(Entry, frozen=True, kw_only=True):
    """The server's own Prometheus names; counters without their `_total`, histograms without `_bucket`."""

    running: Name
    waiting: Name
    kv_usage: Name
    request_success: Name
    prompt_tokens: Name
    generation_tokens: Name
    preemptions: Name
    prefix_queries: Name
    prefix_hits: Name
    ttft: Name
    e2e_latency: Name
    inter_token_latency: Name


class ServerVersion(Entry, frozen=True, kw_only=True):
    """One version of a model server.

    `images` by accelerator kind (gpu, tpu, cpu), absent where none is published. `flags` maps an engine
    argument (vLLM's own snake_case name) to its command-line flag; one that is not here does not exist in
    this version. `defaults` are the engine arguments' effective values when none is given.
    """

    version: Name
    released: Name
    images: dict[str, str]
    command: tuple[str, ...]
    flags: dict[str, str]
    defaults: dict[str, int | float | bool | str] = {}
    metrics: MetricNames
    source: Source


class ModelServer(Entry, frozen=True, kw_only=True):
    """A model server and its versions, newest first; the first is the default."""

    name: Name
    title: Name
    versions: tuple[ServerVersion, ...]
