"""Makes the points of a run anew from its records and tells where they differ from the stored ones."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from giq.catalog import MetricNames, load_catalog
from giq.curve.point import METRICS, STATISTICS, Point
from giq.curve.server_statistics import server_statistics
from giq.curve.summary import PointFacts, summarise
from giq.curve.window import choose_window
from giq.documents import replace
from giq.errors import UnknownNameError
from giq.store.run import open_run
from giq.workload.workload import ClosedLoad, Load, OpenLoad

if TYPE_CHECKING:
    from giq.store.run import Run

TOLERANCE = 1e-9
"""Relative difference that rounding may make."""


@dataclass(frozen=True)
class Recomputed:
    """One point: its id and the figures in which the recomputed one differs from the stored one."""

    point_id: str
    differences: tuple[str, ...]


def recompute(path: Path) -> list[Recomputed]:
    """Every stored point of the run at *path*, compared with what its records give.

    Raises:
        DataError: there is no run, or a file of it is damaged.
    """
    run = open_run(path)
    return [Recomputed(point.point_id, _differences(point, recomputed_point(run, point))) for point in run.points()]


def recomputed_point(run: Run, stored: Point) -> Point:
    """The point that the records and samples of *stored* give; what is not in them is taken over."""
    requests = run.requests(stored.point_id)
    load = _load(stored)
    window = choose_window(requests, load)
    total = run.manifest.config.accelerators_total
    names = _metric_names(run.manifest.server.version)
    facts = PointFacts(
        point_id=stored.point_id,
        run_id=stored.run_id,
        load=load,
        window=window,
        provenance=stored.provenance,
        accelerators_total=total,
        targets=(),
        server=server_statistics(run.samples(stored.point_id), names, window.start_ns, window.end_ns),
        rtt_s=stored.rtt_s,
        client_error_s=stored.client_error_s,
        flags=(),
        elapsed_s=stored.accelerator_seconds / total,
    )
    return replace(summarise(requests, facts), attainment=stored.attainment)


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


def _differences(stored: Point, made: Point) -> tuple[str, ...]:
    plain = ("achieved_rps", "in_flight_mean", "error_share", "window_s", "n_requests", "input_tps", "output_tps")
    found = [name for name in plain if not _same(getattr(stored, name), getattr(made, name))]
    for metric in METRICS:
        for statistic in STATISTICS:
            old, new = stored.metric(metric).at(statistic), made.metric(metric).at(statistic)
            if not _same(old.value if old else None, new.value if new else None):
                found.append(f"{metric}_{statistic}_s")
    return tuple(found)


def _same(left: float | None, right: float | None) -> bool:
    if left is None or right is None:
        return left is right
    return left == right or abs(left - right) <= TOLERANCE * max(abs(left), abs(right))
