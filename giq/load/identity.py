"""Who answers at an endpoint, and what it takes: found out once, before any load."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from giq.catalog.servers import MetricNames

OPTIONAL_FIELDS = (
    "min_tokens", "ignore_eos", "seed", "stream_options", "continuous_usage_stats", "return_token_ids", "cache_salt",
)  # fmt: skip
"""The fields of a request that some servers refuse; `continuous_usage_stats` lives inside `stream_options`."""

FULL_FORM = frozenset(OPTIONAL_FIELDS) - {"return_token_ids"}
"""What a request holds if the server takes it. Token ids make answers longer: they are asked for only where the
usage of each chunk is not told."""


@dataclass(frozen=True, eq=False)
class ServerIdentity:
    """What `inspect` found.

    `models` are those served, `model` the one to be measured. `simulated` is the configuration that the
    simulated engine announces (None: a real server). `metrics` says whether /metrics is there, `metric_names`
    how its values are called (None: not known). `rtt_s` is one round trip. `alphabet` holds token ids (int32)
    that are safe in prompts, None where the server takes none; then prompts are made of `words`, of one token each.
    The server adds `overhead_tokens` to a prompt. `fields` are those of OPTIONAL_FIELDS that it takes;
    `tells_token_ids`: asked for them, it gives the token ids of its answers. `busy` counts the requests it was
    already working on (None: unknown).
    """

    server: Literal["vllm", "unknown"]
    version: str | None
    models: tuple[str, ...]
    model: str
    max_model_len: int | None
    simulated: dict[str, Any] | None
    metrics: bool
    rtt_s: float
    alphabet: NDArray[np.int32] | None
    accepts_token_ids: bool
    busy: float | None
    words: tuple[str, ...] = ()
    overhead_tokens: int = 0
    fields: frozenset[str] = FULL_FORM
    tells_token_ids: bool = False
    metric_names: MetricNames | None = None
