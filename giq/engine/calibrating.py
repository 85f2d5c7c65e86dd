"""From load points of one real engine to its calibration, its residuals, and the measurement that would help most."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from giq import documents
from giq.catalog.catalog import Catalog
from giq.catalog.configuration import Component
from giq.catalog.use_cases import Lengths
from giq.curve.curve import Curve
from giq.curve.point import Point
from giq.documents import content_id
from giq.engine.calibration import Calibration, Reach, prior
from giq.engine.calibrations import CalibrationRecord, FittedPoint
from giq.engine.design import variance_left
from giq.engine.fitting import ERRORS, Fit, Matrix, Subject, calibrated, fit
from giq.engine.observation import Means, Observation
from giq.engine.spec import EngineSpec
from giq.errors import DataError, UsageError
from giq.workload.workload import ClosedLoad, Load, OpenLoad, Workload

CONCURRENCIES = (1, 4, 16, 64, 256)
LENGTHS = ((128, 128), (1024, 1024), (8192, 256))
"""Loads and (input, output) tokens of the measurements that are weighed against each other."""

WARM_UP = 1.5
"""Requests sent for each that is in a point's window, about: what its schedule is taken to have had."""


@dataclass(frozen=True)
class Suggestion:
    """A load point that is not measured yet, and what it would do to the doubt about the others.

    `before` and `after` are standard deviations of the error that uncertain factors leave in predicted TTFT and TPOT
    over all weighed load points, in percent and on average, before and after that measurement.
    """

    concurrency: int
    input_tokens: int
    output_tokens: int
    before: float
    after: float


@dataclass(frozen=True)
class Calibrated:
    """What came of the points of one engine."""

    record: CalibrationRecord
    suggestion: Suggestion | None


def identity(main: Component) -> tuple[str, str, str, int, int]:
    """What points must share to be of one calibration."""
    return main.model, main.precision, main.accelerator, main.tp, main.pp


def observations_of(curves: Iterable[Curve]) -> list[Observation]:
    """The valid points of measured and published *curves*, but those that replay a trace.

    Raises:
        DataError: there are none.
    """
    found = [
        _observation(curve, point, load)
        for curve in curves
        if curve.evidence != "estimated" and curve.workload.arrival.law != "trace"
        for point in curve.valid_points
        if (load := _load(point)) is not None and point.tpot.mean is not None and point.ttft.mean is not None
    ]
    if not found:
        raise DataError(
            "no valid measured or published load point to calibrate on",
            hint="Measure some: giq profile --endpoint URL --concurrency 1,16,64. What is estimated is not evidence.",
        )
    return found


def calibrate(
    observations: Sequence[Observation], catalog: Catalog, evidence: str, source: str, licence: str | None = None
) -> Calibrated:
    """Fit the calibration of the one engine that *observations* are of; *licence* is that of the points.

    Raises:
        UsageError: the engine cannot be simulated, or none of the points can be.
    """
    main = observations[0].config.main
    start = prior(catalog.accelerator(main.accelerator))
    specs = [EngineSpec.of(one.config, catalog, start) for one in observations]
    subjects = [Subject.of(one, spec) for one, spec in zip(observations, specs, strict=True)]
    subjects = [subject for subject in subjects if subject.usable]
    if not subjects:
        raise UsageError("every point has requests longer than the context that its configuration serves")
    found = fit(subjects)
    spec = subjects[0].spec
    calibration_id = _identifier(main, observations)
    rests_on = f"{len(subjects)} {evidence} points of {main.model} {main.precision} on {main.tp} x {main.accelerator}"
    record = CalibrationRecord(
        calibration=documents.replace(
            calibrated(spec, found, calibration_id, rests_on),
            reach=_reach([one.observation for one in subjects], start),
        ),
        model=spec.model.name,
        precision=spec.precision,
        accelerator=spec.accelerator.name,
        tp=spec.tp,
        pp=spec.pp,
        server_version=", ".join(sorted({one.config.main.server_version for one in observations})),
        evidence=evidence,
        source=source,
        licence=licence,
        points=tuple(_point(subject, found) for subject in subjects),
    )
    return Calibrated(record, _suggestion(subjects, found))


def _reach(observations: Sequence[Observation], start: Calibration) -> Reach:
    workloads = [one.workload for one in observations]
    prompts = [work.input_tokens.mean for work in workloads]
    outputs = [work.output_tokens.mean for work in workloads]
    running = [max(1.0, one.in_flight) for one in observations]
    return Reach(
        in_flight=(min(running), max(running)),
        input_tokens=(min(prompts), max(prompts)),
        output_tokens=(min(outputs), max(outputs)),
        prior_sigmas=(start.decode_sigma, start.prefill_sigma),
    )


def _identifier(main: Component, observations: Sequence[Observation]) -> str:
    named = f"{main.model}-{main.precision}-{main.accelerator}-tp{main.tp}" + (f"-pp{main.pp}" if main.pp > 1 else "")
    facts = [[one.name, one.load, one.observed.ttft_s, one.observed.tpot_s] for one in observations]
    return f"{named}-{content_id(facts)[:8]}"


def _load(point: Point) -> Load | None:
    if point.load_kind == "closed" and point.concurrency:
        return ClosedLoad(concurrency=round(point.concurrency))
    return OpenLoad(rate_rps=point.offered_rps) if point.offered_rps else None


def _observation(curve: Curve, point: Point, load: Load) -> Observation:
    slots = load.concurrency if isinstance(load, ClosedLoad) else 0
    assert point.ttft.mean is not None  # noqa: S101 - the caller chose such points
    assert point.tpot.mean is not None  # noqa: S101
    latency = point.latency.mean.value if point.latency.mean else float("nan")
    return Observation(
        name=point.point_id,
        config=curve.config,
        workload=curve.workload,
        load=load,
        requests=max(1, math.ceil(WARM_UP * point.n_requests) + 2 * slots),
        whole=False,
        observed=Means(ttft_s=point.ttft.mean.value, tpot_s=point.tpot.mean.value, latency_s=latency),
    )


def _point(subject: Subject, found: Fit) -> FittedPoint:
    observation = subject.observation
    residuals = np.expm1(subject.observed - subject.logs(found.theta))
    ttft, tpot = (round(float(value), 4) if np.isfinite(value) else None for value in residuals)
    return FittedPoint(
        name=observation.name,
        load=str(observation.load),
        input_tokens=observation.workload.input_tokens.mean,
        output_tokens=observation.workload.output_tokens.mean,
        ttft_residual=ttft,
        tpot_residual=tpot,
    )


def _suggestion(subjects: Sequence[Subject], found: Fit) -> Suggestion | None:
    """The weighed load point after which the least doubt is left over all of them."""
    spec = replace(subjects[0].spec, calibration=prior(subjects[0].spec.accelerator))
    tried = [
        (candidate, slopes)
        for candidate in _candidates(subjects[0], spec)
        if (slopes := Subject.of(candidate, spec)).usable
    ]
    if not tried:
        return None
    judged: Matrix = np.stack([subject.slopes for _, subject in tried])
    none = np.zeros_like(judged[0])
    before = variance_left(found.covariance, none, judged, ERRORS)
    left = [variance_left(found.covariance, subject.slopes, judged, ERRORS) for _, subject in tried]
    best = int(np.argmin(left))
    candidate = tried[best][0]
    assert isinstance(candidate.load, ClosedLoad)  # noqa: S101 - candidates are closed loops
    return Suggestion(
        concurrency=candidate.load.concurrency,
        input_tokens=round(candidate.workload.input_tokens.mean),
        output_tokens=round(candidate.workload.output_tokens.mean),
        before=_percent(before),
        after=_percent(left[best]),
    )


def _candidates(subject: Subject, spec: EngineSpec) -> Iterable[Observation]:
    for prompt, output in LENGTHS:
        if prompt + output > spec.max_model_len:
            continue
        for concurrency in CONCURRENCIES:
            if concurrency <= spec.max_num_seqs:
                yield replace(
                    subject.observation,
                    name=f"{concurrency} x {prompt}/{output}",
                    workload=Workload(input_tokens=Lengths(mean=prompt), output_tokens=Lengths(mean=output)),
                    load=ClosedLoad(concurrency=concurrency),
                    requests=max(8, 3 * concurrency),
                    whole=True,
                )


def _percent(variance: float) -> float:
    """A mean variance in units of the metrics' own errors as an error in percent."""
    return 100.0 * math.sqrt(variance) * float(np.sqrt(np.mean(ERRORS**2)))
