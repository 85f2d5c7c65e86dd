"""Where a target would be missed in open loop is foreseen from closed loops, and joins what little is measured."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterable, Sequence

import numpy as np
import pytest

from giq.catalog.use_cases import Lengths
from giq.curve import Curve, Distribution, Point, Requests, Target, capacity
from giq.curve.completions import Turns
from giq.curve.foresight import foreseen
from giq.curve.point import Expected, Foreseen
from giq.curve.stand_in import Limits, StandIn
from giq.documents import replace
from giq.units import NS_PER_S
from giq.workload import ClosedLoad, OpenLoad, Stop, Workload, make_schedule
from tests.curve.conftest import columns

LIMITS = Limits(sequences=64)
SERVER = StandIn(0.02, 2e-4, 1e-7, 4e-5, LIMITS)
WORKLOAD = Workload(
    input_tokens=Lengths(distribution="lognormal", mean=160, spread=0.7, minimum=4, maximum=1024),
    output_tokens=Lengths(distribution="lognormal", mean=100, spread=0.7, minimum=4, maximum=1024),
)
SLOTS = 32
LATER_S = 0.03
"""What a request of this server spends before its scheduler sees it."""
TARGETS = (Target("ttft", 0.2), Target("tpot", 0.026), Target("latency", 6.0, "p95"))

MakePoint = Callable[..., Point]
MakeCurve = Callable[[Iterable[Point]], Curve]
Same = Callable[..., Distribution]
TTFT = Target("ttft", 0.3)


def answered(n: int, seed: int) -> Requests:
    """*n* requests, 32 in flight, as a server of the stand-in's kind answers them a little later."""
    schedule = make_schedule(WORKLOAD, ClosedLoad(concurrency=SLOTS), Stop(requests=n), seed)
    first, last = SERVER.answers_in_turn(SLOTS, schedule.input_tokens, schedule.output_tokens)
    sent = np.concatenate([np.zeros(SLOTS), np.sort(last)])[:n] - LATER_S
    sent_ns, first_ns, last_ns = (np.rint((of + LATER_S) * NS_PER_S).astype(np.int64) for of in (sent, first, last))
    return dataclasses.replace(
        columns(sent_ns, first_ns, last_ns, 2),
        requested_input_tokens=schedule.input_tokens.astype(np.int64),
        requested_output_tokens=schedule.output_tokens.astype(np.int64),
        output_tokens=schedule.output_tokens.astype(np.int64),
    )


def percentile(target: Target, rate: float) -> float:
    """That of *target* when the server is sent 20,000 requests at *rate*."""
    schedule = make_schedule(WORKLOAD, OpenLoad(rate_rps=rate), Stop(requests=20_000), 7)
    assert schedule.arrival_ns is not None
    sent = schedule.arrival_ns / NS_PER_S
    first, last = SERVER.answers(sent, schedule.input_tokens, schedule.output_tokens)
    if target.metric == "tpot":
        return float(np.percentile((last - first) / (schedule.output_tokens - 1), target.percent))
    return float(np.percentile((first if target.metric == "ttft" else last) - sent + LATER_S, target.percent))


@pytest.mark.parametrize("target", TARGETS, ids=str)
def test_what_is_foreseen_is_where_open_loops_miss(target: Target) -> None:
    """At a fifth less than the rate foreseen the target is met, at a fifth more it is missed."""
    (told,) = foreseen(answered(6 * SLOTS, 3), Turns(SLOTS, WORKLOAD), [target], LIMITS)

    assert told.target == target.key
    assert percentile(target, 0.8 * told.rate_rps) <= target.seconds < percentile(target, 1.2 * told.rate_rps)


def test_nothing_is_foreseen_of_what_no_rate_meets_or_few_requests_tell() -> None:
    """A TTFT below what a request alone has, and a loop of 30 requests, tell nothing."""
    turns, many = Turns(SLOTS, WORKLOAD), answered(6 * SLOTS, 3)
    assert foreseen(many, turns, [Target("ttft", 0.04)], LIMITS) == ()
    assert foreseen(answered(30, 3), turns, TARGETS, LIMITS) == ()
    assert foreseen(many, turns, [Target("itl", 0.05)], LIMITS) == ()


def closed(make_point: MakePoint, slots: int, achieved: float, rate: float) -> Point:
    """A short rung that foresees that the TTFT is missed from *rate* on."""
    told = (Foreseen(target=TTFT.key, rate_rps=rate),)
    known = {"concurrency": float(slots), "run_id": "r", "flags": ("TOO_FEW",), "foreseen": told}
    return make_point("closed", achieved, point_id=f"closed-{slots}", **known)


def opened(make_point: MakePoint, same: Same, rate: float, ttft: float, error: float, flags: Sequence[str]) -> Point:
    """An open loop whose TTFT in the long run is known to a factor of e to the *error*."""
    width = math.exp(1.645 * error)
    expected = Expected(target=TTFT.key, value_s=ttft, lo_s=ttft / width, hi_s=ttft * width)
    told = {"ttft_scheduled": same(ttft, ttft / width, ttft * width), "expected": (expected,)}
    return make_point("open", rate, run_id="r", flags=tuple(flags), **told)


def test_without_an_open_loop_the_capacity_is_what_is_foreseen(make_point: MakePoint, make_curve: MakeCurve) -> None:
    """Of two rungs that one counts which completed about what it foresees; the interval is wide, the reason tells."""
    found = capacity(make_curve([closed(make_point, 8, 1.0, 9.0), closed(make_point, 32, 4.0, 5.0)]), [TTFT])

    assert found.rate is not None
    assert found.rate.lo is not None
    assert found.rate.hi is not None
    assert found.rate.value == 5.0
    assert found.rate.lo < 3.0
    assert found.rate.hi > 8.0
    assert "foreseen from closed loops" in found.reason


def test_open_loops_bound_what_is_foreseen(make_point: MakePoint, make_curve: MakeCurve, same: Same) -> None:
    """Where a short open loop met the target, the capacity lies above it whatever is foreseen."""
    met = opened(make_point, same, 6.0, 0.2, 0.05, ["TOO_FEW"])
    found = capacity(make_curve([closed(make_point, 32, 4.0, 5.0), met]), [TTFT])

    assert found.rate is not None
    assert [found.rate.value, found.rate.lo] == pytest.approx([6.0, 6.0])
    assert found.rate.hi == pytest.approx(8.9, rel=0.01)


@pytest.mark.parametrize(("error", "least", "most"), [(0.02, 3.3, 4.2), (0.6, 4.3, 5.5)])
def test_it_joins_a_crossing_that_is_known_badly(
    make_point: MakePoint, make_curve: MakeCurve, same: Same, error: float, least: float, most: float
) -> None:
    """Two open loops that cross at about 3.8 req/s stand where they are precise, and give way to 6 req/s else."""
    points = [opened(make_point, same, rate, ttft, error, ()) for rate, ttft in ((3.0, 0.24), (5.0, 0.4))]
    found = capacity(make_curve([*points, closed(make_point, 32, 4.0, 6.0)]), [TTFT])

    assert found.rate is not None
    assert least < found.rate.value < most


def test_a_miss_that_only_the_long_run_has_is_told(make_point: MakePoint, make_curve: MakeCurve, same: Same) -> None:
    """The lowest load met the target by chance but would not for long: it is named, with what it would have."""
    lucky = replace(opened(make_point, same, 2.0, 0.4, 0.02, ()), ttft_scheduled=same(0.28, 0.27, 0.29))
    found = capacity(make_curve([lucky]), [TTFT])

    assert found.status == "unmet"
    assert found.nearest_miss is not None
    assert found.nearest_miss.value.value == 0.4
