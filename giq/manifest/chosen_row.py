"""From a recommendation's row to what is to be deployed."""

from __future__ import annotations

from giq.catalog.catalog import Catalog
from giq.catalog.configuration import UNKNOWN
from giq.catalog.models import Weights
from giq.errors import UnknownNameError, UsageError
from giq.manifest.choice import LoadLevel, ServingChoice
from giq.recommend.recommendation import Row
from giq.recommend.requirement import Requirement, workload_words


def choice_of(row: Row, requirement: Requirement, catalog: Catalog) -> ServingChoice:
    """The choice that *row* of the answer to *requirement* stands for.

    Raises:
        UsageError: GKE has no machine for it, or no weights of its precision are published.
    """
    part = row.config.main
    if row.shape is None:
        raise UsageError(
            f"GKE has no machine with {part.accelerator} ×{row.config.accelerators_total}",
            hint="Choose another row with --rank.",
        )
    weights, gated = _weights(part.model, part.precision, catalog)
    point = row.operating_point
    level = LoadLevel(
        rate_rps=row.capacity.value,
        running=point.running_mean,
        waiting=point.waiting_mean,
        kv_usage=point.kv_usage_mean,
    )
    return ServingChoice(
        config=row.config,
        weights_repository=weights.repository if weights else part.model,
        weights_bytes=weights.bytes if weights else None,
        gated=gated,
        shape=row.shape,
        curve_id=row.curve_id,
        evidence=row.evidence,
        hardware_source=row.hardware_source,
        calibration_id=row.calibration_id,
        source=f"load points {', '.join(point.point_ids)}",
        measured_at=row.measured_at,
        workload=workload_words(requirement.workload),
        targets=tuple(map(str, requirement.targets)),
        capacity=row.capacity,
        levels=(level,),
        latency_p99_s=point.metric("latency", "p99"),
        replicas=row.replicas or 1,
        pricing_model=requirement.pricing_model,
        price=row.price,
    )


def _weights(name: str, precision: str, catalog: Catalog) -> tuple[Weights | None, bool]:
    """The weights to serve and whether they are gated; None for a model outside the catalog."""
    try:
        model = catalog.model(name)
    except UnknownNameError:
        return None, False
    found = model.weights[0] if precision == UNKNOWN else model.weights_for(precision)
    if found is None:
        known = ", ".join(item.precision for item in model.weights)
        raise UsageError(f"no {precision} weights of {model.name} are in the catalog", hint=f"There are: {known}.")
    return found, model.gated
