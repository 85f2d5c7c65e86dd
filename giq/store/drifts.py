"""How latency moved in the load points of runs, from their records."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from giq.curve.curve import Curve
from giq.curve.drift import drift
from giq.curve.point import Estimate, Point
from giq.curve.window import choose_window
from giq.errors import DataError
from giq.store.run import open_run
from giq.workload.workload import Arrival, ClosedLoad, Load, OpenLoad


def drifts_of(curve: Curve, folders: Mapping[str, Path]) -> dict[str, Estimate]:
    """The drift of each valid point of *curve* whose run is among *folders* (by id), by the point's id.

    A run whose records cannot be read is passed over: there is then nothing to say about drift.
    """
    found = {}
    for point in curve.valid_points:
        folder = folders.get(point.run_id or "")
        moved = _drift(point, curve.workload.arrival, folder) if folder else None
        if moved is not None:
            found[point.point_id] = moved
    return found


def _drift(point: Point, arrival: Arrival, folder: Path) -> Estimate | None:
    try:
        requests = open_run(folder).requests(point.point_id)
    except DataError:
        return None
    return drift(requests, choose_window(requests, _load(point), arrival))


def _load(point: Point) -> Load:
    if point.load_kind == "closed":
        return ClosedLoad(concurrency=round(point.concurrency or 1))
    return OpenLoad(rate_rps=point.offered_rps or point.achieved_rps)
