"""Requests fit the node that was priced."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from giq.catalog.accelerators import Shape
from giq.manifest.probes import ending_of, probes_of
from giq.manifest.resources import GIB, allocatable_cores, allocatable_memory, resources_of
from giq.manifest.startup import Startup, startup_of

SHAPES = st.builds(
    Shape,
    machine_type=st.just("m"),
    accelerators=st.integers(1, 16),
    vcpus=st.integers(2, 400),
    memory_gb=st.floats(4, 4000),
)


@given(SHAPES, st.data(), st.floats(0, 1e12))
def test_requests_never_exceed_what_the_node_leaves(shape: Shape, data: st.DataObject, weights: float) -> None:
    """All replicas that share a machine's accelerators fit together into its allocatable CPU and memory."""
    accelerators = data.draw(st.integers(1, shape.accelerators))
    replicas = shape.accelerators // accelerators
    requests = resources_of(shape, accelerators, "nvidia.com/gpu", weights).requests
    assert int(requests["cpu"].removesuffix("m")) / 1000 * replicas <= allocatable_cores(shape.vcpus or 0)
    memory = int(requests["memory"].removesuffix("Mi")) * 2**20
    assert memory * replicas <= allocatable_memory((shape.memory_gb or 0) * 1e9)
    assert int(requests["ephemeral-storage"].removesuffix("Gi")) * GIB >= weights


def test_allocatable_is_that_of_the_documented_formula() -> None:
    """A node of 4 cores and 16 GiB leaves 3.92 cores, and 16 less 1, 0.8, 0.8 GiB and 100 MiB."""
    assert allocatable_cores(4) == pytest.approx(3.92)
    assert allocatable_memory(16 * GIB) / GIB == pytest.approx(16 - 1 - 0.8 - 0.8 - 100 / 1024)


def test_an_unknown_machine_asks_for_no_cpu_and_memory() -> None:
    """Where the machine's size is unknown nothing is made up for it."""
    found = resources_of(Shape(machine_type="m", accelerators=2), 2, "nvidia.com/gpu", 1e9)
    assert found.requests.keys() == {"nvidia.com/gpu", "ephemeral-storage"}
    assert found.limits == {"nvidia.com/gpu": "2"}


def test_shared_memory_stays_within_the_memory_asked_for() -> None:
    """It counts as memory: it grows with the accelerators, but takes a quarter of the request at most."""
    large = resources_of(Shape(machine_type="m", accelerators=8, vcpus=96, memory_gb=384), 8, "r", 1e9)
    small = resources_of(Shape(machine_type="m", accelerators=1, vcpus=2, memory_gb=4), 1, "r", 1e9)
    assert large.shared_memory == "16384Mi"
    assert int(small.shared_memory.removesuffix("Mi")) * 4 <= int(small.requests["memory"].removesuffix("Mi"))


@given(st.floats(0, 2e12), st.sampled_from(["gpu", "tpu"]))
def test_the_startup_probe_waits_three_times_the_estimate(weights: float, kind: str) -> None:
    """A start that takes three times its estimate, or a quarter of an hour, is not killed."""
    startup = startup_of(weights, "tpu" if kind == "tpu" else "gpu")
    probe = probes_of(startup).startup
    assert probe.period_s * probe.failures >= max(900, 3 * startup.container_s)


def test_a_start_is_the_sum_of_its_parts() -> None:
    """Twice the weights take twice as long to fetch; a node that is there takes nothing."""
    small, large = startup_of(10e9, "gpu"), startup_of(20e9, "gpu", node_s=0)
    assert large.weights_s == 2 * small.weights_s == 100
    assert large.total_s == large.container_s
    assert Startup(node_s=1, weights_s=2, engine_s=3).total_s == 6


@pytest.mark.parametrize(("latency", "drain"), [(None, 60), (float("inf"), 60), (1.0, 30), (40.0, 80), (9999.0, 600)])
def test_an_ending_gives_running_requests_time(latency: float | None, drain: int) -> None:
    """Requests get twice their p99 latency within bounds; a server that drops them is told only after that."""
    drains, drops = ending_of(latency, server_drains=True), ending_of(latency, server_drains=False)
    assert (drains.pre_stop_s, drains.drain_s) == (15, drain)
    assert drops.pre_stop_s == 15 + drain
    assert drains.grace_s > 15 + drain
    assert drops.grace_s > drops.pre_stop_s
