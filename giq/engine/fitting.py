"""Fitting a calibration to observed load points: the most probable factors under the prior and what was observed.

Each factor of the step-time model is multiplied by exp(theta), theta normal around 0 with the factor's sigma. The
logarithms of mean TTFT and mean TPOT differ from the prediction by an error of Student's t distribution, so that one
bad point does not bend the fit. The mode is found by Gauss-Newton steps on repeated weighted least squares; the
inverse of its Hessian is the posterior covariance (Gelman et al., Bayesian Data Analysis, 3rd ed., chapters 13, 17).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from giq import documents
from giq.engine.calibration import SHARES, Calibration
from giq.engine.observation import Means, Observation
from giq.engine.spec import EngineSpec

Vector = NDArray[np.float64]
Matrix = NDArray[np.float64]


class Factor(NamedTuple):
    """Fields of a calibration that are scaled together, and the prior's standard deviation of the logarithm."""

    name: str
    fields: tuple[str, ...]
    sigma: float
    experts: bool = False


FACTORS = (
    Factor("weight_read", ("weight_read",), 0.06),
    Factor("kv_read", ("kv_read",), 0.15),
    Factor("matrix", ("matrix",), 0.10),
    Factor("prefill_attention", ("prefill_attention",), 0.15),
    Factor("link", ("link",), 0.20),
    Factor("fixed", ("step_s", "layer_s", "expert_layer_s", "reduce_s"), 0.10),
    Factor("sequence", ("sequence_s", "row_s"), 0.35),
    Factor("front_end", ("request_s", "prompt_token_s", "stream_s"), 0.20),
    Factor("expert_read", ("expert_read",), 0.10, experts=True),
    Factor("expert_matrix", ("expert_matrix",), 0.20, experts=True),
)
"""What is fitted. The sigmas say how far versions, kernels and hosts are expected to differ on accelerators whose prior
was checked; where it was not, all of them are `doubt` times as large."""

TTFT_ERROR, TPOT_ERROR = 0.08, 0.04
"""Standard deviations of the logarithm of a mean TTFT and TPOT, of what the model cannot say even when it is fitted."""

FREEDOM = 4.0
"""Degrees of freedom of the errors' t distribution (4: robust, and still with a variance)."""

STEP = 0.1
"""Of the finite differences in the logarithm of a factor: large enough to see over the discreteness of batches."""

CONFIDENCE = 25.0
"""Observations that the errors above are worth when a group's own residuals say how large they are: many, since
those of four points tell little."""

FARTHEST = 3.0
"""Standard deviations beyond which a point left out tells no more of the errors' size."""

CAUTION = np.array([0.655, 0.978])
"""What the intervals of TTFT and TPOT are multiplied by, over what fitted points alone say (set on the scored public
rows of InferenceX, 4 fitted points a group). Errors of TPOT at neighbouring loads go together, so that few points show
too little of them; TTFT's are smaller at most loads than at the fitted point most in doubt, which counts here."""

QUIET_SHARE = 0.5
"""Of TPOT's errors with up to 4 requests in flight against those with 32 or more, on the same rows."""

ROUNDS = 5
LONGEST_STEP, SMALLEST_STEP = 0.5, 0.01

UNLIKENESS = 0.03
"""Standard deviation added to the errors of other engines' observations when they stand for one not measured."""

KINSHIP = 1.0
"""By how much of the prior's sigmas engines of one model differ, in their factors, from what they have in common."""


def factors_of(spec: EngineSpec) -> tuple[Factor, ...]:
    """Those that *spec* has: experts only in a mixture of experts."""
    return tuple(factor for factor in FACTORS if not factor.experts or spec.model.experts is not None)


def scaled(calibration: Calibration, factors: Sequence[Factor], theta: Vector) -> Calibration:
    """*calibration* with each factor slower by exp(theta): shares are divided (and end at 1), costs multiplied."""
    changed: dict[str, float] = {}
    for factor, shift in zip(factors, theta.tolist(), strict=True):
        for name in factor.fields:
            value = getattr(calibration, name)
            changed[name] = min(1.0, value * math.exp(-shift)) if name in SHARES else value * math.exp(shift)
    return documents.replace(calibration, **changed)


@dataclass(frozen=True, eq=False)
class Subject:
    """One observation with the engine it was made of, as the prior knows it.

    `base` holds the logarithms of the mean TTFT and TPOT that the prior predicts, `slopes` their derivatives by each
    factor's theta there (one row a metric).
    """

    observation: Observation
    spec: EngineSpec
    factors: tuple[Factor, ...]
    base: Vector
    slopes: Matrix

    @classmethod
    def of(cls, observation: Observation, spec: EngineSpec) -> Subject:
        """By simulating the observation once and once more for each factor."""
        factors = factors_of(spec)
        start = np.zeros(len(factors))
        base = _logs(observation.predicted(spec))
        moved = (start + STEP * unit for unit in np.eye(len(factors)))
        columns = [(_logs(observation.predicted(shifted_by(spec, factors, theta))) - base) / STEP for theta in moved]
        return cls(observation, spec, factors, base, np.nan_to_num(np.stack(columns, axis=1), posinf=0.0, neginf=0.0))

    @property
    def usable(self) -> bool:
        """Whether the engine answers every request of the observation (none is longer than the context)."""
        return not np.isposinf(self.base).any()

    def means(self, theta: Vector) -> Means:
        """The predicted means with the factors scaled by *theta*."""
        return self.observation.predicted(shifted_by(self.spec, self.factors, theta))

    def logs(self, theta: Vector) -> Vector:
        """Logarithms of the predicted mean TTFT and TPOT."""
        return _logs(self.means(theta)) if theta.any() else self.base

    @property
    def observed(self) -> Vector:
        """Logarithms of observed mean TTFT and TPOT; NaN where there is none."""
        return _logs(self.observation.observed)


def shifted_by(spec: EngineSpec, factors: Sequence[Factor], theta: Vector) -> EngineSpec:
    """*spec* with its calibration's factors scaled by *theta*."""
    return replace(spec, calibration=scaled(spec.calibration, factors, theta))


def calibrated(spec: EngineSpec, found: Fit, calibration_id: str, rests_on: str) -> Calibration:
    """The calibration of *spec* after the fit, under that name."""
    return documents.replace(
        scaled(spec.calibration, found.factors, found.theta),
        calibration_id=calibration_id,
        rests_on=rests_on,
        decode_sigma=found.tpot_sigma,
        prefill_sigma=found.ttft_sigma,
        quiet_share=QUIET_SHARE,
    )


def _logs(means: Means) -> Vector:
    with np.errstate(invalid="ignore", divide="ignore"):
        logs: Vector = np.log(np.array([means.ttft_s, means.tpot_s]))
    return logs


ERRORS = np.array([TTFT_ERROR, TPOT_ERROR])


@dataclass(frozen=True, eq=False)
class Fit:
    """The mode of the posterior, its covariance, and the doubt that a point like the fitted ones would have.

    `theta` are the factors' logarithms. `ttft_sigma` and `tpot_sigma` are standard deviations of the logarithm of
    the error of a predicted mean: the model's own error and that of the factors when the point is not fitted itself.
    """

    factors: tuple[Factor, ...]
    theta: Vector
    covariance: Matrix
    ttft_sigma: float
    tpot_sigma: float


@dataclass(frozen=True, eq=False)
class Expectation:
    """What is expected of the factors before a fit: their logarithms' mean and covariance."""

    mean: Vector
    covariance: Matrix

    @classmethod
    def of(cls, subject: Subject) -> Expectation:
        """That of the physics prior alone."""
        sigmas = subject.spec.calibration.doubt * np.array([factor.sigma for factor in subject.factors])
        return cls(np.zeros(len(sigmas)), np.diag(sigmas**2))


def fit(subjects: Sequence[Subject], expected: Expectation | None = None) -> Fit:
    """The most probable factors after *subjects*, which have the same factors; *expected* is by default the prior.

    The slopes found at the prior are corrected by what each step shows (Broyden's rank-one update).
    """
    factors = subjects[0].factors
    expected = expected or Expectation.of(subjects[0])
    precision: Matrix = _inverse(expected.covariance)
    theta = expected.mean
    slopes = [subject.slopes for subject in subjects]
    logs = [subject.logs(theta) for subject in subjects]
    for _ in range(ROUNDS):
        differences = [subject.observed - log for subject, log in zip(subjects, logs, strict=True)]
        step, _ = _step(differences, slopes, precision, expected.mean - theta, ERRORS)
        theta = theta + step
        if np.abs(step).max() < SMALLEST_STEP:
            break
        moved = [subject.logs(theta) for subject in subjects]
        if np.linalg.norm(step) > STEP:  # shorter ones show the discreteness of batches rather than the slope
            slopes = [
                slope + np.outer(new - old - slope @ step, step) / (step @ step)
                for slope, old, new in zip(slopes, logs, moved, strict=True)
            ]
        logs = moved
    differences = [subject.observed - log for subject, log in zip(subjects, logs, strict=True)]
    slopes = [subject.slopes for subject in subjects]
    _, hessian = _step(differences, slopes, precision, expected.mean - theta, ERRORS)
    ttft, tpot = _left_out_sigmas(differences, slopes, hessian)
    covariance: Matrix = _inverse(hessian)
    return Fit(factors, theta, covariance, ttft, tpot)


def expectation_from(others: Sequence[Subject], share: float = KINSHIP) -> Expectation:
    """What other engines of the same model let expect of one that is not measured: found with the prior's slopes alone.

    Its factors differ from theirs by *share* of the prior's sigmas.
    """
    prior = Expectation.of(others[0])
    precision: Matrix = _inverse(prior.covariance)
    errors = np.sqrt(ERRORS**2 + UNLIKENESS**2)
    theta, hessian = prior.mean, precision
    slopes = [subject.slopes for subject in others]
    for _ in range(ROUNDS):
        differences = [subject.observed - subject.base - subject.slopes @ theta for subject in others]
        step, hessian = _step(differences, slopes, precision, -theta, errors)
        theta = theta + step
    return Expectation(theta, _inverse(hessian) + share**2 * prior.covariance)


def _step(
    differences: Sequence[Vector], slopes: Sequence[Matrix], precision: Matrix, pull: Vector, errors: Vector
) -> tuple[Vector, Matrix]:
    """A Gauss-Newton step, and the Hessian that it was made with."""
    gradient, hessian = precision @ pull, precision.copy()
    for difference, slope in zip(differences, slopes, strict=True):
        residual, weight = _weighted(difference, errors)
        gradient += slope.T @ (weight * residual)
        hessian += slope.T @ (weight[:, None] * slope)
    step: Vector = np.clip(np.linalg.solve(hessian, gradient), -LONGEST_STEP, LONGEST_STEP)
    return step, hessian


def _inverse(matrix: Matrix) -> Matrix:
    return np.asarray(np.linalg.inv(matrix), dtype=np.float64)


def _weighted(difference: Vector, errors: Vector) -> tuple[Vector, Vector]:
    """Residuals with 0 where nothing was observed, and their weights: small for what lies far off."""
    known = np.isfinite(difference)
    residual = np.where(known, difference, 0.0)
    ratio = (residual / errors) ** 2
    return residual, np.where(known, (FREEDOM + 1) / (FREEDOM + ratio) / errors**2, 0.0)


def _left_out_sigmas(differences: Sequence[Vector], slopes: Sequence[Matrix], hessian: Matrix) -> tuple[float, float]:
    """The predictive standard deviations that fitted points would have had, had they been left out: the largest.

    They are scaled by how far off those predictions would have been, as much as so few points can tell: the scale's
    variance is taken to be 1 with the weight of `CONFIDENCE` observations.
    """
    sigmas, squares = [], []
    for difference, slope in zip(differences, slopes, strict=True):
        residual, weight = _weighted(difference, ERRORS)
        without = hessian - slope.T @ (weight[:, None] * slope)
        spread = _inverse(without)
        sigma = np.sqrt(ERRORS**2 + np.einsum("ij,jk,ik->i", slope, spread, slope))
        inside = slope @ _inverse(hessian) @ slope.T * weight
        off = np.linalg.solve(np.eye(len(residual)) - np.minimum(inside, 0.9), residual)
        sigmas.append(sigma)
        squares += np.minimum((off / sigma) ** 2, FARTHEST**2)[np.isfinite(difference)].tolist()
    scale = np.sqrt((CONFIDENCE + sum(squares)) / (CONFIDENCE + len(squares)))
    ttft, tpot = (CAUTION * scale * np.max(np.array(sigmas), axis=0)).tolist()
    return ttft, tpot
