"""One curve under one requirement: a row with its cost, or a rejection with its nearest miss (pure)."""

from __future__ import annotations

from dataclasses import dataclass, replace

from giq.catalog.accelerators import Shape
from giq.catalog.catalog import Catalog
from giq.catalog.prices import Price
from giq.curve.capacity import Capacity, capacity
from giq.curve.curve import Curve
from giq.curve.point import Estimate, Evidence
from giq.curve.saturation import saturation
from giq.recommend.candidates import known_accelerator, shape_of
from giq.recommend.cost import over_capacity, replica_hours, replicas_for, token_cost
from giq.recommend.eligible import rejection
from giq.recommend.levels import levels_below, operating_level, tokens_per_request
from giq.recommend.notes import (
    capacity_note,
    client_note,
    evidence_note,
    miss_note,
    origin,
    precision_note,
    price_note,
    unusable_note,
)
from giq.recommend.recommendation import Rejection, Row
from giq.recommend.requirement import Requirement
from giq.recommend.units import known_model


@dataclass(frozen=True)
class Bill:
    """What one unit carries in tokens a second, and what the units asked for cost; None where it cannot be known."""

    input_tps: float
    output_tps: float
    replicas: int | None
    shape: Shape | None
    price: Price | None = None
    usd_per_hour: Estimate | None = None
    usd_per_million_output: Estimate | None = None
    usd_per_million_input: Estimate | None = None


def judge(
    curve: Curve, requirement: Requirement, catalog: Catalog, superseded: tuple[Evidence, ...] = ()
) -> Row | Rejection:
    """Whether the unit of *curve* meets *requirement*, at which rate and at which cost.

    *superseded* is the weaker evidence on the same unit that was set aside; it is noted.
    """
    found = capacity(curve, requirement.targets, requirement.attainment)
    rate = found.rate
    if rate is None or rate.value <= 0:
        return _refused(curve, found)
    rests_on, stable = origin(curve), saturation(curve)
    point = operating_level(curve, rate.value)
    bill = _bill(curve, rate, requirement, catalog)
    notes = (
        evidence_note(curve, rests_on),
        capacity_note(found, stable),
        precision_note(curve, known_model(requirement.model, catalog)),
        unusable_note(curve.points),
        client_note(curve.valid_points, requirement.targets),
        *(f"{kind} evidence on the same unit is set aside" for kind in superseded),
        price_note(bill.price, requirement),
    )
    return Row(
        config=curve.config,
        curve_id=curve.curve_id,
        evidence=curve.evidence,
        hardware_source=rests_on.hardware_source,
        calibration_id=rests_on.calibration_id,
        measured_at=rests_on.measured_at,
        shape=bill.shape,
        capacity=rate,
        lower_bound=found.status == "met_beyond_range",
        limiting=None if found.limiting is None else str(found.limiting),
        joint_attainment=found.joint_attainment,
        saturation=stable.rate if stable.reached else None,
        input_tps=bill.input_tps,
        output_tps=bill.output_tps,
        operating_point=point,
        levels=levels_below(curve, point.rate_rps),
        replicas=bill.replicas,
        usd_per_hour=bill.usd_per_hour,
        usd_per_million_output=bill.usd_per_million_output,
        usd_per_million_input=bill.usd_per_million_input,
        price=bill.price,
        notes=tuple(note for note in notes if note is not None),
    )


def _refused(curve: Curve, found: Capacity) -> Rejection:
    miss = found.nearest_miss
    if miss is None:
        return rejection(curve, found.reason)
    shortfall = miss.value.value / miss.target.seconds - 1
    return rejection(curve, found.reason, miss_note(miss), shortfall if 0 < shortfall < float("inf") else None)


def _bill(curve: Curve, rate: Estimate, requirement: Requirement, catalog: Catalog) -> Bill:
    """The cost of the units that carry the rate asked for (without one: of one unit), and of tokens at capacity."""
    asked, spare = requirement.request_rate_rps, requirement.spare_replicas
    input_tps, output_tps = (rate.value * tokens for tokens in tokens_per_request(curve))
    bill = Bill(
        input_tps=input_tps,
        output_tps=output_tps,
        replicas=None if asked is None else replicas_for(asked, rate.value, spare),
        shape=shape_of(curve.config, requirement, catalog),
    )
    price = _price(curve, bill.shape, requirement, catalog)
    if price is None:
        return bill
    hourly = price.usd_per_hour
    tokens = token_cost(hourly, input_tps, output_tps, requirement.output_input_ratio)
    return replace(
        bill,
        price=price,
        usd_per_hour=Estimate(value=hourly) if asked is None else replica_hours(hourly, asked, rate, spare),
        usd_per_million_output=over_capacity(tokens.output, rate),
        usd_per_million_input=over_capacity(tokens.input, rate),
    )


def _price(curve: Curve, shape: Shape | None, requirement: Requirement, catalog: Catalog) -> Price | None:
    accelerator = known_accelerator(curve.config.main.accelerator, catalog)
    if accelerator is None or shape is None:
        return None
    return catalog.price(accelerator, shape, requirement.region, requirement.pricing_model)
