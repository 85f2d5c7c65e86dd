"""Fitting: what was put in comes out again, bad points do not bend it, and nothing is sure that was not seen."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from giq import documents
from giq.catalog import ServingConfiguration
from giq.engine.calibration import prior
from giq.engine.calibrations import CalibrationRecord, Kept, keep, kept_calibrations, nearest
from giq.engine.design import spread
from giq.engine.fitting import ERRORS, Subject, expectation_from, fit, shifted_by
from giq.engine.observation import Means, Observation
from giq.engine.spec import EngineSpec
from giq.workload.workload import ClosedLoad
from tests.engine.engines import CATALOG, config, engine, work

SPEC = engine("dense-8b", "big")
LOADS = (1, 8, 32)


def observed(load: int, spec: EngineSpec, factor: float = 1.0) -> Subject:
    """A closed loop as *spec* would have answered it, everything *factor* times as slow, seen from the prior."""
    blank = Observation(f"c{load}", spec.config, work(), ClosedLoad(concurrency=load), 3 * load + 5, True, NOTHING)
    means = blank.predicted(spec)
    seen = Means(factor * means.ttft_s, factor * means.tpot_s, factor * means.latency_s)
    return Subject.of(replace(blank, observed=seen), SPEC)


NOTHING = Means(float("nan"), float("nan"), float("nan"))
FACTORS = observed(1, SPEC).factors


def shifted(**shifts: float) -> EngineSpec:
    """The engine with some factors slower by exp(shift)."""
    return shifted_by(SPEC, FACTORS, np.array([shifts.get(factor.name, 0.0) for factor in FACTORS]))


TRUTH = shifted(kv_read=0.2, fixed=0.15, front_end=0.3, matrix=0.1)
SEEN = [observed(load, TRUTH) for load in LOADS]


def test_a_fit_predicts_what_it_was_not_fitted_on() -> None:
    """Of an engine with other factors, fitted at three loads, an unseen load is predicted far better than before."""
    found = fit(SEEN)
    unseen = observed(16, TRUTH)
    before = np.abs(unseen.observed - unseen.base)
    after = np.abs(unseen.observed - unseen.logs(found.theta))
    assert (after < 0.03).all()
    assert (after < before / 2).all()


def test_what_the_prior_says_is_left_alone_when_it_is_right() -> None:
    """Observations that the prior predicts exactly move no factor."""
    found = fit([observed(load, SPEC) for load in LOADS])
    assert np.abs(found.theta).max() < 1e-9


def test_one_bad_point_does_not_bend_the_fit() -> None:
    """A point three times as slow as it should be pulls far less than its weight."""
    good = fit(SEEN)
    bent = fit([*SEEN, observed(4, TRUTH, factor=3.0)])
    unseen = observed(16, TRUTH)
    assert np.abs(unseen.logs(bent.theta) - unseen.logs(good.theta)).max() < 0.08
    assert bent.tpot_sigma > good.tpot_sigma


def test_measuring_never_adds_doubt_about_factors() -> None:
    """The posterior's variances are no larger than the prior's, and the predictive ones hold the model's own error."""
    found = fit(SEEN)
    priors = (SPEC.calibration.doubt * np.array([factor.sigma for factor in FACTORS])) ** 2
    assert (np.diag(found.covariance) <= priors * (1 + 1e-9)).all()
    assert found.ttft_sigma > ERRORS[0]
    assert found.tpot_sigma > ERRORS[1] / 2


def test_kin_say_what_to_expect_and_leave_doubt() -> None:
    """Other engines' points move the expectation their way, and its variance stays above the prior's."""
    expected = expectation_from(SEEN)
    names = [factor.name for factor in FACTORS]
    assert expected.mean[names.index("fixed")] > 0.03
    priors = (SPEC.calibration.doubt * np.array([factor.sigma for factor in FACTORS])) ** 2
    assert (np.diag(expected.covariance) > priors).all()


def test_calibration_points_are_chosen_by_loads_and_lengths_alone() -> None:
    """The smallest load comes first, then the farthest; the order of the rows does not matter."""
    places = [(64.0, 1024.0, 8192.0), (4.0, 1024.0, 1024.0), (8.0, 1024.0, 1024.0), (64.0, 8192.0, 1024.0)]
    chosen = [places[index] for index in spread(places, 3)]
    assert chosen == [(4.0, 1024.0, 1024.0), (64.0, 1024.0, 8192.0), (64.0, 8192.0, 1024.0)]
    mixed = places[::-1]
    assert [mixed[index] for index in spread(mixed, 3)] == chosen
    assert spread(places, 0) == []
    assert len(spread(places, 9)) == 4


def record(model: str = "dense-8b", accelerator: str = "big", tp: int = 1) -> CalibrationRecord:
    """A calibration of that engine, with a doubt of its own."""
    spec = engine(model, accelerator, tp=tp)
    named = documents.replace(
        spec.calibration, calibration_id=f"{model}-{accelerator}-{tp}", rests_on="3 measured points", decode_sigma=0.03
    )
    return CalibrationRecord(
        calibration=named,
        model=model,
        precision=spec.precision,
        accelerator=accelerator,
        tp=tp,
        server_version="0.32.0",
        evidence="measured",
        source="run",
        points=(),
    )


def asked(model: str, accelerator: str, precision: str, tp: int = 1) -> ServingConfiguration:
    """A configuration that says its precision."""
    plain = config(model, accelerator, tp=tp)
    return documents.replace(plain, components=(documents.replace(plain.main, precision=precision),))


def test_the_nearest_calibration_is_used_and_doubted_the_more_the_farther(tmp_path: Path) -> None:
    """The same engine first, then other parallelism, then another model of the kind; without any the prior."""
    kept = [Kept(record(), tmp_path, 1), Kept(record(tp=2), tmp_path, 1)]
    same = nearest(asked("dense-8b", "big", "bf16"), CATALOG, kept)
    other = nearest(asked("dense-8b", "big", "bf16", tp=4), CATALOG, kept)
    kind = nearest(asked("dense-70b", "big", "fp8", tp=4), CATALOG, kept)
    assert same.calibration_id == "dense-8b-big-1"
    assert other.calibration_id == "dense-8b-big-2"
    assert "carried over" in other.rests_on
    assert same.decode_sigma < other.decode_sigma < kind.decode_sigma
    assert nearest(asked("mixture-20b", "tensor", "mxfp4"), CATALOG, kept) == prior(CATALOG.accelerator("tensor"))


def test_a_kept_calibration_is_found_again(tmp_path: Path) -> None:
    """What is written under the user's profiles is read back equal, with the user's rank."""
    written = record()
    keep(written, tmp_path / "profiles")
    assert [one.record for one in kept_calibrations(tmp_path) if one.rank == 1] == [written]
