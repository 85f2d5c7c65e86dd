"""What the hardware cannot do: points that beat it are wrong."""

from __future__ import annotations

import math

from giq.catalog.accelerators import Accelerator
from giq.catalog.configuration import Component, ServingConfiguration
from giq.catalog.models import BYTES_PER_VALUE, Model
from giq.curve.point import Point
from giq.units import format_rate, format_seconds

_CACHE_BYTES = 256e6
"""More than any accelerator keeps on chip (B200: 126 MB of L2): what is there need not be read again."""
_Z90 = 1.645


def implausible(point: Point, config: ServingConfiguration, model: Model, accelerator: Accelerator) -> str | None:
    """Why *point* cannot be true on this hardware, or None.

    Two limits are held against it, both safe (what is left out only makes the true limit tighter):

    - decode floor: every step reads the weights that one token uses, so TPOT >= active weight bytes / (memory
      bandwidth x chips that read at once). Left out: the KV cache, further experts of a batch, communication,
      the input embedding (only rows of it are read) and 256 MB that may stay in on-chip memory. Not held against a
      configuration with speculation, which yields several tokens a step.
    - compute ceiling: every token computed costs two operations per active weight outside the embeddings, so
      tokens computed per second <= peak rate x accelerators / (2 x weights). Tokens read from a prefix cache
      are not computed; where their share is unknown, and caching not switched off, only output tokens are counted.

    The point is refused only if its whole 90 % interval lies beyond a limit; for tokens per second, of
    which no interval is stored, that of a Poisson count of its requests is taken. A precision that the catalog
    does not know is taken for its smallest.
    """
    return _below_floor(point, config, model, accelerator) or _above_ceiling(point, config, model, accelerator)


def decode_floor_s(component: Component, model: Model, accelerator: Accelerator) -> float:
    """The least time of one decode step of one request, in seconds (see `implausible`)."""
    embedding = 0 if model.tied_embeddings else model.vocab_size * model.hidden_size
    size = BYTES_PER_VALUE.get(component.precision, min(BYTES_PER_VALUE.values()))
    chips = component.tp * component.ep
    per_chip = (model.active_parameters - embedding) * size / chips - _CACHE_BYTES
    return max(per_chip, 0.0) / (accelerator.bandwidth_gb_s * 1e9)


def compute_ceiling_tps(component: Component, model: Model, accelerator: Accelerator, accelerators: int) -> float:
    """The most tokens per second that *accelerators* chips can compute (see `implausible`)."""
    embeddings = (1 if model.tied_embeddings else 2) * model.vocab_size * model.hidden_size
    weights = max(model.active_parameters - embeddings, 1)
    return peak_tflops(component.precision, accelerator) * 1e12 * accelerators / (2 * weights)


def peak_tflops(precision: str, accelerator: Accelerator) -> float:
    """The highest peak rate at which weights of *precision* can be multiplied, in 10^12 operations a second.

    16-bit weights run at the 16-bit rate; narrower ones at the fastest rate of their width or of any wider one,
    since the width of the activations is not known; an unknown precision at the fastest of all.
    """
    peaks = accelerator.peak_tflops
    rates = [peaks.bf16]
    if precision not in ("bf16", "fp16", "fp32"):
        rates += [peaks.fp8 or 0.0, peaks.int8 or 0.0]
    if precision not in ("bf16", "fp16", "fp32", "fp8", "int8"):
        rates.append(peaks.fp4 or 0.0)
    return max(rates)


def _below_floor(point: Point, config: ServingConfiguration, model: Model, accelerator: Accelerator) -> str | None:
    if config.speculative is not None or point.tpot.p50 is None:
        return None
    decoding = next((part for part in reversed(config.components) if part.role in ("both", "decode")), config.main)
    floor, tpot = decode_floor_s(decoding, model, accelerator), point.tpot.p50
    highest = tpot.value if tpot.hi is None else tpot.hi
    if highest >= floor:
        return None
    return (
        f"p50 TPOT {format_seconds(tpot.value)} is less than the {format_seconds(floor)} that {accelerator.title} "
        f"takes to read the weights of {model.title} once"
    )


def _above_ceiling(point: Point, config: ServingConfiguration, model: Model, accelerator: Accelerator) -> str | None:
    shares = [point.prefix_hit_share]
    if all(part.engine_args.get("enable_prefix_caching") is False for part in config.components):
        shares = [0.0]
    computed = point.output_tps + sum(point.input_tps * (1 - share) for share in shares if share is not None)
    ceiling = compute_ceiling_tps(config.main, model, accelerator, config.accelerators_total)
    least = computed * (1 - _Z90 / math.sqrt(point.n_requests)) if point.n_requests > 0 else 0.0
    if least <= ceiling:
        return None
    return (
        f"{format_rate(computed, 'tokens/s')} computed is more than the {format_rate(ceiling, 'tokens/s')} that "
        f"{config.accelerators_total} x {accelerator.title} can compute of {model.title}"
    )
