"""Annotations that lead from a manifest back to the curve and its evidence."""

from __future__ import annotations

from giq import __version__
from giq.curve.point import Estimate
from giq.manifest.choice import ServingChoice
from giq.units import format_rate, format_usd

DOMAIN = "giq.dev"
PREDICTED = "These numbers are predicted by giq's simulated engine, not measured on this hardware."


def curve_annotations(choice: ServingChoice) -> dict[str, str]:
    """What the choice rests on: curve, evidence, where and when measured, capacity, price; without those unknown."""
    known = {
        "curve-id": choice.curve_id,
        "config-id": choice.config.config_id,
        "evidence": choice.evidence,
        "hardware": choice.hardware_source,
        "calibration": choice.calibration_id,
        "source": choice.source,
        "measured-at": choice.measured_at,
        "workload": choice.workload,
        "capacity": _capacity_words(choice),
        "price": _price_words(choice),
        "giq-version": __version__,
        "note": PREDICTED if choice.evidence == "estimated" else None,
    }
    return {f"{DOMAIN}/{name}": text for name, text in known.items() if text is not None}


def _capacity_words(choice: ServingChoice) -> str:
    within = " and ".join(choice.targets) or "no latency target"
    if choice.capacity is None:
        return f"none within {within}"
    return f"{format_rate(choice.capacity.value)} per replica{_interval(choice.capacity)} within {within}"


def _interval(value: Estimate) -> str:
    if value.lo is None or value.hi is None:
        return ""
    return f" (90 % interval {format_rate(value.lo)} to {format_rate(value.hi)})"


def _price_words(choice: ServingChoice) -> str | None:
    price = choice.price
    if price is None:
        return None
    return (
        f"{format_usd(price.usd_per_hour)}/h per replica ({choice.shape.machine_type}, {price.region}, "
        f"{price.pricing_model}; {price.source.title}, {price.source.date})"
    )
