"""Which load to try next, for how long and how precisely: a pure function of the points so far."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

from giq.curve.holding import PLAINLY, RUNG_FACTOR, Bracket, Finished, Holding, Probe, SearchPlan
from giq.curve.monotone import NEAR, Crossing
from giq.curve.point import INVALIDATING, Point
from giq.curve.saturation import (
    backlogged,
    gain_per_doubling,
    levelling_off,
    past_saturation,
    saturation,
)
from giq.curve.target_crossing import (
    OF_WAITING,
    foreseen_rate,
    queue_guess,
    surely_over,
    target_crossing,
)
from giq.curve.targets import Target
from giq.units import format_rate, format_span
from giq.workload.workload import ClosedLoad, OpenLoad

FRACTIONS = (0.5, 0.7, 0.85, 0.95, 1.1)
"""Without targets: open-loop rates, as shares of the plateau that the closed loop found."""
WANTED = 0.06
"""Half-width of a capacity's 90 % interval, as a share of it, at which the search is content; where the curve is flat,
without what all points err by in common."""
BESIDE, FAR = 0.05, 0.12
"""As logarithms: so near a capacity one load must have been held, or one of two that lie on either side of it."""

_FIRST_RUNG = 8
_SECOND_SHARE, _RUNG_SHARE = 1.0, 0.35
"""Of what is left of a budget: what the second rung and a later one may take."""
_PLATEAU_GAIN = 0.03
_NEAR_GAIN = 0.25
_USE_TOLD, _OVERFULL = 0.3, 1.6
"""From which share of KV cache in use on it tells how many requests fill it, and by how much more they shall."""
_STEP_UP, _LEAST_STEP_UP, _STEP_DOWN, _FARTHEST = 1.25, 1.15, 0.9, 2.0
_CAREFUL = 0.7
_LOWEST_SHARE, _FEW = 0.02, 0.25
_DEEPER = 0.5
_FRACTION_BELOW, _WAY_UP, _MOST_BEYOND = 0.7, 0.6, 1.5
_FORESEEN = 0.95
_LOWEST_FIRST, _HIGHEST_FIRST = 0.05, (0.9, 0.8)
"""The first rate offered as a share of the plateau: at least, and at most without and with a budget."""
_FIRST, _TIGHT_FIRST, _TIGHT_DOWN = 0.8, 0.7, 0.75
_ASIDE = 1.05
_HIGHEST_SHARE = 1.1
_ONE_SIDE, _ENOUGH_NEAR = 1.3, 8
"""How much farther one end may be; and the loads near a crossing after which one more tells little."""
_AT_LIMIT, _LIMIT_POINTS = 0.995, 2
"""The highest rate that may be offered was held from this share of it on, and so often is enough."""
_USUAL_SLOPE = 1.0
_NOT_THE_SERVER = frozenset(INVALIDATING) - {"NOT_STEADY", "ERRORS", "TOO_FEW"}


def next_probe(points: Sequence[Point], plan: SearchPlan, spent_s: float = 0.0) -> Probe | Finished:
    """The next load point to measure; the order of *points* does not matter, and equal arguments give equal answers.

    *spent_s* of the plan's budget are gone.

    1. Closed-loop rungs 8, 32, 128 ... (by 2 where a doubling gains little, no more than surely fill the KV cache)
       until requests wait on the server, a doubling completes less than 3 % more, requests fail, or `max_concurrency`
       is reached. They tell the plateau.
    2. Open loop, where the decision lies: at the rate at which the rungs say that the first target is about to be
       missed; then wherever the curve through all points crosses that target's limit, as precisely as it takes.
       Half the lowest rate where all miss, a quarter more than the highest where all meet.
    3. Without targets: 0.5, 0.7, 0.85, 0.95 and 1.1 x the plateau, upwards, until one is past saturation.

    It ends when the capacity's interval is within 6 % of it on either side (without what all points err by in common),
    when no rate meets a target or all that may be offered do, or when points or budget are used up.
    """
    if len(points) >= plan.max_points:
        return Finished(f"{plan.max_points} load points were allowed, and all are measured")
    if spent_s >= plan.longest_s:
        known = "what is known so far stands, a --budget allows more"
        return Finished(f"{format_span(spent_s)} are spent, the most without a budget: {known}")
    return _Search(points, plan, spent_s).next()


class _Search:
    """The points so far and what follows from them."""

    def __init__(self, points: Sequence[Point], plan: SearchPlan, spent_s: float) -> None:
        self.known = Holding(sorted(points, key=lambda point: point.point_id), plan, plan.budget_s - spent_s)

    def next(self) -> Probe | Finished:
        """The next probe, cut to what is left of the budget."""
        if self.known.rungs and max(point.achieved_rps for point in self.known.rungs) <= 0:
            return Finished("no request succeeded")
        slots = self.next_rung()
        if slots is not None:
            return self.known.probe(ClosedLoad(concurrency=slots))
        return self.judged() if self.known.plan.targets else self.spread()

    def next_rung(self) -> int | None:
        """The concurrency of the next rung; None when the plateau is found."""
        if not self.known.rungs:
            return min(_FIRST_RUNG, self.known.plan.max_concurrency)
        last = self.known.rungs[-1]
        slots = int(last.concurrency or 1)
        if slots >= self.known.plan.max_concurrency or backlogged(last) or "ERRORS" in last.flags or self.known.opened:
            return None
        if len(self.known.points) >= self.known.plan.max_points // 2:
            return None
        gain = gain_per_doubling(self.known.rungs[-2], last) if len(self.known.rungs) > 1 else 1.0
        if gain < _PLATEAU_GAIN:
            return None
        if self.known.tight and any(
            _missed(last, target) for target in self.known.plan.targets if target.metric not in OF_WAITING
        ):
            return None
        factor = 2 if gain < _NEAR_GAIN and not self.known.tight else RUNG_FACTOR
        following = min(slots * factor, _overfilling(last), self.known.plan.max_concurrency)
        share = _RUNG_SHARE if len(self.known.rungs) > 1 or not self.known.tight else _SECOND_SHARE
        while following > slots and self.known.rung_s(following) > share * self.known.left_s:
            following //= 2
        return following if following >= (2 * slots if self.known.tight else slots + 1) else None

    def spread(self) -> Probe | Finished:
        """The next rate of a search without targets."""
        most, opened = self.known.most(), sorted(self.rates())
        over = self.overload()
        for share in FRACTIONS:
            rate = self.allowed(share * most)
            if not _has(opened, rate) and rate < over:
                return self.known.probe(OpenLoad(rate_rps=rate))
        higher = self.allowed(_STEP_UP * max(opened))
        if math.isinf(over) and not _has(opened, higher) and all(_usable(point) for point in self.known.opened):
            return self.known.probe(OpenLoad(rate_rps=higher))
        return Finished(self.told())

    def judged(self) -> Probe | Finished:
        """The next rate of a search for the capacity at targets."""
        if not self.known.opened:
            return self.known.probe(OpenLoad(rate_rps=self.allowed(self.first_rate())))
        curve = self.known.curve
        brackets = [Bracket(t, found) for t in self.known.plan.targets if (found := target_crossing(curve, t))]
        if not brackets:
            return self.known.probe(OpenLoad(rate_rps=self.allowed(_DEEPER * self.lowest())))
        first = min(brackets, key=lambda bracket: (not bracket.found.below, bracket.found.value, bracket.found.above))
        if first.found.below:
            crossed = [bracket.found.value for bracket in brackets if not (bracket.found.below or bracket.found.above)]
            return self.lower(first, min(crossed, default=math.inf))
        if first.found.above:
            return self.higher(first)
        return self.decided(first, [bracket for bracket in brackets if bracket.found.lo < first.found.hi])

    def decided(self, first: Bracket, rivals: Sequence[Bracket]) -> Probe | Finished:
        """The next rate where *first* is crossed first, but for one of *rivals*, which are all that may be."""
        lo, hi = min(one.found.lo for one in rivals), min(one.found.hi for one in rivals)
        limit = self.known.plan.max_rate_rps
        if first.found.value >= limit and sum(rate >= _AT_LIMIT * limit for rate in self.rates()) >= _LIMIT_POINTS:
            return self.limited()
        if _content(first.found, (lo, hi)) and self.near(first.found):
            return Finished(self.told(first, (lo, hi)))
        least = min(rivals, key=lambda one: (one.found.lo, one.found.value))
        aim = least if self.near(first.found) and _content(first.found, (first.found.lo, first.found.hi)) else first
        if all(self.how_often(one.found) >= _ENOUGH_NEAR for one in (first, aim)):
            return Finished(self.told(first, (lo, hi)))
        return self.known.probe(OpenLoad(rate_rps=self.allowed(min(_aimed(aim.found), self.careful()))), aim)

    def how_often(self, found: Crossing) -> int:
        """How many open loads were held near a crossing."""
        return sum(abs(apart) <= FAR for apart in self.apart(found))

    def careful(self) -> float:
        """Not so near saturation, while no load was, that a small error of it would take the next one there."""
        highest = max(self.rates())
        return max(highest, highest + _CAREFUL * (self.known.most() - highest))

    def near(self, found: Crossing) -> bool:
        """Whether open loads were held near a crossing: one beside it, or one on either side and not far."""
        apart = self.apart(found)
        nearest = min(map(abs, apart))
        return nearest <= BESIDE or (nearest <= FAR and min(apart) < 0 < max(apart))

    def apart(self, found: Crossing) -> list[float]:
        """How far each rate offered lies above a crossing, as a logarithm."""
        return [math.log(rate / found.value) for rate in self.rates()]

    def first_rate(self) -> float:
        """Where the first target is about to be missed, as far as the rungs tell."""
        most = self.known.most()
        if self.known.tight:
            most = levelling_off(self.known.curve) or _FARTHEST * most
        rate = min(self.missed_from(target, most) for target in self.known.plan.targets)
        return min(max(rate, _LOWEST_FIRST * most), _HIGHEST_FIRST[self.known.tight] * most)

    def missed_from(self, target: Target, most: float) -> float:
        """A little less than what the rungs let be foreseen as the target's crossing.

        Where they do not, or are too short for it: where their own values cross it, for a TTFT a share of *most*.
        """
        foreseen = None if self.known.tight else foreseen_rate(self.known.curve, target)
        if foreseen is not None:
            return _FORESEEN * foreseen
        told = [(p.achieved_rps, value.value) for p in self.known.rungs if (value := target.value(p)) is not None]
        waits = target.metric in OF_WAITING
        between = None if waits and self.known.tight else _between(sorted(told), target.seconds)
        if between is None and not waits and self.known.tight:
            between = _beyond(sorted(told), target.seconds)
        return between or (_TIGHT_FIRST if waits and self.known.tight else _FIRST) * most

    def lowest(self) -> float:
        """The lowest rate offered."""
        return min(self.rates())

    def lower(self, bracket: Bracket, others: float) -> Probe | Finished:
        """Below the lowest rate, which misses a target, and not above where *others* are; or no rate meets it."""
        rate, floor = self.lowest(), _LOWEST_SHARE * self.known.most()
        if rate < _FEW * self.known.most():
            alone = next((point for point in self.known.rungs if point.concurrency == 1), None)
            if alone is None:
                return self.known.probe(ClosedLoad(concurrency=1))
            value = bracket.target.value(alone)
            if value is not None and value.value > PLAINLY * bracket.target.seconds:
                return Finished(f"{bracket.target} is met at no rate: one request at a time already misses it")
        if rate <= 1.01 * floor:
            return Finished(f"{bracket.target} is met at no rate worth measuring")
        guess = min(self.guess(bracket.target, rate), (_TIGHT_DOWN if self.known.tight else _STEP_DOWN) * rate, others)
        return self.known.probe(OpenLoad(rate_rps=self.allowed(max(guess, floor))), bracket)

    def higher(self, bracket: Bracket) -> Probe | Finished:
        """Above the highest rate, which meets every target; or that is the plateau, or all that may be offered."""
        highest = max(
            (p.offered_rps or 0.0 for p in self.known.opened if (p.offered_rps or 0.0) < self.overload()), default=0.0
        )
        if highest == 0:
            return self.known.probe(OpenLoad(rate_rps=self.allowed(_STEP_DOWN * self.overload())), bracket)
        reached = saturation(self.known.curve).reached
        top = self.allowed(
            _HIGHEST_SHARE * self.known.most() if reached else _FARTHEST * max(self.known.most(), highest)
        )
        over = self.overload()
        if highest >= _AT_LIMIT * self.known.plan.max_rate_rps and len(self.known.opened) < 2:
            return self.known.probe(OpenLoad(rate_rps=self.allowed(_FRACTION_BELOW * highest)), bracket)
        if highest >= _AT_LIMIT * self.known.plan.max_rate_rps:
            return self.limited()
        if over <= 1.1 * highest or (highest >= 0.99 * top and math.isinf(over)):
            return Finished(f"every target is met up to saturation, {format_rate(self.known.most())}")
        upper = min(over, top * 1.0001)
        middle = highest + (upper - highest) * (0.5 if over < top else _WAY_UP)
        guess = min(self.guess(bracket.target, highest), middle if over < top or self.known.tight else top)
        least = 1.01 * highest if len(self.known.opened) < 2 else min(_LEAST_STEP_UP * highest, middle)
        rate = self.allowed(max(guess, least))
        return self.known.probe(OpenLoad(rate_rps=rate), bracket)

    def limited(self) -> Finished:
        """Every target is met up to what may be offered."""
        rate = format_rate(self.known.plan.max_rate_rps)
        return Finished(f"every target is met up to {rate}, the highest rate that may be offered")

    def rates(self) -> list[float]:
        """The rates offered."""
        return [point.offered_rps or 0.0 for point in self.known.opened]

    def overload(self) -> float:
        """The lowest rate offered that is past saturation; infinite where none is."""
        most = self.known.most()
        return min((p.offered_rps or 0.0 for p in self.known.opened if surely_over(p, most)), default=math.inf)

    def guess(self, target: Target, rate: float) -> float:
        """Where a usual slope from the point at *rate* leads, not too far from there."""
        queued = queue_guess(self.known.curve, target)
        if queued is not None:
            return min(max(queued, _DEEPER * rate), _FARTHEST * rate)
        values = [
            value.value for p in self.known.opened if p.offered_rps == rate and (value := target.value(p)) is not None
        ]
        if not values or not math.isfinite(max(values)):
            return _DEEPER * rate
        factor = math.exp(-math.log(max(values) / target.seconds) / _USUAL_SLOPE)
        return rate * (min(max(factor, _DEEPER), _STEP_DOWN) if factor < 1 else min(max(factor, 1.1), _STEP_UP))

    def allowed(self, rate: float) -> float:
        """*rate* with four digits, at most what may be offered."""
        return min(float(f"{rate:.4g}"), self.known.plan.max_rate_rps)

    def told(self, bracket: Bracket | None = None, ends: tuple[float, float] = (0.0, 0.0)) -> str:
        """What was found."""
        if bracket is None:
            return saturation(self.known.curve).reason
        found = bracket.found
        half = format_rate((ends[1] - ends[0]) / 2)
        return f"{bracket.target} is met up to {format_rate(found.value)} ± {half} (90 %), as precisely as is of use"


def _aimed(found: Crossing) -> float:
    """The crossing; once it is measured there, a little to the side on which it is known worse."""
    if found.distance > NEAR:
        return found.value
    up = found.hi / found.value > found.value / found.lo
    return found.value * (_ASIDE if up else 1 / _ASIDE)


def _content(found: Crossing, ends: tuple[float, float]) -> bool:
    """Whether an interval is as narrow as wanted, and neither end far off, but for the errors that all points share."""
    wanted = math.hypot(WANTED, found.shared) * found.value
    farthest = max(found.value - ends[0], ends[1] - found.value)
    return (ends[1] - ends[0]) / 2 <= wanted and farthest <= _ONE_SIDE * wanted


def _between(told: Sequence[tuple[float, float]], limit: float) -> float | None:
    """The rate at which the straight line between two rungs' reciprocals crosses *limit*; None where none does."""
    for (low, value), (high, above) in pairwise(told):
        if value <= limit < above and value > 0:
            return low + (high - low) * (1 / value - 1 / limit) / (1 / value - 1 / above)
    return 0.5 * told[0][0] if told and told[0][1] > limit else None


def _beyond(told: Sequence[tuple[float, float]], limit: float) -> float | None:
    """Where the reciprocals of the two highest rungs lead, at most half more than the last; None below two rungs."""
    if len(told) < 2:
        return None
    (low, value), (high, above) = told[-2:]
    if above <= value or high <= low:
        return _MOST_BEYOND * high
    falling = (1 / value - 1 / above) / (high - low)
    return min(high + (1 / above - 1 / limit) / falling, _MOST_BEYOND * high)


def _overfilling(rung: Point) -> int:
    """So many slots as surely fill the KV cache, as its use at *rung* tells: more would only wait."""
    used = rung.kv_usage_mean
    if used is None or used < _USE_TOLD:
        return RUNG_FACTOR * int(rung.concurrency or 1)
    return math.ceil(_OVERFULL * (rung.concurrency or 1.0) / used)


def _missed(point: Point, target: Target) -> bool:
    value = target.value(point)
    return value is not None and value.value > PLAINLY * target.seconds


def _usable(point: Point) -> bool:
    """Whether a point is the server's own doing and not past saturation."""
    return not past_saturation(point) and not any(flag in _NOT_THE_SERVER for flag in point.flags)


def _has(rates: Sequence[float], rate: float) -> bool:
    return any(math.isclose(rate, other, rel_tol=0.005) for other in rates)
