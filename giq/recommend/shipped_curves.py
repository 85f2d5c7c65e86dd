"""The curves that ship and bear on a requirement."""

from __future__ import annotations

from dataclasses import dataclass

from giq.curve.curve import Curve
from giq.recommend.requirement import Requirement
from giq.store.at_hand import shipped_estimates, shipped_published


@dataclass(frozen=True)
class ShippedCurves:
    """Published curves, and estimates that may spare a prediction: both of the workload that is asked for."""

    published: tuple[Curve, ...]
    estimates: tuple[Curve, ...]


def shipped_curves(requirement: Requirement) -> ShippedCurves:
    """Those for *requirement*; published ones are of any model.

    Raises:
        DataError: a file that ships is damaged.
    """
    workload_id = requirement.workload.workload_id
    return ShippedCurves(
        published=tuple(curve for curve in shipped_published() if requirement.asks_for(curve.workload)),
        estimates=tuple(shipped_estimates(requirement.model, {"workload_id": workload_id})),
    )
