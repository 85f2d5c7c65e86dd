"""Predicted points and curves: reproducible, with intervals, and sensible beside each other."""

from __future__ import annotations

import time
from dataclasses import replace
from functools import cache

import pytest

from giq import documents
from giq.curve.capacity import capacity
from giq.curve.curve import Curve
from giq.curve.point import METRICS, STATISTICS, Point
from giq.curve.saturation import saturation
from giq.curve.targets import Target
from giq.engine.memory import DoesNotFitError
from giq.engine.prediction import FRACTIONS, predict_curve, predict_curves, predict_point
from giq.engine.step_time import Work, floor
from giq.workload.workload import ClosedLoad, OpenLoad, Stop
from tests.engine.engines import config, engine, work

TTFT = Target("ttft", 0.5, "p90")


@cache
def curve(accelerator: str = "big") -> Curve:
    """A predicted curve."""
    return predict_curve(engine("dense-8b", accelerator), work(), (TTFT,))


def p90_ttft(point: Point) -> float:
    """Seconds."""
    assert point.ttft.p90 is not None
    return point.ttft.p90.value


def test_a_curve_reaches_from_one_request_to_beyond_saturation() -> None:
    """One point at concurrency 1, then rates up to twice and more what the engine completes."""
    found = curve()
    assert found.config == config()
    assert len(found.points) == len(FRACTIONS) + 2
    closed = [point for point in found.points if point.load_kind == "closed"]
    assert [point.concurrency for point in closed] == [1.0]
    best = max(point.achieved_rps for point in found.points)
    offered = [point.offered_rps for point in found.points if point.offered_rps is not None]
    assert min(offered) < 0.2 * best < best < max(offered)
    assert saturation(found).reached


def test_points_are_estimated_and_say_what_they_rest_on() -> None:
    """Evidence, source and calibration are in each; no accelerator-second was spent and no clock is in it."""
    for point in curve().points:
        provenance = point.provenance
        assert (provenance.evidence, provenance.hardware_source) == ("estimated", "simulated")
        assert provenance.calibration_id == "prior-gpu-2-unchecked"
        assert provenance.measured_at is None
        assert point.accelerator_seconds == 0
        assert point.n_requests >= 100  # enough for a p90


def test_every_statistic_has_an_interval_around_it() -> None:
    """Each latency's bounds hold its value, and are as wide as the step times are doubtful."""
    for point in curve().points:
        for metric in METRICS:
            for statistic in STATISTICS:
                estimate = point.metric(metric).at(statistic)
                if estimate is None or metric == "schedule_delay":
                    continue
                assert estimate.lo is not None
                assert estimate.hi is not None
                assert estimate.lo <= estimate.value <= estimate.hi
    tpot = curve().points[0].tpot.p50
    assert tpot is not None
    assert tpot.hi is not None
    assert tpot.lo is not None
    assert tpot.hi / tpot.value == pytest.approx(1.41, rel=0.03)
    assert tpot.lo < 0.9 * tpot.value  # no more of the bandwidth than there is


@pytest.mark.parametrize("accelerator", ["big", "small", "tensor"])
def test_no_load_is_said_to_be_faster_than_none(accelerator: str) -> None:
    """The lower end of every latency is at least that of an idle engine, but where chance put the value below."""
    idle, *others = curve(accelerator).points
    for point in others:
        for metric in set(METRICS) - {"schedule_delay"}:
            for statistic in STATISTICS:
                estimate, least = point.metric(metric).at(statistic), idle.metric(metric).at(statistic)
                if estimate is None or least is None or estimate.value < least.value:
                    continue
                assert estimate.lo is not None
                assert least.lo is not None
                assert estimate.lo >= least.lo


def test_one_engine_by_two_names_is_predicted_once() -> None:
    """The curve of the second is what it would be alone: the points are the same, their ids its own."""
    spec = engine()
    other = replace(spec, config=documents.replace(spec.config, adapters=0))
    first, second = predict_curves([spec, other], work())
    assert second == predict_curve(other, work())
    assert {point.point_id for point in first.points}.isdisjoint(point.point_id for point in second.points)


def test_the_same_arguments_give_the_same_curve() -> None:
    """Equal in every field, point ids too, and within seconds (0.4 of a quiet core); another seed is another point."""
    curve("small")
    began = time.process_time()
    again = predict_curve(engine("dense-8b", "small"), work(), (TTFT,))
    assert time.process_time() - began < 4
    assert again.points == curve("small").points
    load = OpenLoad(rate_rps=1.0)
    ids = {predict_point(engine(), work(), load, seed, stop=Stop(requests=50)).point_id for seed in (0, 1)}
    assert len(ids) == 2


def test_latency_grows_with_load() -> None:
    """TTFT and TPOT at nine tenths of saturation are above those at one tenth, and in overload far above."""
    opened = [point for point in curve().points if point.load_kind == "open"]
    low, high, over = opened[0], opened[5], opened[-1]
    assert p90_ttft(low) < p90_ttft(high) < p90_ttft(over) / 3
    assert low.tpot.mean is not None
    assert high.tpot.mean is not None
    assert low.tpot.mean.value < high.tpot.mean.value
    assert low.running_mean is not None
    assert high.running_mean is not None
    assert low.running_mean < high.running_mean


def test_points_below_saturation_are_valid() -> None:
    """Steady and with enough requests for a p90, from a tenth to nine tenths."""
    opened = [point for point in curve("small").points if point.load_kind == "open"]
    assert all(point.valid for point in opened[:6])


def test_no_point_beats_the_hardware() -> None:
    """TPOT is never below reading the weights once, at the lower end of its interval neither."""
    for accelerator in ("big", "small"):
        least = floor(engine("dense-8b", accelerator), Work(1, 1, 0, 0))
        for point in curve(accelerator).points:
            assert point.tpot.mean is not None
            assert point.tpot.mean.lo is not None
            assert point.tpot.mean.lo >= least


def test_capacity_has_an_interval_that_holds_the_doubt() -> None:
    """At a target the rate is below saturation, and its bounds are those of slower and faster steps."""
    found = capacity(curve("small"), (Target("tpot", 0.08, "p90"),))
    assert found.status == "met"
    assert found.rate is not None
    assert found.rate.lo is not None
    assert found.rate.hi is not None
    assert found.rate.lo < 0.9 * found.rate.value < 1.1 * found.rate.value < found.rate.hi
    most = saturation(curve("small")).rate
    assert most is not None
    assert most.lo is not None
    assert most.hi is not None
    assert found.rate.value <= most.value
    assert most.lo < 0.85 * most.value < 1.15 * most.value < most.hi


def test_a_workload_longer_than_the_context_is_refused() -> None:
    """A curve of requests that the server would refuse makes no sense: the error has lengths and arithmetic."""
    with pytest.raises(DoesNotFitError, match="longer than the 2,048 tokens of context") as caught:
        predict_curve(engine(max_model_len=2048), work(4000, 100))
    assert "GB for the KV cache" in str(caught.value)


def test_a_point_follows_the_load_it_is_given() -> None:
    """An explicit stop is simulated as it would be measured: so many requests, closed or open."""
    closed = predict_point(engine(), work(), ClosedLoad(concurrency=8), seed=1, stop=Stop(requests=200))
    assert closed.concurrency == 8
    assert 100 < closed.n_requests < 200
    assert closed.in_flight_mean == pytest.approx(8, rel=0.01)
    opened = predict_point(engine(), work(), OpenLoad(rate_rps=5.0), seed=1, stop=Stop(duration_s=100.0))
    assert opened.offered_rps == 5.0
    assert opened.achieved_rps == pytest.approx(5.0, rel=0.15)


def test_a_point_without_a_stop_has_enough_requests() -> None:
    """Hundreds in the window, at any load; a p99 target asks for more."""
    for load in (ClosedLoad(concurrency=64), OpenLoad(rate_rps=20.0)):
        assert predict_point(engine(), work(), load, seed=1).n_requests >= 350
    strict = Target("ttft", 0.5, "p99")
    assert predict_point(engine(), work(), OpenLoad(rate_rps=5.0), seed=1, targets=(strict,)).n_requests >= 1000


def test_attainment_is_judged_for_the_targets() -> None:
    """Near one at low load, lower in overload."""
    opened = [point for point in curve("small").points if point.load_kind == "open"]
    assert opened[0].attainment[0].joint > 0.95 > opened[-1].attainment[0].joint
