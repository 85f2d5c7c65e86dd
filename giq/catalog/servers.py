"""Model servers by version: image, start command, flags and metric names."""

from __future__ import annotations

import re

from giq.catalog.configuration import EngineValue
from giq.catalog.models import Source
from giq.documents import Entry, Name


def version_number(version: str) -> tuple[int, int, int] | None:
    """Major, minor and patch that *version* begins with (`v0.10`, `0.24.0rc1+cu128`); None when it does not."""
    match = re.match(r"v?([0-9]{1,9})\.([0-9]{1,9})(?:\.([0-9]{1,9}))?", version.strip())
    return (int(match[1]), int(match[2]), int(match[3] or 0)) if match else None


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
    this version. `defaults` are the engine arguments' effective values when none is given, and
    `defaults_by_accelerator` those that differ on an accelerator (by its name).
    """

    version: Name
    released: Name
    images: dict[str, str]
    command: tuple[str, ...]
    flags: dict[str, str]
    defaults: dict[str, EngineValue] = {}
    defaults_by_accelerator: dict[str, dict[str, EngineValue]] = {}
    metrics: MetricNames
    source: Source

    @property
    def number(self) -> tuple[int, int, int] | None:
        """`version` as major, minor and patch; None when it is no such number (the catalog refuses that)."""
        return version_number(self.version)

    def defaults_on(self, accelerator: str) -> dict[str, EngineValue]:
        """The effective values on the accelerator of that name when no engine argument is given."""
        return {**self.defaults, **self.defaults_by_accelerator.get(accelerator, {})}


class ModelServer(Entry, frozen=True, kw_only=True):
    """A model server and its versions, newest first; the first is the default."""

    name: Name
    title: Name
    versions: tuple[ServerVersion, ...]

    def newest_for(self, kind: str) -> ServerVersion | None:
        """The newest version with a published image for accelerators of that kind (gpu, tpu, cpu)."""
        return next((item for item in self.versions if kind in item.images), None)
