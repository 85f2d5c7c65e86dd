"""When a load point that runs has seen enough: a pure function of the answers so far."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from giq.curve.intervals import batch_count, batch_labels, distribution, pool
from giq.curve.latencies import latencies
from giq.curve.point import Estimate
from giq.curve.requests import NULL, Requests
from giq.curve.targets import Target, requests_needed
from giq.curve.window import Window, begun_warm, choose_window
from giq.curve.work import work_done
from giq.documents import Entry
from giq.units import NS_PER_S
from giq.workload.workload import ClosedLoad, Load, OpenLoad

FIRST_LOOK_S = 4.0
LOOK_FACTOR = 1.15
"""A point is looked at after FIRST_LOOK_S and then each time it has lasted so much longer."""

_SPARE = 1.15
_FILLED = 6.0
LEAST_REQUESTS = 10
"""Answers before which nothing is judged."""

_FEWEST_TURNS, _MOST_TURNS = 2.0, 5.0
_BEHIND_SHARE = 0.05
_SURE = 3.0
_SERVED = 0.95
_Z90 = 1.645


class Goal(Entry, frozen=True, kw_only=True):
    """What a load point is held for; where all is reached it may end before its time.

    `precision` is the half-width of the 90 % interval that is asked of the logarithm of the percentile of each of
    `targets`, or in a closed loop of the throughput. `margin` is how far the whole interval must lie from the limit,
    as a logarithm, for the point to be plainly good or bad: no more precision is then needed. Open loop is held for so
    many `lifetimes` (the p90 of latency) at least, since before that it is all warm-up, and precision counts only
    after `least_s`.
    """

    targets: tuple[Target, ...] = ()
    precision: float = 0.1
    margin: float = 0.4
    lifetimes: float = 5.0
    least_s: float = 0.0
    least_requests: int = LEAST_REQUESTS
    mean_lengths: tuple[float, float] | None = None


@dataclass(frozen=True)
class Ended:
    """The point may end: why."""

    reason: str


def next_look(elapsed_s: float) -> float:
    """When to look again at a point that has lasted so long."""
    return max(FIRST_LOOK_S, elapsed_s * LOOK_FACTOR)


def seen_enough(requests: Requests, sent: int, now_ns: int, load: Load, goal: Goal) -> Ended | None:
    """Whether the point has seen enough; None: go on.

    *requests* are those that have ended, of *sent* so far; *now_ns* is the time on their clock.

    An open-loop point ends when it is plainly past saturation (in flight grows for sure), when a target is plainly
    missed, or when each is plainly met or known as precisely as wanted. A closed-loop one ends when every slot has
    turned over twice and its throughput is known.
    """
    if len(requests) < goal.least_requests:
        return None
    if isinstance(load, ClosedLoad):
        return _closed(requests, now_ns, load, goal)
    return _open(requests, sent, now_ns, load, goal)


def _closed(requests: Requests, now_ns: int, load: ClosedLoad, goal: Goal) -> Ended | None:
    begun, ends = int(requests.sent_ns.min()), np.sort(requests.end_ns[requests.end_ns != NULL])
    if len(ends) < _FEWEST_TURNS * load.concurrency:
        return None
    if len(ends) >= max(_MOST_TURNS * load.concurrency, goal.least_requests):
        return Ended("every slot was used often enough")
    start = int(ends[load.concurrency - 1])
    lived = float(np.median(requests.end_ns - requests.sent_ns))
    if now_ns - start < lived or now_ns - begun < 2 * lived:
        return None
    known = Window(start, _known_until(requests, now_ns), True, "so far", "sent")
    done = None if goal.mean_lengths is None else work_done(requests, known, goal.mean_lengths)
    if done is not None and done.rate.hi is not None:
        half = (done.rate.hi - done.rate.value) / done.rate.value if done.rate.value > 0 else math.inf
    else:
        half = _Z90 / math.sqrt(max(int((ends >= start).sum()), 1))
    return Ended(f"the throughput is known to {half:.1%}") if half <= goal.precision else None


def _known_until(requests: Requests, now_ns: int) -> int:
    """Up to when the tokens that the server made are known: those of requests that have not ended are not told yet."""
    made = (requests.first_token_ns != NULL) & (requests.last_token_ns != NULL)
    served = (requests.last_token_ns - requests.first_token_ns)[made]
    return now_ns - round(float(np.quantile(served, _SERVED))) if len(served) else now_ns


def _open(requests: Requests, sent: int, now_ns: int, load: OpenLoad, goal: Goal) -> Ended | None:
    begun = int(requests.scheduled_ns.min())
    span, lives = now_ns - begun, requests.end_ns - requests.scheduled_ns
    early = np.argsort(requests.scheduled_ns, kind="stable")[: max(goal.least_requests, len(requests) // 5)]
    if begun_warm(requests):  # those that were begun half-way tell no whole life
        early = early[requests.scheduled_ns[early] > begun]
    filled = len(early) > 0 and span > _FILLED * float(
        np.median(lives[early])
    )  # later ones may have waited in a backlog
    if filled and (over := _overloaded(sent, requests, begun, now_ns, load)) is not None:
        return over
    if span < goal.lifetimes * float(np.quantile(lives, 0.9)) or len(requests) < requests_needed(goal.targets):
        return None
    window = choose_window(requests, load)
    chosen = np.flatnonzero(window.holds(requests.scheduled_ns))
    if len(chosen) < _SPARE * requests_needed(goal.targets):
        return None
    found = [_value(requests, chosen, target) for target in goal.targets]
    return _judged(found, goal, window.seconds)


def _overloaded(sent: int, requests: Requests, begun: int, now_ns: int, load: OpenLoad) -> Ended | None:
    """Whether much less was completed over the later two thirds than arrived: what is behind is still in flight."""
    start = begun + (now_ns - begun) // 3
    arrived = load.rate_rps * (now_ns - start) / NS_PER_S
    behind = arrived - int((requests.end_ns >= start).sum())
    surely = behind > _BEHIND_SHARE * arrived + _SURE * math.sqrt(max(arrived, 1.0))
    if surely and sent - len(requests) > behind / 2:
        return Ended("plainly past saturation: what arrives is not completed")
    return None


def _value(requests: Requests, chosen: NDArray[np.intp], target: Target) -> Estimate | None:
    values = getattr(latencies(requests), target.judged("open") if target.metric != "itl" else "tpot")[chosen]
    count = batch_count(len(chosen)) or 1
    labels = batch_labels(len(chosen), count)
    found = distribution(pool(values, labels, np.zeros(count, dtype=np.int64)), intervals=count > 1, grid=False)
    return found.at(target.percentile)


def _judged(found: Sequence[Estimate | None], goal: Goal, seconds: float) -> Ended | None:
    known = []
    for value, target in zip(found, goal.targets, strict=True):
        if value is None or value.lo is None or value.hi is None or value.lo <= 0:
            return None
        low, high = math.log(value.lo / target.seconds), math.log(value.hi / target.seconds)
        if low > goal.margin:
            return Ended(f"{target} is plainly missed")
        known.append(high < -goal.margin or ((high - low) / 2 <= goal.precision and seconds >= goal.least_s))
    if not known or not all(known):
        return None
    return Ended("every target is plainly met, or known as precisely as wanted")
