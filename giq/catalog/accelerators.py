"""Accelerators, the machines that carry them, and what Kubernetes calls them."""

from __future__ import annotations

from typing import Literal

from giq.catalog.models import Peaks, Source
from giq.documents import Entry, Name, NonNegative, Positive, PositiveInt


class Shape(Entry, frozen=True, kw_only=True):
    """One way to get accelerators: a machine type, or for a TPU a slice of `hosts` machines.

    `accelerators` counts those of one host; `memory_gb` and `vcpus` are one host's.
    """

    machine_type: Name
    accelerators: PositiveInt
    hosts: PositiveInt = 1
    topology: str | None = None
    vcpus: PositiveInt | None = None
    memory_gb: Positive | None = None
    local_ssd_gb: NonNegative | None = None


class Accelerator(Entry, frozen=True, kw_only=True):
    """One accelerator chip, under the name of its GKE node label where it has one.

    `memory_gb` is 10^9 bytes, `bandwidth_gb_s` 10^9 bytes a second from the chip's memory, `link_gb_s`
    10^9 bytes a second to its peers in one direction (absent: unknown). `node_labels` select a node of
    it, `resource` is what a Pod asks for. `launch_overhead_us` is the fixed cost of one engine step.
    """

    name: Name
    title: Name
    aliases: tuple[Name, ...] = ()
    kind: Literal["gpu", "tpu", "cpu"]
    generation: Name
    memory_gb: Positive
    bandwidth_gb_s: Positive
    peak_tflops: Peaks
    link_gb_s: Positive | None = None
    on_gke: bool
    node_labels: dict[str, str] = {}
    topology_label: str | None = None
    resource: str | None = None
    detected_as: tuple[str, ...] = ()
    shapes: tuple[Shape, ...] = ()
    source: Source
