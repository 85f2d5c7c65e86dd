"""What a replica asks of its node: accelerators, CPU, memory, disk and shared memory."""

from __future__ import annotations

import math

from giq.catalog.accelerators import Shape
from giq.documents import Entry

GIB = 2**30
MIB = 2**20

_MEMORY_RESERVED = ((4.0, 0.25), (4.0, 0.20), (8.0, 0.10), (112.0, 0.06), (math.inf, 0.02))
_EVICTION_BYTES = 100 * MIB
_CORES_RESERVED = ((1.0, 0.06), (1.0, 0.01), (2.0, 0.005), (math.inf, 0.0025))
"""Shares that GKE keeps of each further GiB and core (GKE documentation, "Plan GKE Standard node sizes")."""

_OURS = 0.8
"""The share of what is left that a replica asks for; the rest is for the node's own pods (logs, metrics, drivers)."""

_SPARE_DISK = 10 * GIB
_DISK_FACTOR = 1.2
"""Weights are kept once, in parts that are joined: a fifth more, and room for compiled kernels and logs."""

_SHARED_MEMORY = 2 * GIB
BOOT_DISK_FREE = 45 * GIB
"""What GKE's default boot disk of 100 GB leaves to pods (its documented reservation and eviction threshold)."""


class Resources(Entry, frozen=True, kw_only=True):
    """Requests and limits by resource name, as Kubernetes quantities, and the size of /dev/shm."""

    requests: dict[str, str]
    limits: dict[str, str]
    shared_memory: str
    disk_bytes: int


def allocatable_memory(total_bytes: float) -> float:
    """Bytes of a node's memory that pods may ask for, by GKE's formula."""
    return total_bytes - _reserved(total_bytes / GIB, _MEMORY_RESERVED) * GIB - _EVICTION_BYTES


def allocatable_cores(cores: float) -> float:
    """Cores of a node that pods may ask for, by GKE's formula."""
    return cores - _reserved(cores, _CORES_RESERVED)


def resources_of(shape: Shape, accelerators: int, resource: str, weights_bytes: float) -> Resources:
    """What a replica with *accelerators* of the machine's asks for: its share of CPU and memory, disk for weights.

    CPU and memory have no limit: a limit on CPU slows every step, and one on memory counts the pages of
    weights being read. Where the machine's size is unknown they are not asked for.
    """
    share = _OURS * accelerators / shape.accelerators
    disk_bytes = math.ceil(weights_bytes * _DISK_FACTOR) + _SPARE_DISK
    requests = {resource: str(accelerators), "ephemeral-storage": f"{math.ceil(disk_bytes / GIB)}Gi"}
    if shape.vcpus is not None:
        requests["cpu"] = f"{max(1, math.floor(allocatable_cores(shape.vcpus) * share * 1000))}m"
    shared = _SHARED_MEMORY * accelerators
    if shape.memory_gb is not None:
        memory = allocatable_memory(shape.memory_gb * 1e9) * share
        requests["memory"] = f"{max(1, math.floor(memory / MIB))}Mi"
        shared = min(shared, max(MIB, math.floor(memory / 4)))
    return Resources(
        requests=dict(sorted(requests.items())),
        limits={resource: str(accelerators)},
        shared_memory=f"{shared // MIB}Mi",
        disk_bytes=disk_bytes,
    )


def _reserved(amount: float, steps: tuple[tuple[float, float], ...]) -> float:
    kept = 0.0
    for width, share in steps:
        kept += min(amount, width) * share
        amount = max(0.0, amount - width)
    return kept
