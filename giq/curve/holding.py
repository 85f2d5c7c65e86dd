"""How long a load of a search is held, how precisely, and how it begins: from the points so far and the budget."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from giq.catalog.configuration import Component, ServingConfiguration
from giq.curve.curve import Curve
from giq.curve.ending import Goal
from giq.curve.monotone import Crossing
from giq.curve.point import Point
from giq.curve.realised import mean_lengths, prompt_share
from giq.curve.saturation import Saturation, backlogged, past_saturation, saturation
from giq.curve.targets import Target, requests_needed
from giq.documents import Entry
from giq.units import format_span
from giq.workload.warm_start import WarmStart
from giq.workload.workload import ClosedLoad, Load, OpenLoad, Stop, Workload

RUNG_FACTOR = 4
"""From one rung of concurrency to the next; near the plateau 2."""
LONGEST_S, SHORTEST_S = 1800.0, 4.0
BETWEEN_S = 1.0
"""What passes between two points: workers start, records are saved."""
PLAINLY = 1.1

_MOST_TURNS, _MOST_ALONE = 8, 40
_FIRST_SHARE, _RUNG_SHARE, _TIGHT_PROBES = 0.15, 0.35, 4
"""Of what is left of a budget: what the first rung and a later one may take, and how many probes share the rest."""
_HOPED, _RUNG_HOPED, _HOPED_FIRST = 2.0, 8.0, 20.0
"""A larger rung completes up to so many times more than the last, or than the first (with a budget, without)."""
_RUNG_TURNS, _TIGHT_TURNS = 2.0, 1.3
_RUNG_PRECISIONS = (0.4, 0.1)
"""Of the first rung, and of all later ones."""
_SHORT, _WORTH, _WORTHWHILE = 30, 2.0, 0.15
_FEWEST_BEGUN = 4
_DRAIN, _TIGHT_DRAIN, _SPARE = 2.0, 1.0, 1.7
_USUAL_SLOPE = 1.0
_SMALLEST_SLOPE, _LARGEST_SLOPE = 0.25, 25.0
_NEAR_PRECISION, _FAR_PRECISION = 0.15, 0.25
"""What is asked of a percentile as measured, as a share of the rate; without its chance it is known much better."""
_NEAR_LIVES, _FAR_LIVES, _NEAR_S = 7.0, 5.0, 20.0
_MOST_WAITED_S = 900.0
"""So long is waited for as many requests as a percentile asks for: at a hundredth of a request a second it is hours."""
_ENOUGH_S, _ENOUGH_LIVES = 60.0, 15.0
"""An open load is held no longer than the longer of these, unless its percentile asks for more requests."""


class SearchPlan(Entry, frozen=True, kw_only=True):
    """What a search is for and what it may cost.

    `budget_s` is wall time of the whole search, drains and what passes between points included; after `longest_s` of it
    no new load begins. `max_rate_rps` is the highest rate that may be offered.
    """

    targets: tuple[Target, ...] = ()
    workload: Workload
    max_concurrency: int = 1024
    max_points: int = 24
    max_rate_rps: float = math.inf
    budget_s: float = math.inf
    longest_s: float = math.inf


class Probe(Entry, frozen=True, kw_only=True):
    """The next load: held for at most `longest_s`, less where `goal` is reached before (`giq.curve.ending`).

    After `cut_s` the budget is gone: what is then still in flight is given up. An open load begins `warm`, with
    about as many requests as it keeps in flight.
    """

    load: Load
    longest_s: float
    cut_s: float
    goal: Goal
    warm: WarmStart | None = None

    @property
    def stop(self) -> Stop:
        """What ends it at the latest."""
        if isinstance(self.load, ClosedLoad):
            return Stop(duration_s=self.longest_s, requests=_MOST_TURNS * self.load.concurrency + _MOST_ALONE)
        return Stop(duration_s=self.longest_s)


class Finished(Entry, frozen=True):
    """The search is content, or may not go on: why, in plain words."""

    reason: str


@dataclass(frozen=True)
class Bracket:
    """What is known of one target: where it is crossed, and the highest and lowest rate measured around that."""

    target: Target
    found: Crossing


class Holding:
    """What the points so far say of how to hold the next load, with `left_s` of the budget left."""

    def __init__(self, points: Sequence[Point], plan: SearchPlan, left_s: float) -> None:
        self.points, self.plan, self.left_s = points, plan, left_s
        self.tight = math.isfinite(plan.budget_s)
        self.rungs = sorted((p for p in points if p.load_kind == "closed"), key=lambda p: p.concurrency or 1.0)
        self.opened = [p for p in points if p.load_kind == "open"]

    def rung_s(self, slots: int) -> float:
        """About how long a rung of so many slots takes at the least, with its drain."""
        return (self.turns + 1) * self.turn_s(slots)

    @property
    def turns(self) -> float:
        """How often every slot of a rung is used at the least."""
        return _TIGHT_TURNS if self.tight else _RUNG_TURNS

    def turn_s(self, slots: int) -> float:
        """About how long it takes until as many requests have ended as there are slots; 0 before the first rung."""
        if not self.rungs:
            return 0.0
        last = self.rungs[-1]
        hoped = _HOPED if len(self.rungs) > 1 else _RUNG_HOPED if self.tight else _HOPED_FIRST
        fastest = last.achieved_rps * min(slots / (last.concurrency or 1.0), hoped)
        return max(slots / fastest if fastest > 0 else math.inf, self.lifetime())

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

    def probe(self, load: Load, bracket: Bracket | None = None) -> Probe | Finished:
        """*load* with its goal, if enough of the budget is left for it and its drain."""
        tight = self.tight
        life_s = self.lifetime(load.rate_rps if isinstance(load, OpenLoad) else math.inf)
        if isinstance(load, ClosedLoad):
            drain_s = self.turn_s(load.concurrency)
            least_s, share = max(SHORTEST_S, self.turns * drain_s), _RUNG_SHARE if self.rungs else _FIRST_SHARE
        else:
            drain_s = (_TIGHT_DRAIN if tight else _DRAIN) * life_s
            needed = _SHORT if tight else _SPARE * requests_needed(self.plan.targets)
            least_s = max(SHORTEST_S, 2 * life_s + min(needed / load.rate_rps, _MOST_WAITED_S))
            share = 1 / self.probes_left(_WORTH * least_s + drain_s)
        room_s = self.left_s - drain_s - BETWEEN_S
        most_s = LONGEST_S if isinstance(load, ClosedLoad) else max(_ENOUGH_S, _ENOUGH_LIVES * life_s, least_s)
        if tight and not isinstance(load, ClosedLoad) and room_s >= _WORTHWHILE * self.plan.budget_s:
            least_s = min(least_s, room_s)  # a short look is better than none
        longest_s = min(most_s, max(share * self.left_s - drain_s - BETWEEN_S, least_s) if tight else room_s)
        if longest_s > room_s or room_s < least_s:
            spent = format_span(self.plan.budget_s - max(self.left_s, 0.0))
            return Finished(f"the budget is spent: {spent} of {format_span(self.plan.budget_s)}")
        warm = None if isinstance(load, ClosedLoad) else self.warm(load.rate_rps)
        goal = self.goal(load, bracket)
        return Probe(load=load, longest_s=longest_s, cut_s=self.left_s - BETWEEN_S, goal=goal, warm=warm)

    def probes_left(self, each_s: float) -> int:
        """How many open-loop probes of at least so many seconds the budget is shared out among; 1: all of it."""
        if not self.tight:
            return 1
        most = max(_TIGHT_PROBES - len(self.opened), 1)
        return min(max(int(self.left_s / (each_s + BETWEEN_S)), 1), most)

    def warm(self, rate: float) -> WarmStart | None:
        """The warm start of *rate*: what it keeps running, and how long the server takes for the prompts of those."""
        running = self.running(rate)
        share = prompt_share([point for point in self.points if point.load_kind == "closed"])
        means = mean_lengths(self.plan.workload)
        if running < _FEWEST_BEGUN or share is None or means is None:
            return None
        given = 1 + means[1] / 2 / means[0]  # what it was given by then is computed with its prompt
        return WarmStart(running, given * share * running / self.most())

    def running(self, rate: float) -> int:
        """About how many requests the server works on at *rate*, as the points so far say; 0 where it may not begin so.

        Between two points along the straight line of their logarithms, from the origin up to the first. A full server
        runs as many as it has places, whatever it completes: of points that complete as much the one that runs fewest
        counts.
        """
        workload = self.plan.workload
        if workload.conversation is not None or workload.arrival.law == "trace" or not workload.arrival.is_steady:
            return 0
        told = [
            (point.achieved_rps, point.in_flight_mean - (point.waiting_mean or 0.0))
            for point in self.points
            if point.in_flight_mean is not None and point.achieved_rps > 0
        ]
        told = sorted((completed, number) for completed, number in told if number > 0)
        if not told:
            return 0
        lowest, at_lowest = told[0]
        if rate <= lowest:
            return math.floor(at_lowest * rate / lowest)
        completed, numbers = (np.log(np.array(column)) for column in zip(*told, strict=True))
        return math.floor(math.exp(np.interp(math.log(rate), completed, np.minimum.accumulate(numbers[::-1])[::-1])))

    def lifetime(self, rate: float = math.inf) -> float:
        """About how long a request lives in seconds: the longest p90 known up to *rate*; 0 before any is."""
        found = []
        for point in self.points:
            lived, waited = point.latency.p90, point.ttft.p50
            if lived is not None and waited is not None and math.isfinite(lived.value):
                full = backlogged(point) or past_saturation(point)
                slower = full or point.achieved_rps > PLAINLY * rate
                found.append((slower, lived.value - (waited.value if full else 0.0)))
        below = [lived for slower, lived in found if not slower]
        if math.isinf(rate) or not below:
            return max((lived for _, lived in found), default=0.0)
        return max(below)

    def goal(self, load: Load, bracket: Bracket | None) -> Goal:
        """What *load* is held for."""
        means = mean_lengths(self.plan.workload)
        if isinstance(load, ClosedLoad):
            return Goal(precision=_RUNG_PRECISIONS[min(len(self.rungs), 1)], mean_lengths=means)
        slope = bracket.found.slope if bracket is not None and bracket.found.slope is not None else _USUAL_SLOPE
        slope = min(max(slope, _SMALLEST_SLOPE), _LARGEST_SLOPE)
        near = bracket is not None and not (bracket.found.below or bracket.found.above)
        return Goal(
            targets=self.plan.targets,
            precision=slope * (_NEAR_PRECISION if near else _FAR_PRECISION),
            margin=0.3 if near else 0.2,
            lifetimes=_NEAR_LIVES if near else _FAR_LIVES,
            least_s=_NEAR_S if near and not self.tight else 0.0,
        )
