"""What is said beside a number: its evidence, what limits it, and what would settle a tie (pure words)."""

from __future__ import annotations

from collections import Counter

from giq.catalog.prices import Price
from giq.curve.capacity import Capacity, Miss
from giq.curve.curve import Curve
from giq.curve.point import INVALIDATING, Estimate, HardwareSource, Point
from giq.curve.saturation import Saturation
from giq.documents import Entry
from giq.recommend.recommendation import Row
from giq.recommend.requirement import Requirement
from giq.units import format_rate, format_seconds, format_share
from giq.workload.workload import Arrival, Workload


class Origin(Entry, frozen=True, kw_only=True):
    """What the usable points of a curve rest on, the weakest where they differ."""

    hardware_source: HardwareSource
    calibration_id: str | None = None
    measured_at: str | None = None


def origin(curve: Curve) -> Origin:
    """The origin of a curve: declared beats detected hardware, and the latest date is told."""
    facts = [point.provenance for point in curve.valid_points]
    sources = {fact.hardware_source for fact in facts}
    weakest = next(item for item in ("simulated", "declared", "published", "detected") if item in sources)
    calibrations = sorted({fact.calibration_id for fact in facts if fact.calibration_id})
    dates = [fact.measured_at for fact in facts if fact.measured_at]
    return Origin(
        hardware_source=weakest,
        calibration_id=", ".join(calibrations) or None,
        measured_at=max(dates, default=None),
    )


def evidence_note(curve: Curve, found: Origin) -> str:
    """What the curve rests on, in one line."""
    when = f" on {found.measured_at[:10]}" if found.measured_at else ""
    if curve.evidence == "estimated":
        calibration = f", calibration {found.calibration_id}" if found.calibration_id else ""
        return f"estimated by the simulated engine{calibration}; not measured"
    if curve.evidence == "published":
        sources = ", ".join(sorted({point.provenance.source for point in curve.valid_points}))
        return f"published{when}: {sources}"
    hardware = "hardware declared, not detected" if found.hardware_source == "declared" else "hardware detected"
    return f"measured{when}, {hardware}"


def unusable_note(points: tuple[Point, ...]) -> str | None:
    """How many points are left out and why, or None where all are used."""
    unusable = [point for point in points if not point.valid]
    if not unusable:
        return None
    reasons = Counter(flag for point in unusable for flag in point.flags if flag in INVALIDATING)
    said = ", ".join(f"{flag} ×{count}" for flag, count in sorted(reasons.items()))
    return f"{len(unusable)} of {len(points)} points not used ({said})"


def capacity_note(found: Capacity, stable: Saturation) -> str:
    """What limits the capacity, how many requests meet all targets there, and where the curve saturates."""
    words = [found.reason]
    if found.joint_attainment is not None:
        words.append(f"{format_share(found.joint_attainment)} of requests meet all targets at once")
    if stable.rate is None or not stable.reached:
        words.append("saturation was not reached")
    else:
        words.append(f"saturates at {format_rate(stable.rate.value)}")
    return "; ".join(words)


def miss_note(miss: Miss) -> str:
    """By how much the lowest load misses: `p90 TTFT 412 ms at 0.5 req/s, target 300 ms`."""
    name, _, limit = str(miss.target).partition(" <= ")
    return f"{name} {format_seconds(miss.value.value)} at {format_rate(miss.rate_rps)}, target {limit}"


def price_note(price: Price | None, requirement: Requirement) -> str | None:
    """That there is no price, or None."""
    if price is not None:
        return None
    return f"no price in {requirement.region} for {requirement.pricing_model}; not ranked"


def tie_note(row: Row, above: Row, requirement: Requirement) -> str:
    """That the costs of two rows cannot be told apart, and the measurement that would settle it."""
    command = profile_command(_less_certain(row, above), requirement)
    return f"cost not distinguishable from rank {above.rank}; to settle it: {command}"


def profile_command(row: Row, requirement: Requirement) -> str:
    """The `giq profile` command that measures a row's unit under the requirement's workload and targets."""
    part = row.config.main
    unit = part.topology or str(row.config.accelerators_total)
    words = [f"giq profile --model {requirement.model} --accelerator {part.accelerator}:{unit}"]
    words += _workload_flags(requirement.workload)
    percentiles = {target.percentile for target in requirement.targets}
    if len(percentiles) == 1:
        words += [f"--target-{target.metric} {target.seconds * 1e3:g}ms" for target in requirement.targets]
        words += [f"--percentile {percentile}" for percentile in percentiles - {"p90"}]
    return " ".join(words)


def _workload_flags(workload: Workload) -> list[str]:
    law = [] if workload.arrival == Arrival() else [f"--arrival {workload.arrival}"]
    if workload.use_case is not None:
        return [f"--use-case {workload.use_case}", *law]
    lengths = {"input": workload.input_tokens, "output": workload.output_tokens}
    fixed = [f"--{side}-tokens {item.mean:g}" for side, item in lengths.items() if item.distribution == "fixed"]
    return fixed + law


def _less_certain(row: Row, above: Row) -> Row:
    """The row whose measurement tells most: one not measured before one that is, then the wider capacity."""
    return max((above, row), key=lambda item: (item.evidence != "measured", _relative_width(item.capacity)))


def _relative_width(estimate: Estimate) -> float:
    if estimate.lo is None or estimate.hi is None or estimate.value <= 0:
        return float("inf")
    return (estimate.hi - estimate.lo) / estimate.value
