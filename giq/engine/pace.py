"""The time of a step of one engine core: the step-time model, with what speculation, adapters and experts add."""

from __future__ import annotations

from dataclasses import fields, replace

from giq.engine.spec import EngineSpec
from giq.engine.step_time import StepTime, step_time

ADAPTER_SHARE = 0.1
"""What a step takes longer while LoRA adapters are in use.

Each of the four matrix products of a layer is followed by two small kernels (shrink, expand) for all adapters of the
batch; eight launches a layer of 2 to 3 us beside the 25 us that a layer costs in all, and a few MB more read.
A prior from that count, not a measurement.
"""

ACTIVATION_BYTES = 2.0


def pace(spec: EngineSpec) -> StepTime:
    """The step times of one core of *spec*: every term is longer by what drafting and adapters take of a step."""
    times = _over_replicated_attention(spec, step_time(spec))
    drafting = 0.0 if spec.speculation is None else spec.speculation.drafter
    longer = (1.0 + drafting) * (1.0 + (ADAPTER_SHARE if spec.adapters else 0.0))
    if longer == 1.0:
        return times
    seconds = [item.name for item in fields(times) if item.name.endswith("_s")]
    return replace(times, **{name: longer * getattr(times, name) for name in seconds})


def _over_replicated_attention(spec: EngineSpec, times: StepTime) -> StepTime:
    """*times* with the experts spread over all data-parallel ranks of one replica, as vLLM does with a mixture.

    Every rank computes its part of the experts for the tokens of all ranks, taken to have as many as this one; each
    token's hidden state goes to its experts' ranks and back (all-to-all) in every layer.
    """
    model = spec.model
    if model.experts is None or spec.dp == 1:
        return times
    link = spec.hardware.link_bytes_s * spec.calibration.link * spec.tp
    elsewhere = 1.0 - 1.0 / (spec.tp * spec.dp)
    bytes_a_token = 2 * model.experts.per_token * model.hidden_size * ACTIVATION_BYTES * elsewhere
    return replace(
        times,
        experts_s=times.experts_s / spec.dp,
        tiles_s=times.tiles_s / spec.dp,
        untouched=times.untouched**spec.dp,
        reduce_token_s=times.reduce_token_s + model.layers * bytes_a_token / link,
        fixed_s=times.fixed_s + 2 * model.layers * spec.calibration.reduce_s,
    )
