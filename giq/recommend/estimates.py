"""Curves for what nobody has measured: the simulated engine asked about each candidate."""

from __future__ import annotations

import multiprocessing
import signal
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from typing import TYPE_CHECKING

from giq.catalog.catalog import Catalog
from giq.curve.curve import Curve
from giq.errors import UsageError
from giq.recommend.candidates import Candidate
from giq.recommend.recommendation import Rejection
from giq.recommend.requirement import Requirement

if TYPE_CHECKING:
    from giq.engine.spec import EngineSpec

SEED = 0
"""Estimates are asked with one seed, so that two recommendations from the same facts are equal."""

Progress = Callable[[int, int], None]


def unmeasured(
    candidates: Iterable[Candidate], curves: Iterable[Curve], requirement: Requirement
) -> tuple[Candidate, ...]:
    """The candidates for which none of *curves* is measured, usable, and of the same unit and workload."""
    known = {
        curve.config.config_id
        for curve in curves
        if curve.valid_points and curve.evidence == "measured" and requirement.asks_for(curve.workload)
    }
    return tuple(item for item in candidates if item.config.config_id not in known)


def estimate_curves(
    candidates: Sequence[Candidate],
    requirement: Requirement,
    catalog: Catalog,
    progress: Progress | None = None,
    processes: int = 1,
) -> tuple[list[Curve], list[Rejection]]:
    """The predicted curve of each candidate in their order, and those that cannot run with the reason.

    *progress* is told how many of how many are done. With several *processes* new interpreters are started
    (so the caller's main module must be importable); the result is the same.
    """
    from giq.engine.prediction import predict_curve  # only here is the engine needed

    specs, rejected = _specs(candidates, catalog)
    predict = partial(predict_curve, workload=requirement.workload, targets=requirement.targets, seed=SEED)
    curves: list[Curve] = []
    for curve in _map(predict, specs, min(processes, len(specs))):
        curves.append(curve)
        if progress is not None:
            progress(len(curves), len(specs))
    return curves, rejected


def _specs(candidates: Sequence[Candidate], catalog: Catalog) -> tuple[list[EngineSpec], list[Rejection]]:
    """The engine of each candidate; one on which the model does not fit, or that is not modelled, is rejected."""
    from giq.engine.spec import EngineSpec

    specs: list[EngineSpec] = []
    rejected: list[Rejection] = []
    for candidate in candidates:
        try:
            specs.append(EngineSpec.of(candidate.config, catalog))
        except UsageError as error:
            part = candidate.config.main
            rejected.append(
                Rejection(
                    accelerator=part.accelerator,
                    accelerators=candidate.config.accelerators_total,
                    config=candidate.config,
                    evidence="estimated",
                    reason=error.what,
                )
            )
    return specs, rejected


def _map(
    predict: Callable[[EngineSpec], Curve], specs: Sequence[EngineSpec], processes: int
) -> Iterator[Curve]:
    if processes <= 1:
        yield from map(predict, specs)
        return
    spawning = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(processes, mp_context=spawning, initializer=_leave_interrupts_to_parent) as pool:
        try:
            yield from pool.map(predict, specs)
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


def _leave_interrupts_to_parent() -> None:
    """Ctrl-C reaches every process of a terminal; the parent alone says what happens then."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
