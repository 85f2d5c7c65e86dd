"""The autoscaler's target comes from the curve below capacity, or there is none and a reason."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from giq.catalog.catalog import Catalog
from giq.curve.point import Estimate
from giq.documents import replace
from giq.errors import UsageError
from giq.manifest.autoscaling import Autoscaler, autoscaler_of, headroom, quantity, running_at
from giq.manifest.choice import LoadLevel, ServingChoice
from giq.manifest.options import ManifestOptions
from giq.manifest.startup import Startup

STARTUP = Startup(node_s=60, weights_s=60, engine_s=60)
RUNNING = "prometheus.googleapis.com|vllm:num_requests_running|gauge"
WAITING = "prometheus.googleapis.com|vllm:num_requests_waiting|gauge"


def autoscaler(choice: ServingChoice, catalog: Catalog, options: ManifestOptions | None = None) -> Autoscaler:
    """The autoscaler, which there must be."""
    found = autoscaler_of(choice, catalog.server_version().metrics, STARTUP, options or ManifestOptions())
    assert isinstance(found, Autoscaler)
    return found


def test_headroom_is_that_of_the_formula() -> None:
    """0.2 % a second over 180 s leaves 0.74 of capacity; the autoscaler's own tolerance comes on top."""
    options = ManifestOptions(growth_per_s=0.002, sync_s=0, tolerance=0)
    assert headroom(options, 180) == pytest.approx(1 / 1.36)
    assert headroom(replace(options, tolerance=0.1), 180) == pytest.approx(1 / 1.36 / 1.1)


@given(st.floats(0, 0.01), st.floats(0, 3600), st.floats(0, 600))
def test_traffic_that_grows_stays_within_capacity(growth: float, startup: float, sync: float) -> None:
    """From the rate at which the autoscaler acts, traffic grown until help is there is at most capacity."""
    options = ManifestOptions(growth_per_s=growth, sync_s=sync)
    acting = headroom(options, startup) * (1 + options.tolerance)
    assert acting * (1 + growth * (startup + sync)) <= 1 + 1e-9
    assert headroom(options, startup + 1) <= headroom(options, startup) < 1


def test_the_target_is_the_curves_value_at_the_headrooms_rate(catalog: Catalog, gpu: ServingChoice) -> None:
    """At half of capacity the curve has 15 running, and that is the target; not half of the 40 at capacity."""
    options = ManifestOptions(growth_per_s=1 / 240, sync_s=60, tolerance=0)
    found = autoscaler(gpu, catalog, options)
    assert headroom(options, STARTUP.total_s) == pytest.approx(0.5)
    assert [(metric.name, metric.average_value) for metric in found.metrics] == [(RUNNING, "15"), (WAITING, "2")]


def test_one_known_level_gives_its_share(catalog: Catalog, gpu: ServingChoice) -> None:
    """Where only the value at capacity is known the target is in proportion to it, and the reason says so."""
    options = ManifestOptions(growth_per_s=1 / 240, sync_s=60, tolerance=0)
    found = autoscaler(replace(gpu, levels=gpu.levels[-1:]), catalog, options)
    assert found.metrics[0].average_value == "20"
    assert "in proportion" in found.reason
    assert "interpolated" in autoscaler(gpu, catalog, options).reason


def test_the_curve_is_not_left() -> None:
    """Above the highest level there is no value; between levels and at them there is."""
    levels = [LoadLevel(rate_rps=1, running=2), LoadLevel(rate_rps=2), LoadLevel(rate_rps=3, running=8)]
    assert running_at(levels, 3.01) is None
    assert [running_at(levels, rate) for rate in (0.5, 1, 2, 3)] == [1, 2, 5, 8]
    assert running_at([], 1) is None


@given(st.lists(st.floats(0.1, 100), min_size=1, max_size=5, unique=True), st.floats(0.01, 1))
def test_a_lower_rate_never_has_more_running(rates: list[float], share: float) -> None:
    """On a rising curve the value at a share of a rate is at most the value at the rate."""
    levels = [LoadLevel(rate_rps=rate, running=rate**2) for rate in sorted(rates)]
    whole, part = running_at(levels, max(rates)), running_at(levels, share * max(rates))
    assert whole is not None
    assert part is not None
    assert part <= whole * (1 + 1e-9)


@pytest.mark.parametrize(
    ("value", "text"), [(12.9, "12"), (10.0, "10"), (9.87654, "9876m"), (3.0, "3"), (0.4567, "456m"), (0.0009, None)]
)
def test_quantities_are_rounded_down(value: float, text: str | None) -> None:
    """Targets are whole or in thousandths, never above the curve's value; too small ones are none."""
    assert quantity(value) == text


def test_without_an_operating_value_there_is_no_autoscaler(catalog: Catalog, gpu: ServingChoice) -> None:
    """A curve without the server's metrics, or without capacity, gives a reason instead of a guess."""
    metrics, options = catalog.server_version().metrics, ManifestOptions()
    bare = replace(gpu, levels=(LoadLevel(rate_rps=4.0),))
    assert "lacks the server's count" in str(autoscaler_of(bare, metrics, STARTUP, options))
    assert "lacks the server's count" in str(autoscaler_of(replace(gpu, levels=()), metrics, STARTUP, options))
    unmet = replace(gpu, capacity=None, unmet_reason="p90 TTFT is 400 ms at the lowest load")
    assert "p90 TTFT is 400 ms" in str(autoscaler_of(unmet, metrics, STARTUP, options))
    idle = replace(gpu, levels=(LoadLevel(rate_rps=4.0, running=0.0),))
    assert "too few" in str(autoscaler_of(idle, metrics, STARTUP, options))


def test_bounds_hold_the_required_rate(catalog: Catalog, gpu: ServingChoice) -> None:
    """At least as many replicas as the rate needs; at most ten, or twice the least; both can be set."""
    bounds = [
        (found.min_replicas, found.max_replicas)
        for found in (
            autoscaler(gpu, catalog),
            autoscaler(replace(gpu, replicas=8), catalog),
            autoscaler(gpu, catalog, ManifestOptions(min_replicas=1, max_replicas=3)),
        )
    ]
    assert bounds == [(2, 10), (8, 16), (1, 3)]
    with pytest.raises(UsageError, match="at most 1 replicas is fewer than at least 2"):
        autoscaler(gpu, catalog, ManifestOptions(max_replicas=1))


def test_waiting_is_no_metric_where_it_is_unknown(catalog: Catalog, gpu: ServingChoice) -> None:
    """The guard on waiting requests needs their count at capacity; the target on running ones does not."""
    found = autoscaler(replace(gpu, levels=(LoadLevel(rate_rps=4.0, running=40.0),)), catalog)
    assert [metric.name for metric in found.metrics] == [RUNNING]


@given(st.floats(0.5, 50), st.floats(1, 400))
def test_the_target_is_below_the_value_at_capacity(capacity: float, running: float) -> None:
    """Whatever the curve, the autoscaler acts before capacity is reached."""
    options = ManifestOptions()
    levels = [LoadLevel(rate_rps=capacity, running=running)]
    value = running_at(levels, headroom(options, STARTUP.total_s) * Estimate(value=capacity).value)
    assert value is not None
    assert value * (1 + options.tolerance) < running
