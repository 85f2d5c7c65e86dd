"""Calibration: how far the real engine stays behind the hardware's peaks, and how sure that is."""

from __future__ import annotations

import math

from giq.catalog.accelerators import Accelerator
from giq.documents import Entry, Name, NonNegative, Positive, replace

SHARES = ("weight_read", "kv_read", "matrix", "expert_read", "expert_matrix", "prefill_attention", "link")
"""The factors that are shares of a peak."""

COSTS = (
    "step_s", "layer_s", "expert_layer_s", "sequence_s", "row_s", "reduce_s", "request_s", "prompt_token_s", "stream_s",
)  # fmt: skip
"""The factors that are seconds."""

BEYOND_SIGMA = 0.05
"""Sigma added to TPOT's (twice to TTFT's) for each factor of e by which a load point lies outside those fitted."""

QUIET, BUSY = 4.0, 32.0
"""Requests in flight up to which a fitted calibration is least in doubt, and from which on it is most."""

Z90 = 1.6449
"""Half-width of a central 90 % interval of the normal distribution, in standard deviations."""


class Reach(Entry, frozen=True, kw_only=True):
    """The loads and lengths that a calibration was fitted on: lowest and highest requests in flight, and tokens.

    `prior_sigmas` are the `decode_sigma` and `prefill_sigma` of the prior it began with: there is no more doubt than
    that anywhere.
    """

    in_flight: tuple[Positive, Positive]
    input_tokens: tuple[Positive, Positive]
    output_tokens: tuple[Positive, Positive]
    prior_sigmas: tuple[NonNegative, NonNegative]

    def beyond(self, in_flight: float, input_tokens: float, output_tokens: float) -> float:
        """How far outside a load point lies: the sum of the logarithms of the ratios to the nearest ends; 0 inside."""
        places = (
            (self.in_flight, in_flight), (self.input_tokens, input_tokens), (self.output_tokens, output_tokens)
        )  # fmt: skip
        return sum(math.log(max(low / at, at / high, 1.0)) for (low, high), at in places)


class Calibration(Entry, frozen=True, kw_only=True):
    """The factors of the step-time model: shares of the hardware's peaks, and fixed costs in seconds.

    A share never exceeds 1, so no calibration makes a step faster than the hardware. `step_s` and `layer_s`
    are paid once a step and once a layer and step (`expert_layer_s` more where the layer chooses experts),
    `sequence_s` for each sequence in a step and `row_s` for each sequence in each layer. `reduce_s` is the latency of
    one all-reduce. `expert_read` and `expert_matrix` are the shares of `weight_read` and `matrix` that kernels over
    many small expert matrices reach. `ridge` is the power of the norm that joins reading weights and multiplying
    them (infinite: a hard roofline).

    Before the scheduler sees a request the front end spends `prompt_token_s` for each token of its prompt, one
    prompt at a time, then `request_s`, and `stream_s` for each sequence that decodes. With `plans_ahead` the next
    step is planned while one runs, so that a request is seen a step late.

    `decode_sigma` is the standard deviation of the logarithm of the error in the length of steps, so of TPOT;
    `prefill_sigma` that of TTFT, which the front end and the moment of arrival make less certain. With few requests in
    flight a step reads the weights and little else, which was fitted: then `quiet_share` of `decode_sigma` is left.
    `doubt` is by how much the factors are less certain than those of accelerators that the prior was checked on;
    `reach` says on which loads and lengths they were fitted (absent: they were not).

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
    prompt_token_s: NonNegative = 0.0
    stream_s: NonNegative = 0.0
    row_s: NonNegative = 0.0
    expert_layer_s: NonNegative = 0.0
    plans_ahead: bool = False
    decode_sigma: NonNegative
    prefill_sigma: NonNegative
    quiet_share: Positive = 1.0
    doubt: Positive = 1.0
    reach: Reach | None = None

    def __post_init__(self) -> None:
        for name in SHARES:
            if getattr(self, name) > 1:
                raise ValueError(f"{name} is {getattr(self, name):g}: more than all of the hardware's peak")

    def shifted(self, deviations: float) -> Calibration:
        """The same with every term slower by so many standard deviations (negative: faster)."""
        slower = math.exp(deviations * self.decode_sigma)
        shares = {name: min(1.0, getattr(self, name) / slower) for name in SHARES}
        costs = {name: getattr(self, name) * slower for name in COSTS}
        return replace(self, **shares, **costs)

    def at(self, in_flight: float, input_tokens: float, output_tokens: float) -> Calibration:
        """The same with the doubt that it has at a load point.

        It is more the more requests are in flight there, and the farther that is from those fitted.
        """
        in_flight = max(1.0, in_flight)
        busy = min(1.0, max(0.0, math.log(in_flight / QUIET) / math.log(BUSY / QUIET)))
        decode = self.decode_sigma * (self.quiet_share + (1.0 - self.quiet_share) * busy)
        if self.reach is None:
            return replace(self, decode_sigma=decode)
        away = BEYOND_SIGMA * self.reach.beyond(in_flight, input_tokens, output_tokens)
        most, most_prefill = self.reach.prior_sigmas
        return replace(
            self,
            decode_sigma=max(decode, min(most, math.hypot(decode, away))),
            prefill_sigma=max(self.prefill_sigma, min(most_prefill, math.hypot(self.prefill_sigma, 2 * away))),
        )

    @property
    def ttft_sigma(self) -> float:
        """The standard deviation of the logarithm of TTFT's error beside that of the steps' length."""
        return math.sqrt(max(0.0, self.prefill_sigma**2 - self.decode_sigma**2))


def interval_with(estimate: tuple[float, float, float], sigma: float) -> tuple[float, float]:
    """The bounds of the 90 % interval (low, value, high) when an independent error of *sigma* comes to it.

    *sigma* is the standard deviation of that error's logarithm; what is not positive or finite stays as it is.
    """
    low, value, high = estimate
    if not 0 < low <= value <= high < math.inf:
        return low, high
    below, above = (math.hypot(math.log(bound / value), Z90 * sigma) for bound in (low, high))
    return value * math.exp(-below), value * math.exp(above)


GPU_PRIOR = Calibration(
    calibration_id="prior-gpu-2",
    rests_on="physics only, no measurement of this configuration",
    weight_read=0.9,
    kv_read=0.75,
    matrix=0.6,
    expert_read=0.9,
    expert_matrix=0.3,
    prefill_attention=0.4,
    link=0.7,
    ridge=4.0,
    step_s=0.2e-3,
    layer_s=40e-6,
    expert_layer_s=12e-6,
    sequence_s=3e-6,
    row_s=0.25e-6,
    request_s=12e-3,
    prompt_token_s=4e-6,
    stream_s=0.1e-3,
    plans_ahead=True,
    reduce_s=12.5e-6,
    decode_sigma=0.10,
    prefill_sigma=0.17,
)
"""The physics prior for vLLM V1 on GPUs.

Matrix shares are those of published step-time studies (40-60 % of the peak in prefill). Llama-3.1-8B takes 6.5 ms a
token alone on an H100, 74 % of its bandwidth: 90 % while weights are read, the rest 40 us a layer. Llama-3.1-70B in
fp8 takes the same 65 us a layer beyond its bytes on 2, 4 and 8 GPUs: two all-reduces of 12.5 us whatever their number,
since all are on one switch. gpt-oss-120b takes 12 us more, for choosing experts. A request costs 12 ms before it is
scheduled, and 4 us a prompt token (tokenising 250,000 tokens a second).
On the public rows of both models on H100, H200 and B200 (147 mean TTFT and TPOT of InferenceX runs) the prior misses
TPOT by 7 % and TTFT by 11 % on average, and a mean absolute error is 0.8 standard deviations: sigmas of 0.10 and,
since a few groups are worse, 0.17.
"""

UNCHECKED_GPU_PRIOR = replace(
    GPU_PRIOR, calibration_id="prior-gpu-2-unchecked", decode_sigma=0.21, prefill_sigma=0.42, doubt=2.0
)
"""The same where no published point checked it (L4, A100): published priors of this kind miss TPOT by 17 % and TTFT by
30-37 % on average, sigmas of 0.21 and 0.42; the 90 % interval is a factor of 1.41 for decoding and 2.0 for prefill."""

TPU_PRIOR = replace(
    UNCHECKED_GPU_PRIOR, calibration_id="prior-tpu-2", step_s=1.5e-3, layer_s=0.0, expert_layer_s=0.0, reduce_s=6e-6
)
"""The physics prior for vLLM on TPUs: one compiled program a step (no graph replay, no kernel launches a
layer) with its dispatch from the host, and reductions over the chips' own interconnect. Unchecked too."""

CPU_PRIOR = replace(
    UNCHECKED_GPU_PRIOR,
    calibration_id="prior-cpu-1",
    weight_read=0.5,
    kv_read=0.3,
    matrix=0.3,
    prefill_attention=0.2,
    step_s=2e-3,
    layer_s=100e-6,
    plans_ahead=False,
    decode_sigma=0.7,
    prefill_sigma=0.9,
    doubt=6.0,
)
"""Where fits for a CPU begin: orders of magnitude, no measurement. Nothing is predicted with it alone."""

CHECKED_GENERATIONS = frozenset({"hopper", "blackwell"})
"""Of the GPUs whose published points were predicted with the prior."""


def prior(accelerator: Accelerator) -> Calibration:
    """What is assumed of *accelerator* as long as nothing was measured on it."""
    if accelerator.kind != "gpu":
        return TPU_PRIOR if accelerator.kind == "tpu" else CPU_PRIOR
    return GPU_PRIOR if accelerator.generation in CHECKED_GENERATIONS else UNCHECKED_GPU_PRIOR
