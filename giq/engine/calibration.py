"""Calibration: how far the real engine stays behind the hardware's peaks, and how sure that is."""

from __future__ import annotations

import math

from giq.catalog.accelerators import Accelerator
from giq.documents import Entry, Name, NonNegative, Positive, replace

SHARES = ("weight_read", "kv_read", "matrix", "expert_read", "expert_matrix", "prefill_attention", "link")
"""The factors that are shares of a peak."""

Z90 = 1.6449
"""Half-width of a central 90 % interval of the normal distribution, in standard deviations."""


class Calibration(Entry, frozen=True, kw_only=True):
    """The factors of the step-time model: shares of the hardware's peaks, and fixed costs in seconds.

    A share never exceeds 1, so no calibration makes a step faster than the hardware. `step_s` and `layer_s`
    are paid once a step and once a layer and step, `sequence_s` for each sequence in a step, `request_s` once
    a request before the scheduler sees it. `reduce_s` is the latency of one all-reduce between two ranks, and as
    much again each time their number doubles. `expert_read` and `expert_matrix` are the shares of
    `weight_read` and `matrix` that kernels over many small expert matrices reach. `ridge` is the power
    of the norm that joins reading weights and multiplying them (infinite: a hard roofline).
    `decode_sigma` and `prefill_sigma` are the standard deviations of the logarithm of the error in the terms
    that bound decoding (reading weights and KV, fixed costs) and prefill (matrix work, attention, request cost).

    Raises:
        ValueError: a share above 1.
    """

    calibration_id: Name
    rests_on: Name
    weight_read: Positive
    kv_read: Positive
    matrix: Positive
    expert_read: Positive
    expert_matrix: Positive
    prefill_attention: Positive
    link: Positive
    ridge: Positive
    step_s: NonNegative
    layer_s: NonNegative
    sequence_s: NonNegative
    request_s: NonNegative
    reduce_s: NonNegative
    decode_sigma: NonNegative
    prefill_sigma: NonNegative

    def __post_init__(self) -> None:
        for name in SHARES:
            if getattr(self, name) > 1:
                raise ValueError(f"{name} is {getattr(self, name):g}: more than all of the hardware's peak")

    def shifted(self, deviations: float) -> Calibration:
        """The same with every term slower by so many standard deviations (negative: faster)."""
        decode = math.exp(deviations * self.decode_sigma)
        prefill = math.exp(deviations * self.prefill_sigma)
        return replace(
            self,
            weight_read=min(1.0, self.weight_read / decode),
            kv_read=min(1.0, self.kv_read / decode),
            link=min(1.0, self.link / decode),
            step_s=self.step_s * decode,
            layer_s=self.layer_s * decode,
            sequence_s=self.sequence_s * decode,
            reduce_s=self.reduce_s * decode,
            matrix=min(1.0, self.matrix / prefill),
            prefill_attention=min(1.0, self.prefill_attention / prefill),
            request_s=self.request_s * prefill,
        )


GPU_PRIOR = Calibration(
    calibration_id="prior-gpu-1",
    rests_on="physics only, no measurement of this configuration",
    weight_read=0.8,
    kv_read=0.6,
    matrix=0.6,
    expert_read=0.75,
    expert_matrix=0.3,
    prefill_attention=0.4,
    link=0.7,
    ridge=4.0,
    step_s=0.2e-3,
    layer_s=25e-6,
    sequence_s=5e-6,
    request_s=15e-3,
    reduce_s=9e-6,
    decode_sigma=0.21,
    prefill_sigma=0.42,
)
"""The physics prior for vLLM V1 on GPUs.

Shares of peak and the 15 ms of a request are those of published step-time studies (realised 74-80 % of
bandwidth and 40-60 % of matrix peak on A100 and H100). The 1 ms that a step of a 32-layer model costs beyond
them is split over its layers; 5 us a sequence pays for sampling and detokenising. Published vLLM points of
Llama-3.1-70B in fp8 at TP 2, 4 and 8 ask for about 9, 18 and 27 us an all-reduce, those of gpt-oss-120b for
half the efficiency in its experts.
Without calibration such a prior misses TPOT by 17 % and TTFT by 30-37 % on average over published points;
for a log-normal error that is a sigma of 0.17/0.8 = 0.21, and of 0.33/0.8 = 0.42 (a mean absolute value is
0.8 standard deviations). The 90 % interval is then a factor of 1.41 for decoding and of 2.0 for prefill.
"""

TPU_PRIOR = replace(GPU_PRIOR, calibration_id="prior-tpu-1", step_s=1.5e-3, layer_s=0.0, reduce_s=6e-6)
"""The physics prior for vLLM on TPUs: one compiled program a step (no graph replay, no kernel launches a
layer) with its dispatch from the host, and reductions over the chips' own interconnect."""


def prior(accelerator: Accelerator) -> Calibration:
    """What is assumed of *accelerator* as long as nothing was measured on it."""
    return TPU_PRIOR if accelerator.kind == "tpu" else GPU_PRIOR
