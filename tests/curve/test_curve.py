"""Curves hold points of one configuration, workload and evidence, in the order of their load."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import pytest

from giq.catalog.use_cases import Lengths
from giq.curve import Curve, Point, Provenance, curve_id, join
from giq.documents import replace
from giq.errors import IncompatibleError

MakePoint = Callable[..., Point]
MakeCurve = Callable[[Iterable[Point]], Curve]


def test_points_are_sorted_by_load(make_point: MakePoint, make_curve: MakeCurve) -> None:
    """Whatever the order given, points come by load, and equal loads by id."""
    points = [make_point("open", rate, point_id=name) for rate, name in [(4.0, "c"), (2.0, "b"), (2.0, "a")]]
    for order in (points, points[::-1]):
        assert [point.point_id for point in make_curve(order).points] == ["a", "b", "c"]


def test_valid_points_have_no_invalidating_flag(make_point: MakePoint, make_curve: MakeCurve) -> None:
    """Informing flags do not invalidate."""
    points = [make_point("open", 1.0, flags=("LENGTHS_DIFFER",)), make_point("open", 2.0, flags=("CLIENT_BOUND",))]
    assert [point.offered_rps for point in make_curve(points).valid_points] == [1.0]


def test_evidence_is_never_mixed(make_point: MakePoint, make_curve: MakeCurve) -> None:
    """A measured and an estimated point make no curve."""
    estimated = Provenance(evidence="estimated", hardware_source="simulated", source="the engine", giq_version="0")
    measured = make_point("open", 1.0)
    assert make_curve([measured]).evidence == "measured"
    with pytest.raises(IncompatibleError, match="evidence"):
        make_curve([measured, make_point("open", 2.0, provenance=estimated)])


def test_joining_keeps_all_points_and_the_identity(make_point: MakePoint, make_curve: MakeCurve) -> None:
    """Curves of one identity join into one with all their points."""
    one, other = make_curve([make_point("open", 1.0)]), make_curve([make_point("open", 2.0)])
    joined = join([other, one])
    assert [point.offered_rps for point in joined.points] == [1.0, 2.0]
    assert joined.curve_id == one.curve_id == curve_id(one.config, one.workload)


def test_joining_names_the_field_that_differs(make_point: MakePoint, make_curve: MakeCurve) -> None:
    """Another engine version, or other lengths, are refused with the field and both values."""
    one = make_curve([make_point("open", 1.0)])
    component = replace(one.config.main, server_version="0.24.0")
    versions = Curve(replace(one.config, components=(component,)), one.workload, one.points)
    longer = Curve(one.config, replace(one.workload, output_tokens=Lengths(mean=60)), one.points)
    more = Curve(replace(one.config, components=(component, component)), one.workload, one.points)
    cases: list[tuple[Curve, str, Any, Any]] = [
        (versions, "config.components[0].server_version", "unknown", "0.24.0"),
        (longer, "workload.output_tokens.mean", 50, 60),
        (more, "config.components", one.config.components, more.config.components),
    ]
    for other, field, left, right in cases:
        with pytest.raises(IncompatibleError) as caught:
            join([one, other])
        assert (caught.value.field, caught.value.left, caught.value.right) == (field, left, right)
        assert other.curve_id != one.curve_id
