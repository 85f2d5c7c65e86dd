"""What is to be deployed: one row of a recommendation, with what is known of it."""

from __future__ import annotations

from giq.catalog.accelerators import Shape
from giq.catalog.catalog import Catalog
from giq.catalog.configuration import UNKNOWN, Component, ServingConfiguration, draws_weights
from giq.catalog.models import Weights
from giq.catalog.prices import Price, PricingModel
from giq.curve.point import Estimate, Evidence, HardwareSource
from giq.documents import Entry, Name, NonNegative, Positive, PositiveInt, replace
from giq.errors import UnknownNameError, UsageError
from giq.recommend.levels import Level
from giq.recommend.recommendation import Row
from giq.recommend.requirement import Requirement, workload_words


class LoadLevel(Entry, frozen=True, kw_only=True):
    """What the server's own metrics showed on the curve at one rate (requests/s per unit); None where unknown."""

    rate_rps: Positive
    running: NonNegative | None = None
    waiting: NonNegative | None = None
    kv_usage: NonNegative | None = None


class ServingChoice(Entry, frozen=True, kw_only=True):
    """One deployment unit on one machine, the curve it was chosen by, and how many are wanted.

    `weights_bytes` is None for a model outside the catalog. `capacity` is requests/s per unit within
    `targets` (words), None where they cannot be met, with `unmet_reason` then. `levels` are in order of
    rate, the last at capacity. `latency_p99_s` is at capacity. `source`, `workload` are words. `notes` say what
    was assumed.
    """

    config: ServingConfiguration
    weights_repository: Name
    weights_bytes: PositiveInt | None = None
    gated: bool = False
    shape: Shape
    curve_id: str
    evidence: Evidence
    hardware_source: HardwareSource
    calibration_id: str | None = None
    source: str | None = None
    measured_at: str | None = None
    workload: str | None = None
    targets: tuple[str, ...] = ()
    capacity: Estimate | None = None
    unmet_reason: str | None = None
    levels: tuple[LoadLevel, ...] = ()
    latency_p99_s: float | None = None
    replicas: PositiveInt = 1
    pricing_model: PricingModel = "on-demand"
    price: Price | None = None
    notes: tuple[str, ...] = ()


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
    return ServingChoice(
        config=_loading(row.config),
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
        levels=tuple(map(_level, (*row.levels, point))),
        latency_p99_s=point.metric("latency", "p99"),
        replicas=row.replicas or 1,
        pricing_model=requirement.pricing_model,
        price=row.price,
        notes=_assumed(part, weights),
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


def _loading(config: ServingConfiguration) -> ServingConfiguration:
    """*config* with its weights loaded, also where it was measured with random ones."""
    parts = [
        replace(part, engine_args={name: value for name, value in part.engine_args.items() if name != "load_format"})
        if draws_weights(part.engine_args)
        else part
        for part in config.components
    ]
    return replace(config, components=tuple(parts))


def _assumed(part: Component, weights: Weights | None) -> tuple[str, ...]:
    """What is taken for granted of the weights, for the user."""
    words = []
    if draws_weights(part.engine_args):
        words.append("measured with random weights; the manifest loads the published ones")
    if part.precision == UNKNOWN and weights is not None:
        words.append(
            "the precision of the measured server is not known; the weights are those served by default, "
            f"{weights.precision} of {weights.repository}"
        )
    return tuple(words)


def _level(level: Level) -> LoadLevel:
    """What the server's metrics show at one rate of the curve."""
    return LoadLevel(
        rate_rps=level.rate_rps,
        running=level.running_mean,
        waiting=level.waiting_mean,
        kv_usage=level.kv_usage_mean,
    )
