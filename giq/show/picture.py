"""What a picture of curves shows, before it is drawn on a terminal or in a file (pure)."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from giq.curve.capacity import capacity
from giq.curve.curve import Curve
from giq.curve.load_axis import LoadAxis, load_axis
from giq.curve.point import Estimate, Point
from giq.curve.saturation import saturation
from giq.curve.targets import Target, TargetMetric
from giq.recommend.requirement import workload_words
from giq.units import format_rate

TITLES: dict[str, str] = {"ttft": "TTFT", "itl": "ITL", "tpot": "TPOT", "ntpot": "NTPOT", "latency": "Latency"}
_MS = 1e3
_LOG_FROM = 30.0
_RANGES_FROM = 5.0


@dataclass(frozen=True)
class Mark:
    """One point: where it lies, its 90 % interval, whether it may be used, and whether a line goes through it.

    `y` is infinite where more requests failed than the percentile leaves out.
    """

    x: float
    y: float
    lo: float | None
    hi: float | None
    valid: bool
    closed: bool
    joined: bool


@dataclass(frozen=True)
class Bound:
    """A rate that is marked: saturation, or capacity at targets, with its interval; `reached` False: at least that."""

    name: Literal["saturation", "capacity"]
    rate: Estimate
    reached: bool

    def __str__(self) -> str:
        low, high = self.rate.lo, self.rate.hi
        at_least = "" if self.reached else "at least "
        value = format_rate(self.rate.value, "").strip()
        if not self.reached or low is None or high is None:
            return f"{self.name} {at_least}{value} req/s"
        return f"{self.name} {value} [{format_rate(low, '').strip()}, {format_rate(high, '').strip()}] req/s"


@dataclass(frozen=True)
class Series:
    """One curve in one panel; `index` says which of the picture's curves, for its colour and marker."""

    index: int
    marks: tuple[Mark, ...]
    bounds: tuple[Bound, ...] = ()


@dataclass(frozen=True)
class Panel:
    """One pair of axes; `limits` are horizontal lines (targets) with their words."""

    title: str
    x_label: str
    y_label: str
    series: tuple[Series, ...]
    limits: tuple[tuple[float, str], ...] = ()
    log_x: bool = False
    log_y: bool = False


@dataclass(frozen=True)
class CurveLabel:
    """What a curve is called in the legend, and whether it is estimated."""

    text: str
    estimated: bool


@dataclass(frozen=True)
class Picture:
    """Panels with what holds for all of them: a title, the lines below it, and a label for each curve."""

    title: str
    lines: tuple[str, ...]
    labels: tuple[CurveLabel, ...]
    panels: tuple[Panel, ...]


def picture_of(curves: Sequence[Curve], targets: Sequence[Target] = (), percentile: str = "p90") -> Picture:
    """Latency at the targets' percentile against rate, and throughput against requests in flight, of *curves*.

    Open-loop points lie at the rate offered, closed-loop ones at the rate they completed. Without targets TTFT and
    TPOT at *percentile* are shown.
    """
    shown: list[tuple[TargetMetric, str]] = [(target.metric, target.percentile) for target in targets]
    shown = list(dict.fromkeys(shown)) or [("ttft", percentile), ("tpot", percentile)]
    bounds = [tuple(_bounds(curve, targets)) for curve in curves]
    panels = [_latency_panel(curves, bounds, metric, name, targets) for metric, name in shown]
    return Picture(
        title=_title(curves),
        lines=tuple(_lines(curves)),
        labels=tuple(_label(curve, curves) for curve in curves),
        panels=(*panels, _throughput_panel(curves)),
    )


def _latency_panel(
    curves: Sequence[Curve],
    bounds: Sequence[tuple[Bound, ...]],
    metric: TargetMetric,
    percentile: str,
    targets: Sequence[Target],
) -> Panel:
    judged = Target(metric, 1.0, percentile)

    def value(point: Point) -> Estimate | None:
        found = judged.value(point)
        return None if found is None else _scaled(found, _MS)

    series = [
        Series(index, tuple(_marks(curve, _rate, value)), bounds[index]) for index, curve in enumerate(curves)
    ]  # fmt: skip
    limits = [
        (target.seconds * _MS, f"target {target.seconds * _MS:g} ms")
        for target in targets
        if (target.metric, target.percentile) == (metric, percentile)
    ]
    name = f"{percentile} {TITLES[metric]}"
    spread = _spreads([*(mark.y for one in series for mark in one.marks), *(limit for limit, _ in limits)])
    return Panel(
        f"{name} against rate", "requests/s per unit", f"{name} (ms)", tuple(series), tuple(limits), log_y=spread,
        log_x=_ranges_differ(series),
    )  # fmt: skip


def _throughput_panel(curves: Sequence[Curve]) -> Panel:
    series = [
        Series(index, tuple(replace(mark, joined=mark.valid) for mark in _marks(curve, _in_flight, _output)))
        for index, curve in enumerate(curves)
    ]
    spread = _spreads([mark.x for one in series for mark in one.marks])
    return Panel(
        "Output against requests in flight", "requests in flight", "output (tokens/s)", tuple(series), log_x=spread
    )


def _ranges_differ(series: Sequence[Series]) -> bool:
    """Whether one curve reaches rates so much higher than another that on a common axis the other is a line."""
    highest = [max(mark.x for mark in one.marks) for one in series if one.marks]
    return bool(highest) and max(highest) > _RANGES_FROM * min(highest) and min(highest) > 0


def _spreads(values: Sequence[float]) -> bool:
    """Whether *values* span so much that only a logarithmic axis shows them all."""
    known = [value for value in values if 0 < value < math.inf]
    return bool(known) and max(known) > _LOG_FROM * min(known)


def _output(point: Point) -> Estimate:
    return Estimate(value=point.output_tps)


def _in_flight(point: Point) -> float:
    return point.in_flight_mean


def _rate(point: Point) -> float:
    return point.achieved_rps if point.offered_rps is None else point.offered_rps


def _marks(curve: Curve, x: Callable[[Point], float], y: Callable[[Point], Estimate | None]) -> Iterator[Mark]:
    axis = load_axis(curve)
    for point in sorted(curve.points, key=lambda point: (x(point), point.point_id)):
        found = y(point)
        if found is not None and not math.isnan(found.value):
            yield Mark(
                x=x(point), y=found.value, lo=found.lo, hi=found.hi, valid=point.valid,
                closed=point.load_kind == "closed", joined=_is_joined(point, axis),
            )  # fmt: skip


def _is_joined(point: Point, axis: LoadAxis) -> bool:
    """Whether decisions rest on a point, so that the line goes through it."""
    return any(point is other for other in axis.points)


def _scaled(found: Estimate, factor: float) -> Estimate:
    return Estimate(
        value=found.value * factor,
        lo=None if found.lo is None else found.lo * factor,
        hi=None if found.hi is None else found.hi * factor,
    )


def _bounds(curve: Curve, targets: Sequence[Target]) -> Iterator[Bound]:
    stable = saturation(curve)
    if stable.rate is not None and stable.reached:
        yield Bound("saturation", stable.rate, True)
    found = capacity(curve, targets) if targets else None
    if found is not None and found.rate is not None:
        yield Bound("capacity", found.rate, found.status == "met")


def _title(curves: Sequence[Curve]) -> str:
    """The models and accelerators of the curves, and what they rest on."""
    models = sorted({curve.config.main.model for curve in curves})
    units = sorted({_unit(curve) for curve in curves})
    kinds = " / ".join(dict.fromkeys(_word(curve) for curve in curves))
    return f"{' / '.join(models)} on {' / '.join(units)}: {kinds}"


def _unit(curve: Curve) -> str:
    return f"{curve.config.main.accelerator} ×{curve.config.accelerators_total}"


def _lines(curves: Sequence[Curve]) -> Iterator[str]:
    """Server, workload, evidence, hardware, date and source, each once where the curves share it."""
    yield " / ".join(sorted({f"{curve.config.main.server} {curve.config.main.server_version}" for curve in curves}))
    yield from sorted({workload_words(curve.workload) for curve in curves})
    yield from dict.fromkeys(_evidence(curve) for curve in curves)


def _evidence(curve: Curve) -> str:
    known = [point.provenance for point in curve.points]
    dates = sorted({item.measured_at[:10] for item in known if item.measured_at})
    date = f", {dates[0]}" + (f" to {dates[-1]}" if len(dates) > 1 else "") if dates else ""
    sources = " / ".join(sorted({item.source for item in known}))
    return f"{_word(curve)}, hardware {known[0].hardware_source}{date}; source: {sources}"


def _word(curve: Curve) -> str:
    """The evidence; what is not measured stands out."""
    return "ESTIMATED, not measured" if curve.evidence == "estimated" else curve.evidence


def _label(curve: Curve, curves: Sequence[Curve]) -> CurveLabel:
    """What tells a curve from the others: its id, and every field of the unit in which they differ."""
    parts = [curve.curve_id[:8]]
    for name in ("model", "accelerator", "precision", "server_version"):
        if len({getattr(other.config.main, name) for other in curves}) > 1:
            parts.append(str(getattr(curve.config.main, name)))
    if len({other.config.accelerators_total for other in curves}) > 1:
        parts.append(f"×{curve.config.accelerators_total}")
    estimated = curve.evidence == "estimated"
    return CurveLabel(f"{', '.join(parts)}: {'ESTIMATED' if estimated else curve.evidence}", estimated)
