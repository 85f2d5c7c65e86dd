"""The whole question in one call: candidates, estimates where nothing is measured, and the ranking."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime

from giq.catalog.catalog import Catalog
from giq.curve.curve import Curve
from giq.errors import UnknownNameError
from giq.recommend.candidates import Candidates, candidate_configurations
from giq.recommend.estimates import Progress, estimate_curves, unmeasured
from giq.recommend.ranking import rank
from giq.recommend.recommendation import Recommendation
from giq.recommend.requirement import Requirement


def answer(
    stored: Sequence[Curve],
    requirement: Requirement,
    catalog: Catalog,
    progress: Progress | None = None,
    processes: int = 1,
    made: Iterable[Curve] = (),
) -> Recommendation:
    """Rank every unit of the catalog for *requirement*: by its *stored* curve, else by an estimate.

    No estimates are made where the requirement refuses them. A model outside the catalog is ranked by its
    stored curves alone. *processes* and *made* as in `estimate_curves`.

    Raises:
        UnknownNameError: an accelerator is not in the catalog.
        UsageError: no weights of the model are published in the precision asked for.
    """
    considered = _considered(requirement, catalog)
    wanted = unmeasured(considered.accepted, stored, requirement, catalog)
    refuses = requirement.evidence_floor not in (None, "estimated")
    asked = () if refuses else wanted
    estimated, impossible = estimate_curves(asked, requirement, catalog, progress, processes, made)
    notes = list(considered.notes)
    if refuses and wanted:
        notes.append(f"{len(wanted)} units without {requirement.evidence_floor} curves are left out, as asked")
    return rank(
        (*stored, *estimated),
        requirement,
        catalog,
        made_at=datetime.now(UTC).isoformat(timespec="seconds"),
        rejected=(*considered.rejected, *impossible),
        notes=notes,
    )


def _considered(requirement: Requirement, catalog: Catalog) -> Candidates:
    try:
        catalog.model(requirement.model)
    except UnknownNameError:
        return Candidates((), (), (f"{requirement.model} is not in the catalog: only measured curves of it count",))
    return candidate_configurations(requirement, catalog)
