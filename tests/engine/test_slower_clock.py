"""A slower engine is the engine itself under more load: exactly in a simulation, and as read off a curve."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from giq.engine.calibration import Z90
from giq.engine.simulation import Simulation, simulate
from giq.engine.slower_clock import Clock, OwnCurve, clocks
from giq.engine.spec import EngineSpec
from giq.engine.steady_state import SteadyState
from giq.workload.schedule import Schedule, make_schedule
from giq.workload.workload import ClosedLoad, OpenLoad, Stop
from tests.engine.engines import engine, work
from tests.engine.test_prediction import curve


def schedule(rate_rps: float = 6.0, requests: int = 300) -> Schedule:
    """An open load."""
    return make_schedule(work(), OpenLoad(rate_rps=rate_rps), Stop(requests=requests), seed=3)


def served(spec: EngineSpec, sent: Schedule, by: float = 1.0) -> Simulation:
    """What *spec* makes of *sent*, all of which comes *by* times as fast."""
    assert sent.arrival_ns is not None
    return simulate(spec, replace(sent, arrival_ns=np.rint(sent.arrival_ns / by).astype(np.int64)))


def test_a_slower_engine_is_the_same_under_more_load() -> None:
    """Every moment of every request comes a factor later where requests come that factor slower."""
    spec = engine()
    factor = np.exp(Z90 * spec.calibration.decode_sigma)
    ours, slower = served(spec, schedule(), by=factor), served(spec.shifted(Z90), schedule())
    for name in ("sent_ns", "first_token_ns", "end_ns"):
        np.testing.assert_allclose(getattr(slower.requests, name), factor * getattr(ours.requests, name), rtol=1e-6)


def test_clocks_say_how_much_slower_and_faster_steps_are() -> None:
    """The slower one by the calibration's doubt; the faster one by less, since no share of the peak exceeds 1."""
    spec = engine()
    lengths = make_schedule(work(), ClosedLoad(concurrency=1), Stop(requests=500), seed=0)
    slower, faster = clocks(spec, SteadyState.of(spec, lengths), running=8)
    assert slower.steps == pytest.approx(np.exp(Z90 * spec.calibration.decode_sigma))
    assert slower.first_token == pytest.approx(slower.steps)
    assert 1 / slower.steps < faster.steps < 1
    assert 1 / slower.steps <= faster.first_token < 1


def test_a_curve_is_read_by_other_clocks() -> None:
    """By its own clock every point says what it has; by a slower one it has the value at more load, and longer."""
    points = curve().points
    own, opened = OwnCurve(points), [point for point in points if point.load_kind == "open"]
    for point in opened:
        assert point.tpot.p90 is not None
        same = own.by(Clock(1.0, 1.0), point).latencies["tpot"].p90
        assert same is not None
        assert same.value == pytest.approx(point.tpot.p90.value)
    low, high = opened[1], opened[3]
    assert low.offered_rps is not None
    assert high.offered_rps is not None
    assert high.ttft.p50 is not None
    factor = high.offered_rps / low.offered_rps
    later = own.by(Clock(factor, factor), low).latencies["ttft"].p50
    assert later is not None
    assert later.value == pytest.approx(factor * high.ttft.p50.value)
