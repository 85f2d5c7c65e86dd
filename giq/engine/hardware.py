"""One accelerator's speed and size in SI units, as one component of a configuration uses it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from giq.catalog.accelerators import Accelerator
from giq.catalog.configuration import Component
from giq.catalog.models import Peaks

PCIE_BYTES_S = 32e9
"""A link to peers where the catalog knows none: PCIe 4.0 x16, one direction."""

NETWORK_BYTES_S = 25e9
"""Between hosts of GPUs: 200 Gbit/s for each accelerator (TPU slices keep their own interconnect)."""


@dataclass(frozen=True)
class Hardware:
    """Bytes, bytes a second and operations a second of one accelerator.

    `matrix_flops` is the peak at the weights' precision, `bf16_flops` the one that attention and the logits
    are computed at. `link_bytes_s` is one direction between tensor-parallel ranks, `stage_bytes_s` between
    pipeline stages.
    """

    name: str
    kind: Literal["gpu", "tpu", "cpu"]
    memory_bytes: float
    bandwidth_bytes_s: float
    matrix_flops: float
    bf16_flops: float
    link_bytes_s: float
    stage_bytes_s: float


def hardware(accelerator: Accelerator, main: Component, precision: str) -> Hardware:
    """*accelerator* as *main* uses it: a fraction of one has that share of its memory and speed."""
    share = main.fraction or 1.0
    link = (accelerator.link_gb_s or PCIE_BYTES_S / 1e9) * 1e9
    between_hosts = link if accelerator.kind == "tpu" else min(link, NETWORK_BYTES_S)
    return Hardware(
        name=accelerator.name,
        kind=accelerator.kind,
        memory_bytes=accelerator.memory_gb * 1e9 * share,
        bandwidth_bytes_s=accelerator.bandwidth_gb_s * 1e9 * share,
        matrix_flops=matrix_tflops(accelerator.peak_tflops, precision) * 1e12 * share,
        bf16_flops=accelerator.peak_tflops.bf16 * 1e12 * share,
        link_bytes_s=link if main.tp <= main.accelerators_per_host else between_hosts,
        stage_bytes_s=link if main.hosts == 1 else between_hosts,
    )


def matrix_tflops(peaks: Peaks, precision: str) -> float:
    """The peak that weights in *precision* are multiplied at.

    Where the chip has no units for it the weights are widened on the way and multiplied in 16 bits. Four-bit
    integers always are; four-bit floats are multiplied with eight-bit activations where the chip has units for
    four (vLLM's MXFP8 kernels); 32-bit floats run at half the 16-bit rate (TF32).
    """
    mixed = peaks.fp8 if peaks.fp4 else None
    by_precision = {"fp8": peaks.fp8, "int8": peaks.int8, "mxfp4": mixed, "fp32": peaks.bf16 / 2}
    return by_precision.get(precision) or peaks.bf16
