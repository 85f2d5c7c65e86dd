"""Which stored curves count for a requirement, and which of several on one unit speaks for it (pure)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from giq.catalog.catalog import Catalog
from giq.catalog.models import Model
from giq.curve.curve import Curve
from giq.curve.point import Evidence, Point
from giq.recommend.candidates import known_accelerator
from giq.recommend.recommendation import Rejection
from giq.recommend.requirement import Requirement, workload_words
from giq.recommend.units import known_model, same_unit, served_precision

STRENGTH: dict[Evidence, int] = {"measured": 2, "published": 1, "estimated": 0}
"""Which evidence speaks for a unit where there are several kinds."""


@dataclass(frozen=True)
class Eligible:
    """The curves to be judged, those refused beforehand, and what was set aside in words.

    `superseded` names by curve id the weaker evidence on the same unit and workload that was set aside.
    """

    curves: tuple[Curve, ...]
    rejected: tuple[Rejection, ...]
    notes: tuple[str, ...]
    superseded: dict[str, tuple[Evidence, ...]]


def eligible(curves: Iterable[Curve], requirement: Requirement, catalog: Catalog) -> Eligible:
    """Sort *curves* into those that answer *requirement* and those that do not.

    Curves of another model are ignored. One of another workload is only noted. Of several curves of one unit
    the strongest evidence with a usable point is kept, and an estimate makes way for a usable measurement of the
    same unit (`same_unit`). The order of *curves* makes no difference.
    """
    of_model = [curve for curve in curves if curve.points and requirement.is_of(curve.config.main.model, catalog)]
    fitting = [curve for curve in of_model if requirement.asks_for(curve.workload)]
    notes = {_other_workload(curve) for curve in of_model if not requirement.asks_for(curve.workload)}
    units: dict[str, list[Curve]] = {}
    for curve in fitting:
        units.setdefault(curve.config.config_id, []).append(curve)
    kept: list[Curve] = []
    rejected: list[Rejection] = []
    superseded: dict[str, tuple[Evidence, ...]] = {}
    for config_id in sorted(units):
        best, *weaker = sorted(_pooled(units[config_id]), key=_strength, reverse=True)
        reason = _refusal(best, requirement, catalog)
        if reason is not None:
            rejected.append(rejection(best, reason))
            continue
        kept.append(best)
        superseded[best.curve_id] = tuple(dict.fromkeys(item.evidence for item in weaker))
    left = _without_measured(kept, superseded, known_model(requirement.model, catalog))
    return Eligible(left, tuple(rejected), tuple(sorted(notes)), superseded)


def rejection(curve: Curve, reason: str, nearest_miss: str | None = None, shortfall: float | None = None) -> Rejection:
    """*curve* as a rejected pair."""
    return Rejection(
        accelerator=curve.config.main.accelerator,
        accelerators=curve.config.accelerators_total,
        config=curve.config,
        curve_id=curve.curve_id,
        evidence=curve.evidence,
        reason=reason,
        nearest_miss=nearest_miss,
        shortfall=shortfall,
    )


def unit_words(curve: Curve) -> str:
    """The unit of a curve for people: `nvidia-l4 ×1, bf16, vllm 0.20.1`."""
    part = curve.config.main
    return (
        f"{part.accelerator} ×{curve.config.accelerators_total}, {part.precision}, {part.server} {part.server_version}"
    )


def _refusal(curve: Curve, requirement: Requirement, catalog: Catalog) -> str | None:
    """Why *curve* is not even judged, or None."""
    part = curve.config.main
    known = known_accelerator(part.accelerator, catalog)
    name = part.accelerator if known is None else known.name
    if requirement.accelerators is not None and name not in requirement.accelerators:
        return f"not among the accelerators asked for ({', '.join(requirement.accelerators)})"
    precision = served_precision(part, known_model(requirement.model, catalog))
    if requirement.precision is not None and precision != requirement.precision:
        return f"its weights are {precision}; {requirement.precision} was asked for"
    floor = requirement.evidence_floor
    if floor is not None and STRENGTH[curve.evidence] < STRENGTH[floor]:
        return f"only {curve.evidence}; at least {floor} evidence was asked for"
    return None


def _without_measured(
    curves: Sequence[Curve], superseded: dict[str, tuple[Evidence, ...]], model: Model | None
) -> tuple[Curve, ...]:
    """*curves* without the estimates of units that one of them measured, which *superseded* then tells."""
    measured = [curve for curve in curves if curve.evidence == "measured" and curve.valid_points]
    left = []
    for curve in curves:
        same = [item for item in measured if same_unit(item.config, curve.config, model)]
        if curve.evidence != "estimated" or not same:
            left.append(curve)
            continue
        for item in same:
            superseded[item.curve_id] = tuple(dict.fromkeys((*superseded[item.curve_id], curve.evidence)))
    return tuple(left)


def _other_workload(curve: Curve) -> str:
    return (
        f"{unit_words(curve)}: {curve.evidence} for {workload_words(curve.workload)}, not for this workload; not used"
    )


def _pooled(curves: Sequence[Curve]) -> list[Curve]:
    """The curves of one unit and workload, one per kind of evidence, each point once.

    Estimates of several origins are not pooled, since they are no independent samples: the fullest one speaks.
    """
    kinds: dict[Evidence, list[Curve]] = {}
    for curve in curves:
        kinds.setdefault(curve.evidence, []).append(curve)
    pooled = []
    for evidence, group in kinds.items():
        chosen = [max(group, key=_strength)] if evidence == "estimated" else group
        first = min(chosen, key=lambda curve: curve.workload.canonical())
        points = {_point_key(point): point for curve in sorted(chosen, key=_strength) for point in curve.points}
        pooled.append(Curve(first.config, first.workload, tuple(points[key] for key in sorted(points))))
    return pooled


def _strength(curve: Curve) -> tuple[bool, int, int, tuple[tuple[str, str], ...]]:
    usable = len(curve.valid_points)
    names = tuple(sorted(map(_point_key, curve.points)))
    return usable > 0, STRENGTH[curve.evidence], usable, names


def _point_key(point: Point) -> tuple[str, str]:
    """What tells a point from all others: every run calls its points p001, p002 and so on."""
    return point.run_id or "", point.point_id
