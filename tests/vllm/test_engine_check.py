"""The parts of engine_check.py that need no server: what is measured when, what is compared, and the fit."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from engine_check import LIMITS
from engine_fit import FIGURES, START, Measured, Seen, calibrated, fit, gauss_newton, pooled, schedule, spec_of
from engine_loads import TRIALS, Trial, closed, order, rate

from giq import documents
from giq.engine.calibration import Calibration
from giq.engine.simulation import simulate
from giq.workload.workload import Load

PASSES = 4


def simulated(trial: Trial, number: int, calibration: Calibration, like: Seen | None = None) -> Seen:
    """What a pass would show if the server were the engine with that calibration."""
    return Seen.of(simulate(spec_of(trial, calibration), schedule(trial, number)).requests, trial, like)


def test_every_pass_has_every_load() -> None:
    """Once each, in an order of its own; what lasts long only once in all."""
    found = order(PASSES)
    counted = Counter(trial.name for trial, _ in found)
    assert counted == {trial.name: 1 if trial.once else PASSES for trial in TRIALS}
    orders = [[trial.name for trial, at in found if at == number and not trial.once] for number in range(PASSES)]
    assert all(sorted(one) == sorted(orders[0]) for one in orders)
    assert len({tuple(one) for one in orders}) == PASSES
    assert order(PASSES) == found


def test_the_check_is_what_was_asked_for() -> None:
    """Five minutes of fitted load at most; eight held-out loads at least, none of them fitted under another name."""
    assert sum(trial.seconds for trial, _ in order(PASSES) if trial.fitted) <= 300
    held = [trial for trial in TRIALS if not trial.fitted]
    assert len(held) >= 8
    fitted = {(trial.load, trial.prompt, trial.output, trial.arrival) for trial in TRIALS if trial.fitted}
    assert fitted.isdisjoint((trial.load, trial.prompt, trial.output, trial.arrival) for trial in held)


def test_passes_are_pooled_by_requests_and_time() -> None:
    """A pass with twice the requests counts twice."""
    one = Seen(np.arange(2), np.array([1.0, 1.0]), np.array([0.1, np.nan]), tokens=10, seconds=1.0)
    two = Seen(np.arange(4), np.full(4, 3.0), np.full(4, 0.3), tokens=50, seconds=2.0)
    assert pooled([one, two]) == pytest.approx(dict(zip(FIGURES, (20.0, 0.3, 3.0, 3.0), strict=True)))


@pytest.mark.parametrize("load", [closed(8), rate(6)])
def test_both_sides_are_looked_at_over_the_same_requests(load: Load) -> None:
    """Whatever the engine's speed: those that the measured pass chose; the engine itself gives its own figures."""
    trial = Trial("any", 64, 32, load, 8)
    real = simulated(trial, 0, START)
    again = simulated(trial, 0, START, real)
    assert pooled([again]) == pytest.approx(pooled([real]), rel=1e-9)
    slower = simulated(trial, 0, documents.replace(START, step_s=3e-3), real)
    assert len(slower.chosen)
    assert np.isin(slower.chosen, real.chosen).all()
    assert np.median(slower.tpot) > np.nanmedian(real.tpot)


def test_the_fit_finds_an_engine_of_its_own_kind() -> None:
    """Calibrated on the fitted loads of an engine with other factors, it predicts loads of that which it did not see.

    Throughput and TPOT: the TTFT of an engine without any jitter jumps by a step where all requests just miss one.
    """
    hidden = calibrated(np.array([0.2, -0.3, 0.1, 0.0, 0.3, -0.2, -0.2, 0.0, 0.2]))
    chosen = [trial for trial in TRIALS if trial.fitted or trial.name in ("16 at once, short", "long outputs")]
    loads = [Measured(trial, (0,), (simulated(trial, 0, hidden),)) for trial in chosen]
    calibration = fit([load for load in loads if load.trial.fitted])
    for load in loads:
        if not load.trial.fitted:
            found = load.predicted(calibration)
            for name in ("output_tps", "tpot_p50_s"):
                assert found[name] == pytest.approx(load.figures[name], rel=LIMITS[name] / 2), (load.trial.name, name)


def test_gauss_newton_solves_least_squares() -> None:
    """Of a linear problem that is told well: the solution, hardly pulled to 0."""
    matrix = np.array([[3.0, 1.0], [1.0, 2.0], [0.5, -1.0]]) * 100
    wanted = np.array([0.4, -0.7])
    assert gauss_newton(lambda theta: matrix @ (theta - wanted), 2) == pytest.approx(wanted, abs=1e-3)
