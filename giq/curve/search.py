"""Which load to try next: a pure function of the points so far."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from giq.curve.point import INVALIDATING, Point
from giq.curve.saturation import PLATEAU_GAIN, gain_per_doubling, past_saturation
from giq.curve.targets import Target
from giq.units import format_rate
from giq.workload.workload import ClosedLoad, Load, OpenLoad

FRACTIONS = (0.5, 0.7, 0.85, 0.95, 1.1)
"""Open-loop rates around the knee, as shares of the plateau that the closed loop found."""
RESOLUTION = 0.10
"""A capacity is bracketed when the rates that meet and miss a target are this close, as a share of the higher."""

_SLOW_GAIN = 0.10
_STEP_UP = 1.25
_LOWEST_SHARE = 0.1
_NOT_THE_SERVER = frozenset(INVALIDATING) - {"NOT_STEADY", "ERRORS"}


@dataclass(frozen=True, kw_only=True)
class SearchPlan:
    """What a search is for and what it may cost: most points in all, highest concurrency of a rung."""

    targets: tuple[Target, ...] = ()
    max_concurrency: int = 1024
    max_points: int = 16


@dataclass(frozen=True)
class Finished:
    """The search is content, or may not go on: why, in plain words."""

    reason: str


def next_load(points: Sequence[Point], plan: SearchPlan) -> Load | Finished:
    """The next load point to measure; the order of *points* does not matter, and equal arguments give equal answers.

    1. Closed-loop rungs 1, 2, 4, 8, ... until a doubling completes less than 5 % more, or less than 10 % more
       while a target on TTFT or TPOT is missed, or requests fail, or `max_concurrency` is reached. Room for half of
       `max_points`, at most the five of step 2, is kept.
    2. Open-loop rates of 0.5, 0.7, 0.85, 0.95 and 1.1 x the highest completion rate of the rungs, upwards, until one
       is past saturation; if none is, 1.25 x the highest and so on.
    3. For each target (without one: for staying stable) the middle between the highest rate that meets it
       below the lowest that misses it, until they are within 10 %; where all miss it, half of the lowest, but
       not below a tenth of the plateau.

    It ends when nothing of that is left, or after `max_points`.
    """
    if len(points) >= plan.max_points:
        return Finished(f"{plan.max_points} load points were allowed, and all are measured")
    rungs = sorted((point for point in points if point.load_kind == "closed"), key=_concurrency)
    if not rungs:
        return ClosedLoad(concurrency=1)
    if max(point.achieved_rps for point in rungs) <= 0:
        return Finished("no request succeeded")
    room = plan.max_points - min(len(FRACTIONS), plan.max_points // 2)
    if len(rungs) < room and not _knee_found(rungs, plan):
        return ClosedLoad(concurrency=min(2 * int(_concurrency(rungs[-1])), plan.max_concurrency))
    return _around_the_knee(rungs, [point for point in points if point.load_kind == "open"], plan)


def _concurrency(point: Point) -> float:
    return point.concurrency or 1.0


def _knee_found(rungs: Sequence[Point], plan: SearchPlan) -> bool:
    """Whether a higher rung would show nothing new."""
    last = rungs[-1]
    if _concurrency(last) >= plan.max_concurrency or "ERRORS" in last.flags:
        return True
    lower = next((point for point in reversed(rungs) if _concurrency(point) < _concurrency(last)), None)
    if lower is None:
        return False
    gain = gain_per_doubling(lower, last)
    judged = [target for target in plan.targets if target.metric in ("ttft", "tpot")]
    return gain < PLATEAU_GAIN or (gain < _SLOW_GAIN and any(_meets(last, target) is False for target in judged))


def _around_the_knee(rungs: Sequence[Point], opened: Sequence[Point], plan: SearchPlan) -> Load | Finished:
    plateau = max(point.achieved_rps for point in rungs)
    measured = {point.offered_rps or 0.0 for point in opened}
    overloads = [point.offered_rps or 0.0 for point in opened if past_saturation(point)]
    overload = min(overloads, default=math.inf)
    for fraction in FRACTIONS:
        rate = _rounded(fraction * plateau)
        if not _has(measured, rate) and rate < overload:
            return OpenLoad(rate_rps=rate)
    highest = _rounded(_STEP_UP * max(measured))
    if not overloads and any(_meets(point, None) for point in opened if point.offered_rps == max(measured)):
        return OpenLoad(rate_rps=highest)
    for target in plan.targets or (None,):
        wanted = _bisected(opened, target, plateau)
        if wanted is not None and not _has(measured, wanted):
            return OpenLoad(rate_rps=wanted)
    return Finished(_content(plan, opened))


def _bisected(opened: Sequence[Point], target: Target | None, plateau: float) -> float | None:
    """The rate that narrows the bracket around one target's capacity; None when it is narrow enough or open."""
    judged = [(point.offered_rps or 0.0, _meets(point, target)) for point in opened]
    missing = min((rate for rate, meets in judged if meets is False), default=None)
    if missing is None:
        return None
    meeting = max((rate for rate, meets in judged if meets and rate < missing), default=None)
    if meeting is None:
        half = _rounded(missing / 2)
        return half if half >= _LOWEST_SHARE * plateau else None
    return None if missing - meeting <= RESOLUTION * missing else _rounded((missing + meeting) / 2)


def _meets(point: Point, target: Target | None) -> bool | None:
    """Whether a point meets *target* (None: is stable); None where it cannot tell.

    A point past saturation meets nothing. One that is unsteady without that tells nothing, unless it misses.
    """
    if any(flag in _NOT_THE_SERVER for flag in point.flags):
        return None
    if past_saturation(point) or "ERRORS" in point.flags:
        return False
    if target is None:
        return None if "NOT_STEADY" in point.flags else True
    value = target.value(point)
    if value is None or (value.value <= target.seconds and "NOT_STEADY" in point.flags):
        return None
    return value.value <= target.seconds


def _content(plan: SearchPlan, opened: Sequence[Point]) -> str:
    """Why nothing is left to try."""
    overloads = [point.offered_rps or 0.0 for point in opened if past_saturation(point)]
    found = [f"the load is past saturation at {format_rate(min(overloads))}"] if overloads else []
    for target in plan.targets:
        judged = [(point.offered_rps or 0.0, _meets(point, target)) for point in opened]
        missing = min((rate for rate, meets in judged if meets is False), default=math.inf)
        meeting = max((rate for rate, meets in judged if meets and rate < missing), default=None)
        if meeting is None:
            found.append(f"{target} is met at no rate worth measuring")
        elif math.isinf(missing):
            found.append(f"{target} is met at every rate, up to {format_rate(meeting)}")
        else:
            found.append(f"{target} is met at {format_rate(meeting)} and missed at {format_rate(missing)}")
    return "; ".join(found) or "every load of the plan is measured"


def _rounded(rate: float) -> float:
    """*rate* to four significant digits: as it is printed and asked for again."""
    return float(f"{rate:.4g}")


def _has(measured: set[float], rate: float) -> bool:
    return any(math.isclose(rate, other, rel_tol=0.005) for other in measured)
