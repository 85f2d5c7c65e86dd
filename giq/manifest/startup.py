"""How long a new replica takes until it answers: what probes wait for and the autoscaler must bridge."""

from __future__ import annotations

from typing import Literal

from giq.documents import Entry, NonNegative

NODE_S = 180.0
"""Seconds to get a node and pull the image of some 10 GB; an assumption, `ManifestOptions.node_start_s` sets it."""

DOWNLOAD_BYTES_PER_S = 200e6
"""Weights from the Hugging Face Hub into the accelerators; an assumption on the slow side of a 32 Gbit/s node."""

ENGINE_S: dict[Literal["gpu", "tpu", "cpu"], float] = {"gpu": 240.0, "tpu": 600.0, "cpu": 60.0}
"""From the container's start to ready, without the weights: imports, compilation, graph capture.

For GPUs: a 31B model on one H100 took 301 s, 48 s of them for weights (GoogleCloudPlatform/accelerated-platforms,
2026). For TPUs: Google's vLLM example waits 900 s before it first asks a 70B model (kubernetes-engine-samples,
ai-ml/vllm-tpu), weights included.
"""


class Startup(Entry, frozen=True, kw_only=True):
    """Estimated seconds of each part of a replica's start."""

    node_s: NonNegative
    weights_s: NonNegative
    engine_s: NonNegative

    @property
    def container_s(self) -> float:
        """From the container's start until it answers."""
        return self.weights_s + self.engine_s

    @property
    def total_s(self) -> float:
        """From the autoscaler's decision until the replica answers."""
        return self.node_s + self.container_s


def startup_of(weights_bytes: float, kind: Literal["gpu", "tpu", "cpu"], node_s: float = NODE_S) -> Startup:
    """The estimate for *weights_bytes* fetched from the Hub by a server on accelerators of *kind*."""
    return Startup(node_s=node_s, weights_s=weights_bytes / DOWNLOAD_BYTES_PER_S, engine_s=ENGINE_S[kind])
