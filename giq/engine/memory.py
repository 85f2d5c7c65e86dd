"""What fits into an accelerator's memory: weights, activations, and the KV cache that is left."""

from __future__ import annotations

import math
from dataclasses import dataclass

from giq.catalog.models import BYTES_PER_VALUE, Model
from giq.errors import UsageError

GB = 1e9
ACTIVATION_BYTES = 2.0
"""Activations are kept in 16 bits whatever the weights are stored in."""

HIDDEN_COPIES = 4.0
"""Hidden states alive at once in a layer: residual, normalised input, attention output, and the sum."""

LOGIT_BYTES = 32.0
"""Bytes per logit at the peak of sampling `max_num_seqs` sequences.

A 16-bit and a 32-bit copy, the sorted values and 64-bit indexes of top-p, probabilities and scratch. vLLM's
own profile on an H100 (8,192 batched tokens, 1,024 sequences) is 4.76 GiB for Llama-3.1-8B, 4.84 GiB for
Llama-3.3-70B at TP 2 and 7.38 GiB for gpt-oss-120b: it follows the vocabulary, not the size of the model.
"""

RUNTIME_BYTES = 0.14 * GB
"""Memory outside the framework's allocator on one accelerator (0.13 GiB in the same profile)."""

COLLECTIVE_BYTES = 0.45 * GB
"""What communicators add once several accelerators work together (0.55 GiB in all at TP 2)."""

GRAPH_BYTES = 0.5 * GB
"""CUDA graphs: measured between -0.45 and 1.03 GiB for those models; vLLM reserves an estimate before the KV cache."""

MIN_CONTEXT = 1024
"""Tokens that the KV cache must hold for one sequence, or the model is said not to fit."""

UNBOUNDED = 1_000_000_000
"""Tokens of context where every layer has a window: the KV cache sets no limit."""


class DoesNotFitError(UsageError):
    """A model that leaves too little memory for the KV cache; the message is the arithmetic."""


@dataclass(frozen=True)
class KvLayout:
    """How the KV cache of one accelerator is cut into blocks.

    A block holds `block_size` tokens of one group of layers. A model without sliding windows is one group, and
    its blocks are those that vLLM counts; with windows, layers of both kinds are grouped by the largest size
    that divides both, and each token of context needs `full_units` blocks, of the last `window` tokens
    `local_units` more. `unit_bytes` is the size of one block.
    """

    block_size: int
    unit_bytes: float
    full_units: int
    local_units: int = 0
    window: int = 0

    def blocks(self, context: int) -> int:
        """Blocks that a sequence with *context* tokens holds."""
        full = -(-context // self.block_size) * self.full_units
        if not self.local_units:
            return full
        return full + -(-min(context, self.window) // self.block_size) * self.local_units

    def capacity(self, blocks: int) -> int:
        """Tokens of the longest single sequence that *blocks* hold."""
        window_blocks = -(-self.window // self.block_size)
        if self.local_units and blocks < window_blocks * (self.full_units + self.local_units):
            return blocks // (self.full_units + self.local_units) * self.block_size
        if not self.full_units:
            return UNBOUNDED
        return (blocks - window_blocks * self.local_units) // self.full_units * self.block_size


@dataclass(frozen=True)
class MemoryBudget:
    """One accelerator's memory in bytes, and the blocks that its KV cache is made of."""

    memory_bytes: float
    utilization: float
    weights_bytes: float
    activations_bytes: float
    runtime_bytes: float
    kv_bytes: float
    kv_blocks: int
    kv_tokens: int

    def arithmetic(self) -> str:
        """The sum that leads to the KV cache, in GB."""
        return (
            f"{self.memory_bytes / GB:.1f} GB x {self.utilization:g} usable - {self.weights_bytes / GB:.1f} GB weights"
            f" - {self.activations_bytes / GB:.1f} GB activations - {self.runtime_bytes / GB:.1f} GB graphs and runtime"
            f" = {self.kv_bytes / GB:.1f} GB for the KV cache ({max(0, self.kv_tokens):,} tokens)"
        )


@dataclass(frozen=True)
class Footprint:
    """What decides how much memory serving takes: the model's share of one accelerator and the step's limits.

    `kv_blocks`, where given, are as many as the server was told to use, whatever memory holds.
    """

    memory_bytes: float
    utilization: float
    weights_bytes: float
    max_num_batched_tokens: int
    max_num_seqs: int
    tp: int
    accelerators: int
    graphs: bool
    kv_blocks: int | None = None


def memory_budget(model: Model, footprint: Footprint, layout: KvLayout) -> MemoryBudget:
    """The budget of one of the accelerators that *model* is spread over; `kv_blocks` may be 0, never negative."""
    runtime = RUNTIME_BYTES + (GRAPH_BYTES if footprint.graphs else 0.0)
    runtime += COLLECTIVE_BYTES if footprint.accelerators > 1 else 0.0
    activations = _activations(model, footprint)
    kv_bytes = footprint.memory_bytes * footprint.utilization - footprint.weights_bytes - activations - runtime
    blocks = max(0, math.floor(kv_bytes / layout.unit_bytes))
    if footprint.kv_blocks is not None:
        blocks = footprint.kv_blocks
    return MemoryBudget(
        memory_bytes=footprint.memory_bytes,
        utilization=footprint.utilization,
        weights_bytes=footprint.weights_bytes,
        activations_bytes=activations,
        runtime_bytes=runtime,
        kv_bytes=kv_bytes,
        kv_blocks=blocks,
        kv_tokens=max(0, layout.capacity(blocks)),
    )


def kv_layout(model: Model, block_size: int, value_bytes: float, tp: int, pp: int) -> KvLayout:
    """The KV layout on each of *tp* x *pp* accelerators."""
    layer_token_bytes = model.kv_values_on(tp) * value_bytes / pp
    local = model.sliding_window.layers if model.sliding_window else 0
    full = model.layers - local
    group = math.gcd(full, local)
    return KvLayout(
        block_size=block_size,
        unit_bytes=block_size * group * layer_token_bytes,
        full_units=full // group,
        local_units=local // group,
        window=model.sliding_window.tokens if model.sliding_window else 0,
    )


def weights_bytes(model: Model, precision: str) -> float:
    """Bytes of the model's weights: those published in *precision*, else parameters times bytes a value."""
    published = model.weights_for(precision)
    if published is not None:
        return float(published.bytes)
    if precision not in BYTES_PER_VALUE:
        known = ", ".join(BYTES_PER_VALUE)
        raise UsageError(f"unknown precision {precision!r} of {model.name}", hint=f"Known: {known}.")
    return model.parameters * BYTES_PER_VALUE[precision]


def expert_bytes(model: Model, precision: str) -> float:
    """Bytes of all experts' weights; 0 for a dense model."""
    if model.experts is None:
        return 0.0
    layers = model.layers - model.experts.dense_layers
    values = 3 * layers * model.experts.count * model.hidden_size * model.experts.intermediate_size
    return min(values * BYTES_PER_VALUE[precision], weights_bytes(model, precision))


def _activations(model: Model, footprint: Footprint) -> float:
    """The peak of one step: the widest MLP of a full batch, its hidden states, and the logits being sampled."""
    width = model.intermediate_size
    if model.experts is not None:
        width = model.experts.per_token * model.experts.intermediate_size + model.experts.shared_intermediate_size
    # gate and up projections, then their product
    mlp = 3 * width / footprint.tp
    values = footprint.max_num_batched_tokens * (mlp + HIDDEN_COPIES * model.hidden_size)
    return values * ACTIVATION_BYTES + footprint.max_num_seqs * model.vocab_size * LOGIT_BYTES
