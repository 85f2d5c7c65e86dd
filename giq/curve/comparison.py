"""Whether two curves really differ: load by load, and in capacity and saturation, with intervals."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import Literal

from giq.curve.capacity import capacity
from giq.curve.curve import Curve, first_difference
from giq.curve.load_axis import at_rate, load_axis
from giq.curve.point import Estimate, Point
from giq.curve.saturation import saturation
from giq.curve.targets import Target
from giq.documents import Entry, replace
from giq.errors import IncompatibleError
from giq.units import format_rate

Verdict = Literal["faster", "slower", "no difference shown", "cannot tell"]

ERROR_RATE = 0.1
"""The chance that any of the differences of one comparison is called real while none is."""
SAME_RATE = 1e-6
_NORMAL = NormalDist()
_Z90 = _NORMAL.inv_cdf(0.95)


class Difference(Entry, frozen=True, kw_only=True):
    """One thing compared: its value in A and in B, the ratio B / A with its 90 % interval, and what that says of B.

    `unit` is s, req/s or tok/s. `interpolated` tells that one of them was read off between measured rates.
    `faster` means that B serves better: a lower latency, a higher throughput or rate.
    """

    what: str
    load: str
    unit: Literal["s", "req/s", "tok/s"]
    a: Estimate | None
    b: Estimate | None
    ratio: Estimate | None
    interpolated: bool = False
    verdict: Verdict


class Comparison(Entry, frozen=True, kw_only=True):
    """Two curves side by side: where their configurations differ, and every difference.

    `settings` names each field that differs, with both values.
    """

    settings: tuple[tuple[str, str, str], ...]
    differences: tuple[Difference, ...]

    @property
    def differs(self) -> bool:
        """Whether any difference is real."""
        return any(item.verdict in ("faster", "slower") for item in self.differences)

    @property
    def can_tell(self) -> bool:
        """Whether anything could be compared."""
        return any(item.verdict != "cannot tell" for item in self.differences)


@dataclass(frozen=True)
class _Pair:
    """One thing before the verdict; `sense` is 1 where more is better, -1 where less is."""

    what: str
    load: str
    unit: Literal["s", "req/s", "tok/s"]
    sense: Literal[1, -1]
    a: Estimate | None
    b: Estimate | None
    interpolated: bool = False


def compare(a: Curve, b: Curve, targets: Sequence[Target] = (), percentile: str = "p90") -> Comparison:
    """How *b* differs from *a*, load point by load point, in capacity at *targets* (if any) and in saturation.

    Points of one load are compared directly; where rates differ, each valid point of the one is compared with
    the other read off at its rate, inside its measured range only. TTFT, TPOT and latency are compared at
    *percentile*, and in closed loop the output throughput, whose relative interval is that of the mean latency
    (Little's law at a fixed number in flight).

    The interval of a ratio is made from those of its two parts on the logarithmic scale, each side by itself
    (method of variance estimates recovery: Donner and Zou, "Closed-form confidence intervals for functions of the
    normal mean and standard deviation", Statistical Methods in Medical Research 21(4), 2012). Many things are
    compared at once: a difference is called real only by Holm's procedure ("A simple sequentially rejective multiple
    test procedure", Scandinavian Journal of Statistics 6, 1979), so that the chance of any false one is at most
    10 % in all. Intervals tell of one run; what changes from run to run is not in them.
    """
    pairs = [*_loads(a, b, percentile), *_rates(a, b, targets)]
    ratios = [_ratio(pair.a, pair.b) for pair in pairs]
    real = _holm([_chance(ratio) for ratio in ratios])
    found = tuple(_difference(*item) for item in zip(pairs, ratios, real, strict=True))
    return Comparison(settings=tuple(_settings(a, b)), differences=found)


def refuse_other_question(a: Curve, b: Curve) -> None:
    """Stop where two curves answer different questions: another model, or another workload.

    The name of a use case makes no difference; server, version, accelerator and precision are what one compares.

    Raises:
        IncompatibleError: names the first field that differs, and both values.
    """
    if a.config.main.model != b.config.main.model:
        raise IncompatibleError("model", a.config.main.model, b.config.main.model)
    ours, theirs = replace(a.workload, use_case=None), replace(b.workload, use_case=None)
    if ours.canonical() != theirs.canonical():
        raise IncompatibleError(*first_difference("workload", ours, theirs))


def _settings(a: Curve, b: Curve) -> Iterator[tuple[str, str, str]]:
    """Each field of the main component that differs, and the evidence, with both values as words."""
    for name in a.config.main.__struct_fields__:
        ours, theirs = getattr(a.config.main, name), getattr(b.config.main, name)
        if ours != theirs:
            yield name, _words(ours), _words(theirs)
    if a.workload.canonical() != b.workload.canonical():
        field, ours, theirs = first_difference("workload", a.workload, b.workload)
        yield field, _words(ours), _words(theirs)
    if a.points and b.points and a.evidence != b.evidence:
        yield "evidence", a.evidence, b.evidence


def _words(value: object) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{key}={item}" for key, item in sorted(value.items())) or "none"
    return "none" if value is None else str(value)


def _loads(a: Curve, b: Curve, percentile: str) -> Iterator[_Pair]:
    matched: set[float] = set()
    for ours, theirs in _same_load(a, b):
        matched |= {ours.offered_rps or 0.0, theirs.offered_rps or 0.0}
        yield from _points(ours, theirs, percentile)
    for rate in sorted(_rates_inside(a, b) - matched):
        yield from _between(a, b, rate, percentile)


def _same_load(a: Curve, b: Curve) -> Iterator[tuple[Point, Point]]:
    """The valid points of both that have one load; of several the first by id."""
    others = list(b.valid_points)
    seen: set[tuple[str, float]] = set()
    for point in a.valid_points:
        place = (point.load_kind, point.offered_rps or point.concurrency or 0.0)
        found = next((other for other in others if _is_same(point, other)), None)
        if found is not None and place not in seen:
            seen.add(place)
            yield point, found


def _is_same(point: Point, other: Point) -> bool:
    if point.load_kind != other.load_kind:
        return False
    if point.load_kind == "closed":
        return point.concurrency == other.concurrency
    ours, theirs = point.offered_rps or 0.0, other.offered_rps or 0.0
    return abs(ours - theirs) <= SAME_RATE * max(ours, theirs)


def _points(a: Point, b: Point, percentile: str) -> Iterator[_Pair]:
    load = format_rate(a.offered_rps) if a.load_kind == "open" else f"{a.concurrency:g} in flight"
    for metric, title in (("ttft", "TTFT"), ("tpot", "TPOT"), ("latency", "latency")):
        judged = [Target(metric, 1.0, percentile).value(point) for point in (a, b)]  # type: ignore[arg-type]
        yield _Pair(f"{percentile} {title}", load, "s", -1, judged[0], judged[1])
    if a.load_kind == "closed":
        yield _Pair("output", load, "tok/s", 1, _closed_output(a), _closed_output(b))


def _closed_output(point: Point) -> Estimate:
    mean = point.latency.mean
    if mean is None or mean.lo is None or mean.hi is None or mean.lo <= 0:
        return Estimate(value=point.output_tps)
    return Estimate(
        value=point.output_tps,
        lo=point.output_tps * mean.value / mean.hi,
        hi=point.output_tps * mean.value / mean.lo,
    )


def _rates_inside(a: Curve, b: Curve) -> set[float]:
    """The rates of either's axis that lie inside both ranges; none where one is of open and one of closed loop."""
    ours, theirs = load_axis(a), load_axis(b)
    if not ours.rates or not theirs.rates or not (ours.is_open and theirs.is_open):
        return set()
    low, high = max(ours.rates[0], theirs.rates[0]), min(ours.rates[-1], theirs.rates[-1])
    return {rate for rate in (*ours.rates, *theirs.rates) if low <= rate <= high}


def _between(a: Curve, b: Curve, rate: float, percentile: str) -> Iterator[_Pair]:
    for metric, title in (("ttft", "TTFT"), ("tpot", "TPOT"), ("latency", "latency")):
        target = Target(metric, 1.0, percentile)  # type: ignore[arg-type]
        ours, theirs = _read(a, target, rate), _read(b, target, rate)
        yield _Pair(f"{percentile} {title}", format_rate(rate), "s", -1, ours, theirs, interpolated=True)


def _read(curve: Curve, target: Target, rate: float) -> Estimate | None:
    """The judged percentile at *rate*, and its ends, each straight between its neighbours."""
    axis = load_axis(curve)

    def end(part: Callable[[Estimate], float | None]) -> float | None:
        values = [part(found) if (found := target.value(point)) else None for point in axis.points]
        return at_rate(axis.rates, values, rate)

    value = end(lambda found: found.value)
    return None if value is None else Estimate(value=value, lo=end(lambda x: x.lo), hi=end(lambda x: x.hi))


def _rates(a: Curve, b: Curve, targets: Sequence[Target]) -> Iterator[_Pair]:
    """Capacity at the targets, and saturation; a lower bound has no upper end."""
    if targets:
        ours, theirs = (_bounded(capacity(curve, targets).rate, curve, targets) for curve in (a, b))
        yield _Pair("capacity at the targets", "–", "req/s", 1, ours, theirs)
    reached = [saturation(curve) for curve in (a, b)]
    rates = [
        item.rate if item.reached or item.rate is None else replace(item.rate, hi=math.inf) for item in reached
    ]  # fmt: skip
    yield _Pair("saturation point", "–", "req/s", 1, rates[0], rates[1])


def _bounded(rate: Estimate | None, curve: Curve, targets: Sequence[Target]) -> Estimate | None:
    if rate is None or capacity(curve, targets).status != "met_beyond_range":
        return rate
    return replace(rate, lo=rate.value if rate.lo is None else rate.lo, hi=math.inf)


def _ratio(a: Estimate | None, b: Estimate | None) -> Estimate | None:
    """B / A with its 90 % interval; bounds None where a part has none."""
    if a is None or b is None or not (0 < a.value < math.inf and 0 < b.value < math.inf):
        return None
    value = b.value / a.value
    if a.lo is None or a.hi is None or b.lo is None or b.hi is None or a.lo <= 0 or b.lo <= 0:
        return Estimate(value=value)
    below = math.hypot(math.log(b.value / b.lo), _log(a.hi / a.value))
    above = math.hypot(_log(b.hi / b.value), math.log(a.value / a.lo))
    return Estimate(value=value, lo=value * math.exp(-below), hi=value * math.exp(above))


def _log(value: float) -> float:
    return math.inf if math.isinf(value) else math.log(value)


def _chance(ratio: Estimate | None) -> float | None:
    """The chance of a ratio at least so far from 1 if there were no difference, two-sided; None where unknown.

    The standard error is that of the side that faces 1.
    """
    if ratio is None or ratio.lo is None or ratio.hi is None:
        return None
    if ratio.value == 1:
        return 1.0
    if ratio.value > 1:
        width = math.log(ratio.value / ratio.lo) if ratio.lo > 0 else math.inf
    else:
        width = _log(ratio.hi / ratio.value)
    if width == 0:
        return 0.0
    return 2 * _NORMAL.cdf(-_Z90 * abs(math.log(ratio.value)) / width)


def _holm(chances: Sequence[float | None]) -> list[bool | None]:
    """Which of several differences are real, with a chance of at most ERROR_RATE that any of them is not."""
    real: list[bool | None] = [None if chance is None else False for chance in chances]
    known = sorted((chance, place) for place, chance in enumerate(chances) if chance is not None)
    for rank, (chance, place) in enumerate(known):
        if chance > ERROR_RATE / (len(known) - rank):
            break
        real[place] = True
    return real


def _difference(pair: _Pair, ratio: Estimate | None, real: bool | None) -> Difference:
    verdict: Verdict = "cannot tell" if real is None else "no difference shown"
    if real and ratio is not None:
        verdict = "faster" if (ratio.value > 1) == (pair.sense == 1) else "slower"
    return Difference(
        what=pair.what, load=pair.load, unit=pair.unit, a=pair.a, b=pair.b, ratio=ratio,
        interpolated=pair.interpolated, verdict=verdict,
    )  # fmt: skip
