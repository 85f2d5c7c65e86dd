"""How long one step of the engine takes: physics times calibrated factors."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

from giq.catalog.models import BYTES_PER_VALUE, Model
from giq.engine.spec import EngineSpec

SMALLEST_BUCKET = 16
"""Tokens of the smallest step that a TPU's programs are compiled for; larger ones are powers of two."""

LOGIT_VALUE_BYTES = 2.0
"""Embedding and output matrix stay in 16 bits in quantised checkpoints."""

EXPERT_TILE = 16
"""Rows that an expert's matrices are multiplied with at least, however few tokens chose it: the smallest tile of
the grouped matrix kernels (vLLM's fused and Marlin MoE kernels align each expert's tokens to blocks of 16 or more)."""

EXPERTS_ONLY = ("mxfp4",)
"""Precisions in which only experts are stored; everything else of such a checkpoint stays in 16 bits (gpt-oss)."""


class Work(NamedTuple):
    """What one step computes, over all accelerators.

    `tokens` are computed (a chunk's and one a decoding sequence), `sequences` sampled. `full_tokens` of KV cache
    are read by layers without a window, `local_tokens` by those with one; `full_pairs` and `local_pairs` count
    query x key pairs of prefill attention in each of those layers.
    """

    tokens: int
    sequences: int
    full_tokens: int
    local_tokens: int
    full_pairs: int = 0
    local_pairs: int = 0


@dataclass(frozen=True)
class StepTime:
    """Seconds that the terms of a step take; built by `step_time`, times are those of one pipeline's whole depth.

    `dense_s` and `experts_s` read all the weights of each kind, `token_s`, `routed_s` and `sequence_flop_s` are the
    matrix work of one token outside and inside experts, and of one sampled sequence; `tiles_s` is that of the
    smallest tile of every expert. `full_s` and `local_s` read one token of KV cache,
    `full_pair_s` and `local_pair_s` attend one query x key pair. `reduce_token_s` is communication of one token,
    `fixed_s` and `sequence_s` are paid once a step and once a sequence in it.
    """

    dense_s: float
    experts_s: float
    untouched: float
    ridge: float
    token_s: float
    routed_s: float
    tiles_s: float
    sequence_flop_s: float
    full_s: float
    local_s: float
    full_pair_s: float
    local_pair_s: float
    reduce_token_s: float
    fixed_s: float
    sequence_s: float
    stages: int
    padded: bool

    def seconds(self, work: Work) -> float:
        """The duration of a step in which every scheduled sequence advances once.

        With a pipeline of several stages, the sequences are split over as many batches that overlap: each
        carries its part of the tokens, but all of them read the weights.
        """
        batches = min(self.stages, max(1, work.sequences))
        kv = self.full_s * work.full_tokens + self.local_s * work.local_tokens
        attention = self.full_pair_s * work.full_pairs + self.local_pair_s * work.local_pairs
        return self._even(work.tokens / batches, work.sequences / batches) + (kv + attention) / batches

    def decode(self, sequences: int) -> tuple[float, float, float]:
        """A step of *sequences* decoding alone: seconds without KV, and seconds per token of full and local KV."""
        batches = min(self.stages, max(1, sequences))
        even = self._even(sequences / batches, sequences / batches)
        return even, self.full_s / batches, self.local_s / batches

    def _even(self, tokens: float, sequences: float) -> float:
        """Everything that does not depend on the context's length: a roofline of reading and multiplying."""
        if self.padded:
            tokens = bucket(tokens)
        reading = self.dense_s
        working = self.token_s * tokens + self.sequence_flop_s * sequences
        if self.experts_s:
            touched = 1.0 - math.pow(self.untouched, tokens)
            reading += self.experts_s * touched
            working += max(self.routed_s * tokens, self.tiles_s * touched)
        high, low = (reading, working) if reading > working else (working, reading)
        joined = high * math.pow(1.0 + math.pow(low / high, self.ridge), 1.0 / self.ridge)
        return joined + self.reduce_token_s * tokens + self.fixed_s + self.sequence_s * sequences


def bucket(tokens: float) -> int:
    """The next power of two, from `SMALLEST_BUCKET` on, that *tokens* are padded to."""
    whole = max(SMALLEST_BUCKET, -(-tokens // 1))
    return 1 << (int(whole) - 1).bit_length()


def step_time(spec: EngineSpec) -> StepTime:
    """The step-time model of *spec*: each term is work divided by the hardware's peak and by its calibrated share."""
    calibration = spec.calibration
    return _terms(
        spec,
        Shares(
            weight_read=calibration.weight_read,
            kv_read=calibration.kv_read,
            matrix=calibration.matrix,
            expert_read=calibration.expert_read,
            expert_matrix=calibration.expert_matrix,
            prefill_attention=calibration.prefill_attention,
            link=calibration.link,
        ),
    )


@dataclass(frozen=True)
class Shares:
    """Shares of the peaks that are realised."""

    weight_read: float = 1.0
    kv_read: float = 1.0
    matrix: float = 1.0
    expert_read: float = 1.0
    expert_matrix: float = 1.0
    prefill_attention: float = 1.0
    link: float = 1.0


def floor(spec: EngineSpec, work: Work) -> float:
    """Seconds below which no step with this *work* can be: the slower of reading its bytes and doing its operations.

    Every byte of touched weights and of KV cache at full bandwidth, every operation at peak; nothing else.
    """
    terms = _terms(spec, Shares())
    batches = min(terms.stages, max(1, work.sequences))
    tokens = work.tokens / batches
    weights = terms.dense_s + terms.experts_s * (1.0 - math.pow(terms.untouched, tokens))
    kv = (terms.full_s * work.full_tokens + terms.local_s * work.local_tokens) / batches
    pairs = (terms.full_pair_s * work.full_pairs + terms.local_pair_s * work.local_pairs) / batches
    matrix = (terms.token_s + terms.routed_s) * tokens + terms.sequence_flop_s * work.sequences / batches
    return max(weights + kv, matrix + pairs)


def _terms(spec: EngineSpec, shares: Shares) -> StepTime:
    model, chip, calibration = spec.model, spec.hardware, spec.calibration
    bandwidth = spec.tp * chip.bandwidth_bytes_s
    dense, experts = read_bytes(spec)
    shared, routed, per_sequence = matrix_flops(model)
    full_layers, local_layers = _layers(model)
    kv_bytes = spec.tp * spec.pp * spec.layout.unit_bytes / spec.layout.block_size
    group = model.layers // (spec.layout.full_units + spec.layout.local_units)
    layer_bytes = kv_bytes / group
    dense_flops = chip.bf16_flops if spec.precision in EXPERTS_ONLY else chip.matrix_flops
    expert_flops = spec.tp * chip.matrix_flops * shares.matrix * shares.expert_matrix
    routing = model.experts.count / model.experts.per_token if model.experts else 0.0
    attention = model.attention_flops() / (spec.tp * chip.bf16_flops * shares.prefill_attention)
    return StepTime(
        dense_s=dense / (bandwidth * shares.weight_read),
        experts_s=experts / (bandwidth * shares.weight_read * shares.expert_read),
        untouched=1.0 - model.experts.per_token / model.experts.count if model.experts else 1.0,
        ridge=calibration.ridge,
        token_s=shared / (spec.tp * dense_flops * shares.matrix),
        routed_s=routed / expert_flops,
        tiles_s=EXPERT_TILE * routing * routed / expert_flops,
        sequence_flop_s=per_sequence / (spec.tp * chip.bf16_flops * shares.matrix),
        full_s=full_layers * layer_bytes / (bandwidth * shares.kv_read),
        local_s=local_layers * layer_bytes / (bandwidth * shares.kv_read),
        full_pair_s=full_layers * attention,
        local_pair_s=local_layers * attention,
        reduce_token_s=_communication_token_s(spec, shares.link),
        fixed_s=_fixed_s(spec),
        sequence_s=calibration.sequence_s + model.layers * calibration.row_s,
        stages=spec.pp,
        padded=chip.kind == "tpu",
    )


def read_bytes(spec: EngineSpec) -> tuple[float, float]:
    """Bytes of weights that every step reads, and bytes of all experts, of which it reads those touched.

    An embedding table of its own is looked up, not read.
    """
    model = spec.model
    embedding = 0.0 if model.tied_embeddings else model.vocab_size * model.hidden_size * LOGIT_VALUE_BYTES
    experts = 0.0
    if model.experts is not None:
        layers = model.layers - model.experts.dense_layers
        values = 3 * layers * model.experts.count * model.hidden_size * model.experts.intermediate_size
        experts = min(values * BYTES_PER_VALUE[spec.precision], 0.99 * (spec.weights_bytes - embedding))
    return max(0.0, spec.weights_bytes - embedding - experts), experts


def matrix_flops(model: Model) -> tuple[float, float, float]:
    """Operations of one token in all layers outside and inside experts, and of one sequence in the output matrix."""
    head = model.vocab_size * model.hidden_size
    outside = head if model.tied_embeddings else 2 * head
    inside = max(model.active_parameters - outside, model.active_parameters // 2)
    routed = 0
    if model.experts is not None:
        a_token = model.experts.per_token * model.experts.intermediate_size
        layers = model.layers - model.experts.dense_layers
        routed = min(3 * layers * model.hidden_size * a_token, inside)
    return 2.0 * (inside - routed), 2.0 * routed, 2.0 * head


def window_pairs(start: int, count: int, window: int) -> int:
    """Query x key pairs of *count* tokens from position *start* on, each seeing itself and what is in its window."""
    inside = min(count, max(0, window - start))  # tokens whose whole past is in the window
    return inside * start + inside * (inside + 1) // 2 + (count - inside) * window


def _layers(model: Model) -> tuple[int, int]:
    local = model.sliding_window.layers if model.sliding_window else 0
    return model.layers - local, local


def _communication_token_s(spec: EngineSpec, share: float) -> float:
    """Two all-reduces a layer over the tensor-parallel ranks (a ring), one transfer between pipeline stages."""
    hidden_bytes = spec.model.hidden_size * 2.0
    ring = 2.0 * (spec.tp - 1) / spec.tp
    reduces = 2 * spec.model.layers * ring * hidden_bytes / (spec.hardware.link_bytes_s * share)
    stages = (spec.pp - 1) * hidden_bytes / (spec.hardware.stage_bytes_s * share)
    return reduces + stages


def _fixed_s(spec: EngineSpec) -> float:
    calibration, layers = spec.calibration, spec.model.layers
    a_layer = calibration.layer_s + (calibration.expert_layer_s if spec.model.experts else 0.0)
    fixed = calibration.step_s + layers * a_layer
    if spec.tp > 1:
        fixed += 2 * layers * calibration.reduce_s
    return fixed + (spec.pp - 1) * calibration.reduce_s
