"""Requirement × curves × prices -> a ranking with reasons (pure)."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

import giq
from giq.catalog.catalog import Catalog
from giq.curve.curve import Curve
from giq.curve.point import Estimate
from giq.documents import replace
from giq.recommend.eligible import STRENGTH, eligible
from giq.recommend.judgement import judge
from giq.recommend.notes import tie_note
from giq.recommend.recommendation import SCHEMA_VERSION, Recommendation, Rejection, Row
from giq.recommend.requirement import Requirement


def rank(
    curves: Iterable[Curve],
    requirement: Requirement,
    catalog: Catalog,
    made_at: str = "",
    rejected: Sequence[Rejection] = (),
    notes: Sequence[str] = (),
) -> Recommendation:
    """Rank the units of *curves* that meet *requirement* by cost; the order of the curves makes no difference.

    Without a request rate by USD per million output tokens at capacity, with one by USD per hour of whole
    replicas. A unit without a price is shown after the others and has no rank. *rejected* and *notes* are
    what was found before (units that do not fit); they are shown with what is rejected here. *made_at* is
    ISO 8601.
    """
    counting = eligible(curves, requirement, catalog)
    judged = [
        judge(curve, requirement, catalog, counting.superseded.get(curve.curve_id, ())) for curve in counting.curves
    ]
    meeting = [item for item in judged if isinstance(item, Row)]
    refused = [item for item in judged if isinstance(item, Rejection)]
    return Recommendation(
        schema_version=SCHEMA_VERSION,
        requirement=requirement,
        made_at=made_at,
        giq_version=giq.__version__,
        rows=_ranked(meeting, requirement, catalog),
        rejected=tuple(sorted((*rejected, *counting.rejected, *refused), key=_rejection_order)),
        notes=(*notes, *counting.notes),
        defaults=requirement.defaults_used(),
    )


def cost(row: Row, requirement: Requirement) -> Estimate | None:
    """What *row* is ranked by; None where it has no price."""
    return row.usd_per_million_output if requirement.request_rate_rps is None else row.usd_per_hour


def _ranked(rows: Iterable[Row], requirement: Requirement, catalog: Catalog) -> tuple[Row, ...]:
    def order(row: Row) -> tuple[float, float, int, int, str]:
        found = cost(row, requirement)
        by_token = row.usd_per_million_output
        return (
            math.inf if found is None else found.value,
            math.inf if by_token is None else by_token.value,
            -STRENGTH[row.evidence],
            row.config.accelerators_total,
            row.config.config_id,
        )

    ranked: list[Row] = []
    for row in sorted(rows, key=order):
        if cost(row, requirement) is None:
            ranked.append(row)
            continue
        placed = replace(row, rank=len(ranked) + 1)
        ranked.append(_with_tie(placed, ranked[-1], requirement, catalog) if ranked else placed)
    return tuple(ranked)


def _with_tie(row: Row, above: Row, requirement: Requirement, catalog: Catalog) -> Row:
    """*row*, tied with the one above where their costs' intervals overlap."""
    ours, theirs = cost(row, requirement), cost(above, requirement)
    if ours is None or theirs is None or not _overlap(ours, theirs):
        return row
    return replace(row, tie_with=above.rank, notes=(*row.notes, tie_note(row, above, requirement, catalog)))


def _overlap(one: Estimate, other: Estimate) -> bool:
    def bounds(item: Estimate) -> tuple[float, float]:
        return item.value if item.lo is None else item.lo, item.value if item.hi is None else item.hi

    return bounds(one)[0] <= bounds(other)[1] and bounds(other)[0] <= bounds(one)[1]


def _rejection_order(item: Rejection) -> tuple[float, str, int, str, str]:
    """Near misses first, the nearest of them at the top."""
    near = math.inf if item.shortfall is None else item.shortfall
    return near, item.accelerator, item.accelerators or 0, item.reason, item.curve_id or ""
