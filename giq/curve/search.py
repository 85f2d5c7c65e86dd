"""Which load to try next, for how long and how precisely: a pure function of the points so far."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from giq.catalog.configuration import Component, ServingConfiguration
from giq.curve.curve import Curve
from giq.curve.ending import LEAST_REQUESTS, Goal
from giq.curve.monotone import NEAR, Crossing
from giq.curve.point import INVALIDATING, Point
from giq.curve.realised import mean_lengths
from giq.curve.saturation import Saturation, backlogged, gain_per_doubling, past_saturation, saturation
from giq.curve.target_crossing import ENOUGH, QUEUE_REQUESTS, least_value, surely_over, target_crossing
from giq.curve.targets import Target, requests_needed
from giq.documents import Entry
from giq.units import format_rate, format_span
from giq.workload.workload import ClosedLoad, Load, OpenLoad, Stop, Workload

FRACTIONS = (0.5, 0.7, 0.85, 0.95, 1.1)
"""Without targets: open-loop rates, as shares of the plateau that the closed loop found."""
WANTED = 0.06
"""Half-width of a capacity's 90 % interval, as a share of it, at which the search is content."""
RUNG_FACTOR = 8
"""From one rung of concurrency to the next; near the plateau 2."""
LONGEST_S, SHORTEST_S = 1800.0, 4.0
BETWEEN_S = 1.0
"""What passes between two points: workers start, records are saved."""

_PLATEAU_GAIN = 0.03
_NEAR_GAIN = 0.25
_STEP_UP, _STEP_DOWN = 1.25, 0.9
_LOWEST_SHARE = 0.02
_DEEPER = 0.5
_FRACTION_BELOW = 0.7
_PLAINLY = 1.1
_ASIDE = 1.05
_MOST_TURNS, _MOST_ALONE = 8, 40
_HIGHEST_SHARE = 1.1
_RUNG_SHARE, _PROBE_SHARE = 0.4, 0.4
_HOPED, _HOPED_FIRST = 2.0, 20.0
"""A larger rung completes up to so many times more than the last, or than one request at a time."""
_RUNG_LIVES, _FIRST_TIGHT, _ALONE = 3.0, 64, 4
_DRAIN, _SPARE = 2.0, 1.7
_USUAL_SLOPE = 1.0
_SMALLEST_SLOPE, _LARGEST_SLOPE = 0.25, 25.0
_SETTLING, _FEWEST_LIVES, _MOST_LIVES = 3.0, 5.0, 15.0
_Z90 = 1.645
_NOT_THE_SERVER = frozenset(INVALIDATING) - {"NOT_STEADY", "ERRORS", "TOO_FEW"}


class SearchPlan(Entry, frozen=True, kw_only=True):
    """What a search is for and what it may cost.

    `budget_s` is wall time of the whole search, drains and what passes between points included; `max_rate_rps` the
    highest rate that may be offered.
    """

    targets: tuple[Target, ...] = ()
    workload: Workload
    max_concurrency: int = 1024
    max_points: int = 24
    max_rate_rps: float = math.inf
    budget_s: float = math.inf


class Probe(Entry, frozen=True, kw_only=True):
    """The next load: held for at most `longest_s`, less where `goal` is reached before (`giq.curve.ending`).

    After `cut_s` the budget is gone: what is then still in flight is given up.
    """

    load: Load
    longest_s: float
    cut_s: float
    goal: Goal

    @property
    def stop(self) -> Stop:
        """What ends it at the latest."""
        if isinstance(self.load, ClosedLoad):
            return Stop(duration_s=self.longest_s, requests=_MOST_TURNS * self.load.concurrency + _MOST_ALONE)
        return Stop(duration_s=self.longest_s)


class Finished(Entry, frozen=True):
    """The search is content, or may not go on: why, in plain words."""

    reason: str


def next_probe(points: Sequence[Point], plan: SearchPlan, spent_s: float = 0.0) -> Probe | Finished:
    """The next load point to measure; the order of *points* does not matter, and equal arguments give equal answers.

    *spent_s* of the plan's budget are gone.

    1. Closed-loop rungs 1, 8, 64, 512 ... (by 2 where a doubling gains little) until requests wait on the server, a
       doubling completes less than 3 % more, requests fail, or `max_concurrency` is reached. They tell the plateau.
    2. Open loop, where the decision lies: at the rate at which the rungs say that the first target is about to be
       missed; then wherever the curve through all points crosses that target's limit, as precisely as it takes.
       Half the lowest rate where all miss, a quarter more than the highest where all meet.
    3. Without targets: 0.5, 0.7, 0.85, 0.95 and 1.1 x the plateau, upwards, until one is past saturation.

    It ends when the capacity's interval is within 6 % of it on either side, when no rate meets a target or all that
    may be offered do, or when points or budget are used up.
    """
    if len(points) >= plan.max_points:
        return Finished(f"{plan.max_points} load points were allowed, and all are measured")
    return _Search(points, plan, spent_s).next()


@dataclass(frozen=True)
class _Bracket:
    """What is known of one target: where it is crossed, and the highest and lowest rate measured around that."""

    target: Target
    found: Crossing


class _Search:
    """The points so far and what follows from them."""

    def __init__(self, points: Sequence[Point], plan: SearchPlan, spent_s: float) -> None:
        self.plan = plan
        self.left_s = plan.budget_s - spent_s
        self.tight = math.isfinite(plan.budget_s)
        self.points = sorted(points, key=lambda point: point.point_id)
        self.rungs = sorted((p for p in points if p.load_kind == "closed"), key=lambda p: p.concurrency or 1.0)
        self.opened = [p for p in points if p.load_kind == "open"]

    def next(self) -> Probe | Finished:
        """The next probe, cut to what is left of the budget."""
        if self.rungs and max(point.achieved_rps for point in self.rungs) <= 0:
            return Finished("no request succeeded")
        slots = self.next_rung()
        if slots is not None:
            return self.probe(ClosedLoad(concurrency=slots))
        return self.judged() if self.plan.targets else self.spread()

    def next_rung(self) -> int | None:
        """The concurrency of the next rung; None when the plateau is found."""
        if not self.rungs:
            return 1
        last = self.rungs[-1]
        slots = int(last.concurrency or 1)
        if slots >= self.plan.max_concurrency or backlogged(last) or "ERRORS" in last.flags or self.opened:
            return None
        if len(self.points) >= self.plan.max_points // 2:
            return None
        gain = gain_per_doubling(self.rungs[-2], last) if len(self.rungs) > 1 else 1.0
        if gain < _PLATEAU_GAIN:
            return None
        if self.tight and any(_missed(last, target) for target in self.plan.targets):
            return None
        factor = (_FIRST_TIGHT if slots == 1 else 4) if self.tight else 2 if gain < _NEAR_GAIN else RUNG_FACTOR
        following = min(slots * factor, self.plan.max_concurrency)
        while following > slots and self.rung_s(following) > _RUNG_SHARE * self.left_s:
            following //= 2
        return following if following > slots else None

    def rung_s(self, slots: int) -> float:
        """About how long a rung of so many slots takes at the least: two turns and its drain."""
        last = self.rungs[-1]
        hoped = _HOPED if len(self.rungs) > 1 else _HOPED_FIRST
        fastest = last.achieved_rps * min(slots / (last.concurrency or 1.0), hoped)
        return _RUNG_LIVES * max(slots / fastest if fastest > 0 else math.inf, self.lifetime())

    @property
    def curve(self) -> Curve:
        """The points as a curve; only its workload matters here."""
        nothing = ServingConfiguration(components=(Component(model="-", precision="-", accelerator="-"),))
        return Curve(nothing, self.plan.workload, tuple(self.points))

    def most(self) -> float:
        """The plateau, as far as it is known, in requests/s."""
        found: Saturation = saturation(self.curve)
        best = max([1e-6, *(point.achieved_rps for point in self.rungs)])
        return found.rate.value if found.reached and found.rate is not None else best

    def spread(self) -> Probe | Finished:
        """The next rate of a search without targets."""
        most, opened = self.most(), sorted(point.offered_rps or 0.0 for point in self.opened)
        over = self.overload()
        for share in FRACTIONS:
            rate = self.allowed(share * most)
            if not _has(opened, rate) and rate < over:
                return self.probe(OpenLoad(rate_rps=rate))
        higher = self.allowed(_STEP_UP * max(opened))
        if math.isinf(over) and not _has(opened, higher) and all(_usable(point) for point in self.opened):
            return self.probe(OpenLoad(rate_rps=higher))
        return Finished(self.told())

    def judged(self) -> Probe | Finished:
        """The next rate of a search for the capacity at targets."""
        if not self.opened:
            return self.probe(OpenLoad(rate_rps=self.allowed(self.first_rate())))
        curve = self.curve
        brackets = [_Bracket(t, found) for t in self.plan.targets if (found := target_crossing(curve, t))]
        if not brackets:
            return self.probe(OpenLoad(rate_rps=self.allowed(_DEEPER * self.lowest())))
        first = min(brackets, key=lambda bracket: (not bracket.found.below, bracket.found.value, bracket.found.above))
        if first.found.below:
            return self.lower(first)
        if first.found.above:
            return self.higher(first)
        rivals = [bracket for bracket in brackets if bracket.found.lo < first.found.hi]
        if all(_half_width(bracket.found) <= WANTED for bracket in rivals) and first.found.distance <= NEAR:
            return Finished(self.told(first))
        return self.probe(OpenLoad(rate_rps=self.allowed(_aimed(first.found))), first)

    def first_rate(self) -> float:
        """Where the rungs say that the first target is about to be missed; 0.8 of the plateau for a TTFT."""
        most, rates = self.most(), []
        for target in self.plan.targets:
            told = [(p.achieved_rps, value.value) for p in self.rungs if (value := target.value(p)) is not None]
            rates.append(_between(sorted(told), target.seconds) or 0.8 * most)
        return min(max(min(rates), 0.1 * most), 0.8 * most)

    def lowest(self) -> float:
        """The lowest rate offered."""
        return min(point.offered_rps or math.inf for point in self.opened)

    def lower(self, bracket: _Bracket) -> Probe | Finished:
        """Below the lowest rate, which misses a target; or no rate meets it."""
        rate, floor = self.lowest(), _LOWEST_SHARE * self.most()
        alone = next((point for point in self.rungs if point.concurrency == 1), None)
        value = None if alone is None else bracket.target.value(alone)
        if value is not None and value.value > 1.1 * bracket.target.seconds and rate < 0.25 * self.most():
            return Finished(f"{bracket.target} is met at no rate: one request at a time already misses it")
        if rate <= 1.01 * floor:
            return Finished(f"{bracket.target} is met at no rate worth measuring")
        return self.probe(OpenLoad(rate_rps=self.allowed(max(self.guess(bracket.target, rate), floor))), bracket)

    def higher(self, bracket: _Bracket) -> Probe | Finished:
        """Above the highest rate, which meets every target; or that is the plateau, or all that may be offered."""
        highest = max(
            (p.offered_rps or 0.0 for p in self.opened if (p.offered_rps or 0.0) < self.overload()), default=0.0
        )
        if highest == 0:
            return self.probe(OpenLoad(rate_rps=self.allowed(_STEP_DOWN * self.overload())), bracket)
        top = self.allowed(_HIGHEST_SHARE * self.most())
        over = self.overload()
        if highest >= 0.995 * self.plan.max_rate_rps and len(self.opened) < 2:
            return self.probe(OpenLoad(rate_rps=self.allowed(_FRACTION_BELOW * highest)), bracket)
        if highest >= 0.995 * self.plan.max_rate_rps:
            return Finished(f"every target is met up to {format_rate(highest)}, the highest rate that may be offered")
        if over <= 1.1 * highest or (highest >= 0.99 * top and math.isinf(over)):
            return Finished(f"every target is met up to saturation, {format_rate(self.most())}")
        upper = min(over, top * 1.0001)
        guess = min(self.guess(bracket.target, highest), (highest + upper) / 2 if over < top else top)
        rate = self.allowed(max(guess, 1.01 * highest))
        return self.probe(OpenLoad(rate_rps=rate), bracket)

    def overload(self) -> float:
        """The lowest rate offered that is past saturation; infinite where none is."""
        most = self.most()
        return min((p.offered_rps or 0.0 for p in self.opened if surely_over(p, most)), default=math.inf)

    def guess(self, target: Target, rate: float) -> float:
        """Where a usual slope from the point at *rate* leads, not too far from there."""
        values = [value.value for p in self.opened if p.offered_rps == rate and (value := target.value(p)) is not None]
        if not values or not math.isfinite(max(values)):
            return _DEEPER * rate
        factor = math.exp(-math.log(max(values) / target.seconds) / _USUAL_SLOPE)
        return rate * (min(max(factor, _DEEPER), _STEP_DOWN) if factor < 1 else min(max(factor, 1.1), _STEP_UP))

    def allowed(self, rate: float) -> float:
        """*rate* with four digits, at most what may be offered."""
        return min(float(f"{rate:.4g}"), self.plan.max_rate_rps)

    def probe(self, load: Load, bracket: _Bracket | None = None) -> Probe | Finished:
        """*load* with its goal, if enough of the budget is left for it and its drain."""
        life_s, tight = self.lifetime(), self.tight
        if isinstance(load, ClosedLoad):
            drain_s = self.rung_s(load.concurrency) / _RUNG_LIVES if self.rungs else 0.0
            least_s, share = max(SHORTEST_S, 2 * drain_s), _RUNG_SHARE
        else:
            drain_s = _DRAIN * life_s
            least_s = max(SHORTEST_S, 2 * life_s + _SPARE * requests_needed(self.plan.targets) / load.rate_rps)
            share = _PROBE_SHARE
        room_s = self.left_s - drain_s - BETWEEN_S
        longest_s = min(LONGEST_S, max(share * self.left_s - drain_s, least_s) if tight else room_s)
        if longest_s > room_s or room_s < least_s:
            spent = format_span(self.plan.budget_s - max(self.left_s, 0.0))
            return Finished(f"the budget is spent: {spent} of {format_span(self.plan.budget_s)}")
        return Probe(load=load, longest_s=longest_s, cut_s=self.left_s - BETWEEN_S, goal=self.goal(load, bracket))

    def lifetime(self) -> float:
        """About how long a request lives in seconds: the longest p90 known; 0 before any is."""
        found = []
        for point in self.points:
            lived, waited = point.latency.p90, point.ttft.p50
            if lived is not None and waited is not None and math.isfinite(lived.value):
                found.append(lived.value - (waited.value if backlogged(point) else 0.0))
        return max(found, default=0.0)

    def goal(self, load: Load, bracket: _Bracket | None) -> Goal:
        """What *load* is held for."""
        means = mean_lengths(self.plan.workload)
        if isinstance(load, ClosedLoad):
            fine = load.concurrency > RUNG_FACTOR
            alone = _ALONE if load.concurrency == 1 and self.tight else LEAST_REQUESTS
            return Goal(precision=0.02 if fine else 0.08, mean_lengths=means, least_requests=alone)
        slope = bracket.found.slope if bracket is not None and bracket.found.slope is not None else _USUAL_SLOPE
        slope = min(max(slope, _SMALLEST_SLOPE), _LARGEST_SLOPE)
        near = bracket is not None and not (bracket.found.below or bracket.found.above)
        precision = slope * (0.05 if near else 0.1)
        return Goal(
            targets=self.plan.targets,
            precision=precision,
            margin=0.3 if near else 0.2,
            lifetimes=self.lifetimes(load.rate_rps, near=near),
            least_s=self.queue_s(bracket, load.rate_rps, precision) if bracket is not None and near else 0.0,
        )

    def lifetimes(self, rate: float, *, near: bool) -> float:
        """How many lifetimes *rate* is held for at least: close to saturation a server takes longer to settle.

        More in flight make each answer slower, which keeps more in flight: 1 / (1 - rho) lifetimes, about.
        """
        wanted = _SETTLING / max(1 - rate / self.most(), 0.05)
        return min(max(wanted, _FEWEST_LIVES), _MOST_LIVES if near else _MOST_LIVES / 2)

    def queue_s(self, bracket: _Bracket, rate: float, precision: float) -> float:
        """How long a queue must be watched until its percentile can be known so precisely (see `queue_error`)."""
        target, most = bracket.target, self.most()
        if target.metric not in ("ttft", "latency"):
            return 0.0
        waited = max(1 - least_value(self.curve, target) / target.seconds, 0.0)
        idle = max(1 - rate / most, 0.02)
        independent = min((waited * _Z90 / precision) ** 2, ENOUGH)
        return min(independent * QUEUE_REQUESTS / (idle**2 * most), LONGEST_S / 2)

    def told(self, bracket: _Bracket | None = None) -> str:
        """What was found."""
        if bracket is None:
            return saturation(self.curve).reason
        found = bracket.found
        half = format_rate((found.hi - found.lo) / 2)
        return f"{bracket.target} is met up to {format_rate(found.value)} ± {half} (90 %), as precisely as is of use"


def _aimed(found: Crossing) -> float:
    """The crossing; once it is measured there, a little to the side on which it is known worse."""
    if found.distance > NEAR:
        return found.value
    up = found.hi / found.value > found.value / found.lo
    return found.value * (_ASIDE if up else 1 / _ASIDE)


def _half_width(found: Crossing) -> float:
    return (found.hi - found.lo) / 2 / found.value


def _between(told: Sequence[tuple[float, float]], limit: float) -> float | None:
    """The rate at which the straight line between two rungs' logarithms crosses *limit*; None where none does."""
    for (low, value), (high, above) in pairwise(told):
        if value <= limit < above and value > 0:
            return low + (high - low) * math.log(limit / value) / math.log(above / value)
    return 0.5 * told[0][0] if told and told[0][1] > limit else None


def _missed(point: Point, target: Target) -> bool:
    value = target.value(point)
    return value is not None and value.value > _PLAINLY * target.seconds


def _usable(point: Point) -> bool:
    """Whether a point is the server's own doing and not past saturation."""
    return not past_saturation(point) and not any(flag in _NOT_THE_SERVER for flag in point.flags)


def _has(rates: Sequence[float], rate: float) -> bool:
    return any(math.isclose(rate, other, rel_tol=0.005) for other in rates)
