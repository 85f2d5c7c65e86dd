"""What is said beside a number: its evidence, what limits it, and what would settle a tie (pure words)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from decimal import Decimal

from giq.catalog.catalog import Catalog
from giq.catalog.configuration import UNKNOWN, draws_weights
from giq.catalog.models import Model
from giq.catalog.prices import Price
from giq.catalog.use_cases import Lengths
from giq.curve.capacity import Capacity, Miss
from giq.curve.client_error import COUNTS_SHARE
from giq.curve.curve import Curve
from giq.curve.point import INVALIDATING, Estimate, HardwareSource, Point
from giq.curve.saturation import Saturation
from giq.curve.targets import Target
from giq.documents import Entry
from giq.recommend.recommendation import Row
from giq.recommend.requirement import Requirement, workload_words
from giq.units import format_rate, format_seconds, format_share
from giq.workload.conversation import ThinkTime
from giq.workload.workload import Arrival, Sampling, Workload


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
        doubt = "; its intervals are wide: nothing near it was ever calibrated" if _prior_alone(found) else ""
        return f"estimated by the simulated engine{calibration}; not measured{doubt}"
    if curve.evidence == "published":
        sources = ", ".join(sorted({point.provenance.source for point in curve.valid_points}))
        return f"published{when}: {sources}"
    hardware = "hardware declared, not detected" if found.hardware_source == "declared" else "hardware detected"
    random = ", random weights" if draws_weights(curve.config.main.engine_args) else ""
    return f"measured{when}, {hardware}{random}"


def _prior_alone(found: Origin) -> bool:
    """Whether an estimate rests on physics alone, for which no published or measured point was ever fitted."""
    return found.calibration_id is None or found.calibration_id.startswith("prior-")


def precision_note(curve: Curve, model: Model | None) -> str | None:
    """That the precision of what was measured is only assumed, or None."""
    if curve.evidence != "measured" or curve.config.main.precision != UNKNOWN or model is None:
        return None
    served = model.weights[0].precision
    return f"precision of the measured server is not known; taken as the one served by default ({served})"


def unusable_note(points: tuple[Point, ...]) -> str | None:
    """How many points are left out and why, or None where all are used."""
    unusable = [point for point in points if not point.valid]
    if not unusable:
        return None
    reasons = Counter(flag for point in unusable for flag in point.flags if flag in INVALIDATING)
    said = ", ".join(f"{flag} ×{count}" for flag, count in sorted(reasons.items()))
    return f"{len(unusable)} of {len(points)} points not used ({said})"


def client_note(points: Sequence[Point], targets: Sequence[Target]) -> str | None:
    """That the client which measured adds as much as could decide a target, or None.

    Points are judged by the targets of their own run; those asked for here may be stricter.
    """
    shares = [
        (_client_error(point, target) / target.seconds, target)
        for point in points
        for target in targets
        if point.client_error_s is not None
    ]
    share, strictest = max(shares, key=lambda pair: pair[0], default=(0.0, None))
    if share <= COUNTS_SHARE:
        return None
    return f"the client's own error is up to {format_share(share)} of {strictest}: the capacity may be higher"


def _client_error(point: Point, target: Target) -> float:
    """The client's error bound in what *target* is about; a token's share of it where that is per token."""
    tokens = point.output_tokens_mean if target.metric in ("tpot", "ntpot") else 1.0
    return (point.client_error_s or 0.0) / max(1.0, tokens - (target.metric == "tpot"))


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


def tie_note(row: Row, above: Row, requirement: Requirement, catalog: Catalog) -> str:
    """That the costs of two rows cannot be told apart, and the measurement that would settle it."""
    settling = profile_command(_less_certain(row, above), requirement, catalog)
    return f"cost not distinguishable from rank {above.rank}; to settle it: {settling}"


def profile_command(row: Row, requirement: Requirement, catalog: Catalog) -> str:
    """The `giq profile` command that measures a row's unit under the requirement's workload and targets.

    Where options cannot say the workload and targets: in words what to measure.
    """
    part = row.config.main
    unit = f"{part.accelerator}:{part.topology or row.config.accelerators_total}"
    words = profile_words(requirement.workload, requirement.targets, catalog)
    if words is None:
        asked = f"{workload_words(requirement.workload)} with {', '.join(map(str, requirement.targets)) or 'no target'}"
        return f"measure {requirement.model} on {unit} under {asked}, which options of giq profile cannot say"
    return " ".join([f"giq profile --model {requirement.model} --accelerator {unit}", *words])


def profile_words(workload: Workload, targets: Sequence[Target], catalog: Catalog) -> list[str] | None:
    """*workload* and *targets* as options of `giq profile` and `giq recommend`, one word each.

    None where the options cannot say them: bounded lengths, a trace or a ramp, targets at several percentiles.
    """
    lengths, law = _lengths_options(workload, catalog), _arrival_options(workload.arrival)
    goals, shared = _target_options(targets), _sharing_options(workload)
    if lengths is None or law is None or shared is None or goals is None:
        return None
    if workload.sampling != Sampling() or workload.modality != "text":
        return None
    return [*lengths, *law, *shared, *goals]


def _lengths_options(workload: Workload, catalog: Catalog) -> list[str] | None:
    sides = workload.input_tokens, workload.output_tokens
    named = [item for item in catalog.use_cases if (item.input_tokens, item.output_tokens) == sides]
    if named:
        best = next((item for item in named if item.name == workload.use_case), named[0])
        return ["--use-case", best.name]
    ours, theirs = map(_length_text, sides)
    return None if ours is None or theirs is None else ["--input-tokens", ours, "--output-tokens", theirs]


def _length_text(lengths: Lengths) -> str | None:
    """Lengths as an option says them, like `uniform:64-512`; None for a distribution that none does."""
    low, high = lengths.minimum, lengths.maximum
    if lengths.distribution == "uniform":
        whole = high is not None and (lengths.mean, lengths.spread) == ((low + high) / 2, 0.0)
        return f"uniform:{low}-{high}" if whole else None
    if (low, high) != (1, None):
        return None
    mean, spread = _decimal(lengths.mean), _decimal(lengths.spread)
    if lengths.distribution != "fixed":
        return f"{lengths.distribution}:{mean},{spread}"
    return mean if lengths.mean == int(lengths.mean) and not lengths.spread else None


def _decimal(number: float) -> str:
    """The shortest exact decimal of *number*, without an exponent."""
    return f"{Decimal(repr(float(number))):f}".removesuffix(".0")


def _arrival_options(arrival: Arrival) -> list[str] | None:
    if arrival.law in ("trace", "ramp"):  # of another machine's file; of no use for a capacity
        return None
    if arrival.law == "gamma" and arrival.shape is not None:
        return ["--arrival", f"gamma:{_decimal(arrival.shape)}"]
    return [] if arrival == Arrival() else ["--arrival", arrival.law]


def _sharing_options(workload: Workload) -> list[str] | None:
    """Shared prefixes and conversations."""
    words = [] if workload.shared_prefix is None else ["--shared-prefix", str(workload.shared_prefix)]
    talk = workload.conversation
    if talk is None:
        return words
    turns = _length_text(talk.turns)
    pause = ["--think-time", str(talk.think)] if talk.think != ThinkTime() else []
    return None if turns is None else [*words, "--turns", turns, *pause]


def _target_options(targets: Sequence[Target]) -> list[str] | None:
    """One percentile holds for all options, and each metric has one."""
    percentiles = {target.percentile for target in targets}
    if len(percentiles) > 1 or len({target.metric for target in targets}) < len(targets):
        return None
    words = [
        word
        for target in targets
        for word in (f"--target-{target.metric}", f"{_decimal(float(f'{target.seconds * 1e3:.12g}'))}ms")
    ]
    return [*words, *(word for name in percentiles - {"p90"} for word in ("--percentile", name))]


def _less_certain(row: Row, above: Row) -> Row:
    """The row whose measurement tells most: one not measured before one that is, then the wider capacity."""
    return max((above, row), key=lambda item: (item.evidence != "measured", _relative_width(item.capacity)))


def _relative_width(estimate: Estimate) -> float:
    if estimate.lo is None or estimate.hi is None or estimate.value <= 0:
        return float("inf")
    return (estimate.hi - estimate.lo) / estimate.value
