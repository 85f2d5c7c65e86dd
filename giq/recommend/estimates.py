"""Curves for what nobody has measured: the simulated engine asked about each candidate."""

from __future__ import annotations

import gc
import multiprocessing
import signal
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from typing import TYPE_CHECKING, TypeVar

from giq.catalog.catalog import Catalog
from giq.catalog.configuration import ServingConfiguration
from giq.curve.curve import Curve
from giq.curve.targets import requests_needed
from giq.documents import replace
from giq.errors import UsageError
from giq.recommend.candidates import Candidate
from giq.recommend.recommendation import Rejection
from giq.recommend.requirement import Requirement
from giq.recommend.units import known_model, same_unit

if TYPE_CHECKING:
    from giq.engine.calibrations import Kept
    from giq.engine.spec import EngineSpec

SEED = 0
"""Estimates are asked with one seed, so that two recommendations from the same facts are equal."""

Progress = Callable[[int, int], None]

Asked = TypeVar("Asked")
Made = TypeVar("Made")


def unmeasured(
    candidates: Iterable[Candidate], curves: Iterable[Curve], requirement: Requirement, catalog: Catalog
) -> tuple[Candidate, ...]:
    """The candidates for which none of *curves* is measured, usable, and of the same unit and workload."""
    measured = [
        curve.config
        for curve in curves
        if curve.valid_points and curve.evidence == "measured" and requirement.asks_for(curve.workload)
    ]
    model = known_model(requirement.model, catalog)
    return tuple(item for item in candidates if not any(same_unit(config, item.config, model) for config in measured))


def estimate_curves(
    candidates: Sequence[Candidate],
    requirement: Requirement,
    catalog: Catalog,
    progress: Progress | None = None,
    processes: int = 1,
    made: Iterable[Curve] = (),
) -> tuple[list[Curve], list[Rejection]]:
    """The predicted curve of each candidate in their order, and those that cannot run, with the engine's reason.

    A curve that was *made* before is taken where it answers: of the same unit under the same workload, by an engine of
    the same numbers, with enough requests for the targets' percentiles, and where no share of requests that meet all
    targets is asked for, which such curves do not tell. *progress* is told how many of how many others are done. With
    several *processes* new interpreters are started (so the caller's main module must be importable); the result is
    the same.
    """
    from giq.engine.calibrations import kept_calibrations  # only here is the engine needed

    kept = kept_calibrations()
    engines = [(candidate.config, engine_of(candidate.config, catalog, kept)) for candidate in candidates]
    rejected = [_impossible(config, spec) for config, spec in engines if isinstance(spec, str)]
    specs = [spec for _, spec in engines if not isinstance(spec, str)]
    found = _found(specs, made, requirement)
    missing = [spec for spec in specs if spec.config.config_id not in found]
    predict = partial(_predicted, requirement=requirement)
    for done, (spec, curve) in enumerate(zip(missing, in_processes(predict, missing, processes), strict=True), 1):
        found[spec.config.config_id] = curve
        if progress is not None:
            progress(done, len(missing))
    curves: list[Curve] = []
    for spec in specs:
        result = found[spec.config.config_id]
        if isinstance(result, str):
            rejected.append(_impossible(spec.config, result))
        else:  # with the caller's own configuration: a copy from elsewhere prints its defaults too
            curves.append(Curve(spec.config, requirement.workload, result.points))
    return curves, rejected


def _found(specs: Iterable[EngineSpec], made: Iterable[Curve], requirement: Requirement) -> dict[str, Curve | str]:
    """By unit, the curves *made* before that answer *requirement* for one of *specs*."""
    from giq.engine.engine_id import engine_id

    known = _answering(made, requirement)
    pairs = ((spec.config.config_id, known.get((spec.config.config_id, engine_id(spec)))) for spec in specs)
    return {unit: curve for unit, curve in pairs if curve is not None}


def _answering(made: Iterable[Curve], requirement: Requirement) -> dict[tuple[str, str], Curve]:
    """Those of the curves *made* before that can answer *requirement*, by unit and engine."""
    if requirement.attainment is not None:
        return {}
    needed = requests_needed(requirement.targets)
    return {
        (curve.config.config_id, engine): curve
        for curve in made
        if (engine := curve.points[0].provenance.engine_id) is not None
        and requirement.asks_for(curve.workload)
        and all(point.n_requests >= needed for point in curve.points)
    }


def engine_of(config: ServingConfiguration, catalog: Catalog, kept: Sequence[Kept]) -> EngineSpec | str:
    """The engine of *config*, or why it cannot run (the model does not fit) or is not modelled.

    Where the KV cache holds less than one request of the model's whole context, the configuration says so: vLLM
    does not start otherwise.
    """
    from giq.engine.calibrations import predicting

    try:
        spec = predicting(config, catalog, kept)
        if spec.max_model_len < int(config.main.engine_args.get("max_model_len", spec.model.max_context)):
            return predicting(_with_context(config, spec.max_model_len), catalog, kept)
    except UsageError as error:
        return error.what
    return spec


def _with_context(config: ServingConfiguration, tokens: int) -> ServingConfiguration:
    main = replace(config.main, engine_args=config.main.engine_args | {"max_model_len": tokens})
    return replace(config, components=(main, *config.components[1:]))


def _predicted(spec: EngineSpec, requirement: Requirement) -> Curve | str:
    """The curve of one engine, or why there is none."""
    from giq.engine.prediction import predict_curve

    try:
        return predict_curve(spec, requirement.workload, requirement.targets, SEED)
    except UsageError as error:
        return error.what


def _impossible(config: ServingConfiguration, reason: str) -> Rejection:
    return Rejection(
        accelerator=config.main.accelerator,
        accelerators=config.accelerators_total,
        config=config,
        evidence="estimated",
        reason=reason,
    )


def in_processes(work: Callable[[Asked], Made], items: Sequence[Asked], processes: int) -> Iterator[Made]:
    """What *work* makes of each of *items*, in their order, by so many new interpreters (1: by this one)."""
    workers = min(processes, len(items))
    if workers <= 1:
        yield from map(work, items)
        return
    spawning = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, mp_context=spawning, initializer=_begin_work) as pool:
        try:
            yield from pool.map(work, items)
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


def _begin_work() -> None:
    """In a new interpreter that only predicts.

    Ctrl-C reaches every process of a terminal; the parent alone says what happens then. And a simulation makes many
    small objects that hang together in no circle: looking for circles is left for later.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    gc.set_threshold(200_000, 50, 50)
