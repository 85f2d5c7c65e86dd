"""A saturation curve: the load points of one serving configuration under one workload."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from giq.catalog.configuration import ServingConfiguration
from giq.curve.point import Evidence, Point
from giq.documents import content_id
from giq.errors import IncompatibleError
from giq.workload.workload import Workload


@dataclass(frozen=True)
class Curve:
    """Points of one configuration and workload, of one kind of evidence, sorted by load.

    Raises:
        IncompatibleError: the points differ in evidence.
    """

    config: ServingConfiguration
    workload: Workload
    points: tuple[Point, ...]

    def __post_init__(self) -> None:
        kinds = sorted({point.provenance.evidence for point in self.points})
        if len(kinds) > 1:
            raise IncompatibleError("evidence", kinds[0], kinds[1])
        object.__setattr__(self, "points", tuple(sorted(self.points, key=_order)))

    @property
    def curve_id(self) -> str:
        """16 hex digits made from the configuration's and the workload's ids."""
        return curve_id(self.config, self.workload)

    @property
    def evidence(self) -> Evidence:
        """What the points rest on."""
        return self.points[0].provenance.evidence

    @property
    def valid_points(self) -> tuple[Point, ...]:
        """The points that may be used for decisions."""
        return tuple(point for point in self.points if point.valid)


def curve_id(config: ServingConfiguration, workload: Workload) -> str:
    """The id of the curve of *config* under *workload*."""
    return content_id([config.config_id, workload.workload_id])


def join(curves: Iterable[Curve]) -> Curve:
    """One curve of all points of *curves*.

    Raises:
        IncompatibleError: they differ in a field of the configuration or workload; names it and both values.
    """
    first, *rest = curves
    for other in rest:
        _refuse_difference(first, other)
    return Curve(first.config, first.workload, tuple(point for curve in (first, *rest) for point in curve.points))


def _refuse_difference(left: Curve, right: Curve) -> None:
    for name in ("config", "workload"):
        ours, theirs = getattr(left, name), getattr(right, name)
        if ours.canonical() != theirs.canonical():
            raise IncompatibleError(*first_difference(name, ours, theirs))


def first_difference(path: str, left: object, right: object) -> tuple[str, object, object]:
    """The innermost field in which two values differ, with both values."""
    if isinstance(left, tuple) and isinstance(right, tuple) and len(left) == len(right):
        for index, (one, other) in enumerate(zip(left, right, strict=True)):
            if one != other:
                return first_difference(f"{path}[{index}]", one, other)
    fields = getattr(left, "__struct_fields__", ())
    if type(left) is type(right):
        for field in fields:
            one, other = getattr(left, field), getattr(right, field)
            if one != other:
                return first_difference(f"{path}.{field}", one, other)
    return path, left, right


def _order(point: Point) -> tuple[float, str, float, str]:
    load = point.offered_rps if point.offered_rps is not None else point.achieved_rps
    return (load, point.load_kind, point.concurrency or 0.0, point.point_id)
