"""Whether searches agree among themselves and with loads that were held after them (pure)."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import median

from giq.curve.capacity import Capacity
from giq.curve.point import INVALIDATING, Estimate, Point
from giq.curve.targets import Target
from giq.units import format_rate, format_seconds, format_share, format_span

SHARES = LOWER, UPPER = 0.85, 1.15
"""Shares of the capacity that are held: the one must meet the target and the other miss it."""
MOST_APART = 0.10
"""How far the highest capacity may lie above the lowest, as a share of it."""
STEEP = 2.0
"""Where the percentile grows by less than this from LOWER to UPPER, the target does not lie on the steep part."""
SAME_LOAD = 0.01
"""How far a load may be off its share of the capacity: it was chosen by the median that was known then."""


@dataclass(frozen=True)
class Found:
    """What one search came to: its capacity, its points, the seconds it took and why it stopped."""

    capacity: Capacity
    points: Sequence[Point]
    seconds: float
    stopped: str

    @property
    def rate(self) -> Estimate | None:
        """The capacity, where it is one and not a bound."""
        return self.capacity.rate if self.capacity.status == "met" else None


@dataclass(frozen=True)
class Finding:
    """One line of the table, and what does not hold of it."""

    words: str
    fault: str | None = None

    def __str__(self) -> str:
        return self.words + (f"\n    DOES NOT HOLD: {self.fault}" if self.fault else "")


def verdict(
    target: Target, searches: Mapping[str, Found | None], loads: Mapping[float, Point | None], light: Point | None
) -> list[Finding]:
    """What *searches* by their names, *loads* by their shares of the capacity and the *light* load say."""
    rates = [one.rate.value for one in searches.values() if one is not None and one.rate is not None]
    middle = median(rates) if rates else math.nan
    return [
        *(of_search(name, one) for name, one in searches.items()),
        of_spread(rates),
        *(of_load(target, share, point, middle) for share, point in loads.items()),
        of_slope(target, loads.get(LOWER), loads.get(UPPER)),
        of_light(target, light),
    ]


def held_name(share: float) -> str:
    """How the load at *share* of the capacity is called."""
    return f"held at {share * 100:.0f} %"


def of_search(name: str, found: Found | None) -> Finding:
    """What one search found, what it cost and why it stopped."""
    if found is None:
        return Finding(f"{name}: not measured", "it is missing")
    counted = Counter(flag for point in found.points for flag in point.flags)
    flags = ", ".join(f"{flag} {times}" for flag, times in sorted(counted.items())) or "none flagged"
    cost = f"{found.seconds:.0f} s, {len(found.points)} points ({flags})"
    words = f"{name}: capacity {ranged(found.rate, format_rate)}; {cost}; stopped because {found.stopped}"
    return Finding(words, None if found.rate else f"no capacity was found: {found.capacity.reason}")


def of_spread(rates: Sequence[float]) -> Finding:
    """How far the capacities are apart."""
    if len(rates) < 2:
        return Finding("spread: not known", "fewer than two searches found a capacity")
    apart = max(rates) / min(rates) - 1
    allowed = f"{MOST_APART * 100:g} % allowed"
    words = f"spread: the highest of {len(rates)} is {format_share(apart)} above the lowest ({allowed})"
    return Finding(words, None if apart <= MOST_APART else "the searches disagree")


def of_load(target: Target, share: float, point: Point | None, capacity_rps: float) -> Finding:
    """Whether a load beside the capacity does what it must."""
    name = held_name(share)
    if point is None:
        return Finding(f"{name}: not measured", "it is missing")
    words = f"{name}: {load_words(target, point)}: {judged(target, point)}"
    return Finding(words, load_fault(target, share, point, capacity_rps))


def load_fault(target: Target, share: float, point: Point, capacity_rps: float) -> str | None:
    """What speaks against a load, flags included that could turn what it says."""
    known, rate = target.value(point), point.offered_rps or math.nan
    if known is None:
        return "it has no such percentile"
    if not abs(rate / (share * capacity_rps) - 1) <= SAME_LOAD:
        return f"it is not that share of the median, {format_rate(capacity_rps)}"
    if (known.value <= target.seconds) != (share < 1):
        return "it must meet the target" if share < 1 else "it must miss the target"
    doubts = [flag for flag in point.flags if flag in INVALIDATING and flag not in harmless(point, known, target)]
    return f"not to be relied on: {', '.join(doubts)}" if doubts else None


def harmless(point: Point, known: Estimate, target: Target) -> Iterator[str]:
    """Flags that cannot turn whether the target is met.

    NOT_STEADY where it is missed: past saturation that is the answer. GENERATOR_LATE where requests were sent less
    late (p99) than the percentile, which counts from when they were due, is away from the limit.
    """
    delay, away = point.schedule_delay.p99, known.value - target.seconds
    if away > 0:
        yield "NOT_STEADY"
    if delay is not None and delay.value < abs(away):
        yield "GENERATOR_LATE"


def load_words(target: Target, point: Point) -> str:
    """A load in words, with the interval of its percentile, and its flags."""
    metric, flags = str(target).partition(" <= ")[0], ", ".join(point.flags) or "no flags"
    value = ranged(target.value(point), format_seconds)
    counted = f"{point.n_requests} requests in {format_span(point.window_s)}"
    if "GENERATOR_LATE" in point.flags and point.schedule_delay.p99 is not None:
        flags += f" (sent up to {format_seconds(point.schedule_delay.p99.value)} late, p99)"
    return f"{format_rate(point.offered_rps)}, {metric} {value}, {counted}, {flags}"


def judged(target: Target, point: Point) -> str:
    """Whether the target is met there, and whether the whole interval says so."""
    known = target.value(point)
    if known is None:
        return "neither met nor missed"
    low, high = known.lo or 0.0, known.hi or math.inf
    met = known.value <= target.seconds
    sure = high <= target.seconds if met else low > target.seconds
    return ("met" if met else "missed") + ("" if sure else ", though its interval reaches over the limit")


def of_slope(target: Target, lower: Point | None, upper: Point | None) -> Finding:
    """How steep the curve is from LOWER to UPPER."""
    ends = [None if point is None else target.value(point) for point in (lower, upper)]
    if ends[0] is None or ends[1] is None:
        return Finding("slope: not known", "a load is missing")
    times = ends[1].value / ends[0].value
    words = (
        f"slope: {times:.1f} times the percentile at {UPPER / LOWER:.2f} times the rate (at least {STEEP:g} is steep)"
    )
    return Finding(words, None if times >= STEEP else "the target does not lie on the steep part of the curve")


def of_light(target: Target, light: Point | None) -> Finding:
    """Where the limit lies beside what a light load has: for the reader alone."""
    known = None if light is None else target.value(light)
    if light is None or known is None:
        return Finding("light load: not measured")
    return Finding(
        f"light load: {load_words(target, light)}; the limit is {target.seconds / known.value:.1f} times that"
    )


def ranged(known: Estimate | None, shown: Callable[[float], str]) -> str:
    """A value with its 90 % interval, as *shown*."""
    if known is None:
        return "unknown"
    if known.lo is None or known.hi is None:
        return f"{shown(known.value)} [interval not known]"
    return f"{shown(known.value)} [{shown(known.lo)}, {shown(known.hi)}]"
