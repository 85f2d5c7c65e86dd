"""Curves for what nobody has measured: the simulated engine asked about each candidate."""

from __future__ import annotations

import multiprocessing
import signal
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from typing import TYPE_CHECKING

from giq.catalog.catalog import Catalog
from giq.catalog.configuration import ServingConfiguration
from giq.curve.curve import Curve
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
) -> tuple[list[Curve], list[Rejection]]:
    """The predicted curve of each candidate in their order, and those that cannot run, with the engine's reason.

    *progress* is told how many of how many are done. With several *processes* new interpreters are started
    (so the caller's main module must be importable); the result is the same.
    """
    from giq.engine.calibrations import kept_calibrations  # only here is the engine needed

    kept = kept_calibrations()
    specs: list[EngineSpec] = []
    rejected: list[Rejection] = []
    for candidate in candidates:
        spec = _spec(candidate.config, catalog, kept)
        if isinstance(spec, str):
            rejected.append(_impossible(candidate.config, spec))
        else:
            specs.append(spec)
    curves: list[Curve] = []
    predict = partial(_predicted, requirement=requirement)
    for done, (spec, found) in enumerate(zip(specs, _map(predict, specs, processes), strict=True), 1):
        if isinstance(found, str):
            rejected.append(_impossible(spec.config, found))
        else:  # with the caller's own configuration: a copy from another process prints its defaults too
            curves.append(Curve(spec.config, requirement.workload, found.points))
        if progress is not None:
            progress(done, len(specs))
    return curves, rejected


def _spec(config: ServingConfiguration, catalog: Catalog, kept: Sequence[Kept]) -> EngineSpec | str:
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


def _map(
    predict: Callable[[EngineSpec], Curve | str], specs: Sequence[EngineSpec], processes: int
) -> Iterator[Curve | str]:
    if min(processes, len(specs)) <= 1:
        yield from map(predict, specs)
        return
    spawning = multiprocessing.get_context("spawn")
    workers = min(processes, len(specs))
    with ProcessPoolExecutor(workers, mp_context=spawning, initializer=_leave_interrupts_to_parent) as pool:
        try:
            yield from pool.map(predict, specs)
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


def _leave_interrupts_to_parent() -> None:
    """Ctrl-C reaches every process of a terminal; the parent alone says what happens then."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
