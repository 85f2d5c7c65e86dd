"""Makes the points of a run anew from its records and tells where they differ from the stored ones."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from giq.catalog import MetricNames, load_catalog
from giq.curve.point import Point
from giq.curve.server_statistics import server_statistics
from giq.curve.stand_in import Limits
from giq.curve.summary import PointFacts, summarise
from giq.curve.window import choose_window
from giq.documents import plain, replace
from giq.errors import UnknownNameError
from giq.store.run import open_run
from giq.workload.workload import ClosedLoad, Load, OpenLoad

if TYPE_CHECKING:
    from giq.store.run import Run

TOLERANCE = 1e-6
"""Relative difference that rounding may make: quantile grids are stored in 32 bits."""

FOUND_IN_RECORDS = ("NOT_STEADY", "TOO_FEW", "ERRORS", "LENGTHS_DIFFER")
"""The flags that follow from the records; the others were found while loading and are taken over."""


@dataclass(frozen=True)
class Recomputed:
    """One point: its id and the figures in which the recomputed one differs from the stored one."""

    point_id: str
    differences: tuple[str, ...]


def recompute(path: Path) -> list[Recomputed]:
    """Every stored point of the run at *path*, compared in every field with what its records give.

    Raises:
        DataError: there is no run, or a file of it is damaged.
    """
    run = open_run(path)
    return [
        Recomputed(point.point_id, tuple(_differences("", plain(point), plain(recomputed_point(run, point)))))
        for point in run.points()
    ]


def recomputed_point(run: Run, stored: Point) -> Point:
    """The point that the records and samples of *stored* give; what is not in them is taken over."""
    requests = run.requests(stored.point_id)
    load = _load(stored)
    window = choose_window(requests, load, run.manifest.workload.arrival)
    total = run.manifest.config.accelerators_total
    names = _metric_names(run.manifest.server.version)
    told = stored.work_rps is not None  # a giq from before that was told does not miss it
    facts = PointFacts(
        workload=run.manifest.workload if told else None,
        step=Limits.of(run.manifest.config),
        point_id=stored.point_id,
        run_id=stored.run_id,
        load=load,
        window=window,
        provenance=stored.provenance,
        accelerators_total=total,
        targets=run.manifest.targets,
        server=server_statistics(run.samples(stored.point_id), names, window.start_ns, window.end_ns),
        rtt_s=stored.rtt_s,
        client_error_s=stored.client_error_s,
        flags=tuple(flag for flag in stored.flags if flag not in FOUND_IN_RECORDS),
        elapsed_s=stored.accelerator_seconds / total,
    )
    made = summarise(requests, facts)
    known = {name: getattr(made, name) if getattr(stored, name) else () for name in ("expected", "foreseen")}
    return replace(made, **known)  # nor what was to be expected and could be foreseen


def _metric_names(version: str) -> MetricNames:
    """How that version of vLLM calls its metrics; of one that is not known, how the newest does."""
    catalog = load_catalog()
    try:
        return catalog.server_version("vllm", version).metrics
    except UnknownNameError:
        return catalog.server_version("vllm").metrics


def _load(point: Point) -> Load:
    if point.load_kind == "closed":
        return ClosedLoad(concurrency=round(point.concurrency or 1))
    return OpenLoad(rate_rps=point.offered_rps or point.achieved_rps)


def _differences(path: str, stored: Any, made: Any) -> list[str]:
    """The fields in which two points differ beyond rounding."""
    if isinstance(stored, dict) and isinstance(made, dict):
        keys = sorted({*stored, *made})
        return [place for key in keys for place in _differences(f"{path}.{key}", stored.get(key), made.get(key))]
    if isinstance(stored, list | tuple) and isinstance(made, list | tuple) and len(stored) == len(made):
        pairs = enumerate(zip(stored, made, strict=True))
        return [place for index, pair in pairs for place in _differences(f"{path}[{index}]", *pair)]
    return [] if _same(stored, made) else [path.removeprefix(".")]


def _same(left: Any, right: Any) -> bool:
    if isinstance(left, float | int) and isinstance(right, float | int):
        return left == right or abs(left - right) <= TOLERANCE * max(abs(left), abs(right))
    return bool(left == right)
