"""Windows where something else than single requests comes and goes: conversations, and a rate that is not held."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from giq.catalog.use_cases import Lengths
from giq.curve import (
    Curve,
    Distribution,
    Estimate,
    Point,
    Requests,
    Target,
    capacity,
    choose_window,
    saturation,
)
from giq.curve.stays import Stays
from giq.documents import replace as changed
from giq.workload import Arrival, ClosedLoad, Conversation, OpenLoad, parse_arrival

TURNS, PAUSE_S, ANSWER_S = 4, 5.0, 1.0
LIFETIME_S = TURNS * ANSWER_S + (TURNS - 1) * PAUSE_S


def talking(columns: Callable[..., Requests], begun_s: NDArray[np.float64], until_s: float = np.inf) -> Requests:
    """Sessions that begin at these times, each of four turns with pauses of 5 s; no turn begins after *until_s*."""
    turns = np.arange(TURNS) * (ANSWER_S + PAUSE_S)
    scheduled = (begun_s[:, None] + turns).reshape(-1)
    kept = scheduled < until_s
    session = np.repeat(np.arange(len(begun_s)), TURNS)[kept]
    sent = np.rint(scheduled[kept] * 1e9).astype(np.int64)
    return replace(columns(sent, sent + round(ANSWER_S * 1e9)), session_id=session)


@pytest.fixture
def columns(queue: Callable[..., Requests]) -> Callable[..., Requests]:
    """Successful requests that fell due, and ended, at these times."""

    def made(scheduled_ns: NDArray[np.int64], end_ns: NDArray[np.int64]) -> Requests:
        like = queue(OpenLoad(rate_rps=1), len(scheduled_ns), 1, 1.0)
        return replace(like, scheduled_ns=scheduled_ns, sent_ns=scheduled_ns, end_ns=end_ns)

    return made


def test_a_session_is_one_stay(columns: Callable[..., Requests]) -> None:
    """It begins with its first turn, ends with its last, and succeeds if all of it does, in any order of rows."""
    requests = talking(columns, np.array([0.0, 2.0]))
    failed = replace(requests, outcome=np.where(np.arange(8) == 5, 1, requests.outcome).astype(np.int8))
    shuffled = np.random.default_rng(1).permutation(8)
    mixed: dict[str, Any] = {
        name: column[shuffled] for name, column in vars(failed).items() if column is not None and len(column) == 8
    }
    for one in (failed, replace(failed, **mixed)):
        stays = Stays.of(one)
        assert (stays.scheduled_ns / 1e9).tolist() == [0, 2]
        assert (stays.end_ns / 1e9).tolist() == [LIFETIME_S, 2 + LIFETIME_S]
        assert stays.ok.tolist() == [True, False]


def test_the_window_of_conversations_waits_for_them_and_ends_with_the_last_begun(
    columns: Callable[..., Requests],
) -> None:
    """It begins no sooner than a session lasts, and what comes after the last session has begun is never in it."""
    rng = np.random.default_rng(2)
    begun = np.cumsum(rng.exponential(0.25, 800))
    requests = talking(columns, begun)
    window = choose_window(requests, OpenLoad(rate_rps=TURNS / 0.25))
    assert window.steady, window.reason
    assert window.start_ns / 1e9 - begun[0] >= LIFETIME_S
    assert begun[-1] - 2 * LIFETIME_S < window.end_ns / 1e9 <= begun[-1] + 1e-6
    inside = int(np.sum(window.holds(requests.scheduled_ns)))
    assert inside / window.seconds == pytest.approx(16, rel=0.15), "the rate of requests, first turns and later ones"


def test_conversations_that_do_not_settle_are_told(columns: Callable[..., Requests]) -> None:
    """A point of two lifetimes is too short; in a long one, sessions whose later turns come ever later pile up."""
    rng = np.random.default_rng(2)
    load = OpenLoad(rate_rps=16)
    short = choose_window(talking(columns, np.cumsum(rng.exponential(0.25, 160))), load)
    assert not short.steady
    assert "too little time" in short.reason

    begun = np.cumsum(rng.exponential(0.25, 2000))
    requests = talking(columns, begun)
    waited = np.round(requests.scheduled_ns * 0.2).astype(np.int64)  # after 500 s of load an answer takes 100 s more
    behind = choose_window(replace(requests, end_ns=requests.end_ns + waited), load)
    assert not behind.steady


def test_overloaded_conversations_tell_no_plateau(
    make_point: Callable[..., Point], make_curve: Callable[..., Curve]
) -> None:
    """Their completions are of first turns, the shortest: only closed loops saturate a curve of conversations."""
    over = make_point(
        "open", 12.0, achieved_rps=9.0, in_flight_slope=Estimate(value=2.0, lo=1.0, hi=3.0), flags=("NOT_STEADY",)
    )
    rungs = [make_point("closed", rate, concurrency=slots) for rate, slots in ((3.0, 4.0), (5.0, 8.0), (5.1, 16.0))]
    alone = make_curve([over, *rungs])
    assert (saturation(alone).rate or Estimate(value=0)).value > 8
    talk = Conversation(turns=Lengths(mean=4))
    talking_curve = replace(alone, workload=changed(alone.workload, conversation=talk))
    assert (saturation(talking_curve).rate or Estimate(value=0)).value == pytest.approx(5.05, abs=0.1)
    only = replace(talking_curve, points=(over, make_point("open", 4.0)))
    assert not saturation(only).reached


def test_a_closed_loop_of_conversations_waits_until_each_slot_had_one(columns: Callable[..., Requests]) -> None:
    """Ten sessions at a time: the window begins when ten have ended and ends when one is not followed by another."""
    begun = np.sort(np.concatenate([np.arange(10) * 0.1 + turn * LIFETIME_S for turn in range(8)]))
    window = choose_window(talking(columns, begun), ClosedLoad(concurrency=10))
    assert window.start_ns / 1e9 >= LIFETIME_S + 0.9
    assert window.end_ns / 1e9 == pytest.approx(8 * LIFETIME_S, abs=1.0)
    short = choose_window(talking(columns, begun[:12]), ClosedLoad(concurrency=10))
    assert not short.steady
    assert "sessions" in short.reason


@pytest.mark.parametrize("words", ["ramp:2-20", "ramp:20-2,constant"])
def test_a_ramp_is_never_steady(words: str, columns: Callable[..., Requests]) -> None:
    """However even its latencies: all of it is window, and the reason names the ramp. Held laws are judged as ever."""
    sent = np.rint(np.cumsum(np.random.default_rng(1).exponential(0.1, 400)) * 1e9).astype(np.int64)
    requests = columns(sent, sent + 10**9)
    load = OpenLoad(rate_rps=10)
    window = choose_window(requests, load, parse_arrival(words))
    assert not window.steady
    assert words in window.reason
    assert (window.start_ns, window.end_ns) == (sent[0], sent[-1] + 1)
    assert choose_window(requests, load, Arrival()).steady


def test_no_capacity_is_read_off_a_ramp(
    make_point: Callable[..., Point], make_curve: Callable[..., Curve], same: Callable[..., Distribution]
) -> None:
    """Points that fell behind give a saturation under a held law; the same points of a ramp give nothing."""
    rising = Estimate(value=2.0, lo=1.0, hi=3.0)
    points = [
        make_point("open", 12.0, achieved_rps=9.0, in_flight_slope=rising, flags=("NOT_STEADY",), latency=same(30.0)),
        make_point("open", 11.0, achieved_rps=9.0, in_flight_slope=rising, flags=("NOT_STEADY",), latency=same(30.0)),
    ]
    held = make_curve(points)
    assert saturation(held).reached
    ramp = replace(held, workload=changed(held.workload, arrival=parse_arrival("ramp:2-20")))
    assert saturation(ramp).rate is None
    assert not saturation(ramp).reached
    found = capacity(ramp, [Target(metric="latency", seconds=5.0)])
    assert (found.rate, found.status) == (None, "no_points")
