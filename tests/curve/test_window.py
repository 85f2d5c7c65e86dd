"""Windows are found: warm-up and drain left out, and overload called what it is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from giq.curve import Estimate, Record, Requests, Window, choose_window
from giq.curve.in_flight import falls_behind, in_flight
from giq.workload import ClosedLoad, OpenLoad

Queue = Callable[..., Requests]
SEEDS = range(30)


def open_window(queue: Queue, use: float, n: int, seed: int, slots: int = 16) -> tuple[Window, Requests]:
    """The window of *n* Poisson arrivals that use that share of *slots* servers of 1 s."""
    load = OpenLoad(rate_rps=use * slots)
    requests = queue(load, n, slots, 1.0, 0.3, seed)
    return choose_window(requests, load), requests


@pytest.mark.parametrize(("use", "n"), [(0.3, 150), (0.6, 300), (0.8, 1000)])
def test_below_the_knee_a_short_run_is_steady(queue: Queue, use: float, n: int) -> None:
    """With 150 to 1,000 requests at most 2 of 30 runs are called unsteady, and most requests are measured."""
    windows = [open_window(queue, use, n, seed) for seed in SEEDS]
    assert sum(not window.steady for window, _ in windows) <= 2
    assert np.mean([(window.phases(requests) == 1).mean() for window, requests in windows]) > 0.75


def test_below_the_knee_the_slope_interval_holds_zero(queue: Queue) -> None:
    """In at least 25 of 30 runs the growth of in-flight is not told from 0."""
    held = 0
    for seed in SEEDS:
        window, requests = open_window(queue, 0.7, 600, seed)
        found = in_flight(requests).slope(window.start_ns, window.end_ns)
        assert found is not None
        held += found.lo <= 0 <= found.hi  # type: ignore[operator]
    assert held >= 25


def test_above_the_knee_in_flight_grows_for_sure(queue: Queue) -> None:
    """At 1.4 times what the servers take every run is unsteady, every slope above 0, and on average the excess."""
    slopes = []
    for seed in SEEDS:
        window, requests = open_window(queue, 1.4, 800, seed)
        found = in_flight(requests).slope(window.start_ns, window.end_ns)
        assert found is not None
        assert not window.steady
        assert found.lo > 0  # type: ignore[operator]
        slopes.append(found.value)
    assert np.mean(slopes) == pytest.approx(0.4 * 16, rel=0.1)


def test_open_warm_up_ends_when_in_flight_is_at_its_level(queue: Queue) -> None:
    """With 100 in flight after a second of service, the window begins soon after that; in its last second it drains."""
    load, begins = OpenLoad(rate_rps=100), []
    for seed in SEEDS:
        requests = queue(load, 1000, 10_000, 1.0, 0.0, seed)
        window = choose_window(requests, load)
        begins.append((window.start_ns - int(requests.scheduled_ns.min())) / 1e9)
        assert window.end_ns == requests.scheduled_ns.max() + 1 - 1_000_000_000
        assert window.clock == "scheduled"
    assert min(begins) >= 2.0
    assert np.mean(begins) < 3.0


def test_closed_window_is_from_one_turn_of_all_slots_to_the_first_empty_one(queue: Queue) -> None:
    """8 slots of exactly 1 s for 80 requests: the window is the 2nd to the 10th second, and steady."""
    load = ClosedLoad(concurrency=8)
    requests = queue(load, 80, 8, 1.0)
    window = choose_window(requests, load)
    assert window.steady
    assert window.clock == "sent"
    assert (window.start_ns, window.end_ns) == (1_000_000_000, 10_000_000_000)
    assert np.bincount(window.phases(requests)).tolist() == [8, 72]


@pytest.mark.parametrize(("slots", "n"), [(4, 100), (16, 200), (32, 300)])
def test_short_closed_runs_are_steady(queue: Queue, slots: int, n: int) -> None:
    """100 to 300 requests of varying length in a closed loop: at most 2 of 30 runs are unsteady."""
    load = ClosedLoad(concurrency=slots)
    windows = [choose_window(queue(load, n, slots, 1.0, 0.5, seed), load) for seed in SEEDS]
    assert sum(not window.steady for window in windows) <= 2


def test_closed_warm_up_lasts_until_as_many_have_ended_as_there_are_slots(queue: Queue) -> None:
    """With requests of any length the window never begins before that, nor after half of what follows."""
    load = ClosedLoad(concurrency=16)
    for seed in SEEDS:
        requests = queue(load, 400, 16, 1.0, 0.5, seed)
        window, turned = choose_window(requests, load), int(np.sort(requests.end_ns)[15])
        assert turned <= window.start_ns <= turned + 0.6 * (window.end_ns - turned)


def test_a_sure_but_small_growth_is_no_overload() -> None:
    """In-flight must grow by a quarter and by 2 % of the rate, and its interval leave out 0."""
    rising, unsure = Estimate(value=1.0, lo=0.5, hi=1.5), Estimate(value=1.0, lo=-0.5, hi=2.5)
    assert falls_behind(rising, mean=10.0, span_s=10.0, rate_rps=20.0)
    assert not falls_behind(rising, mean=10.0, span_s=10.0, rate_rps=100.0)
    assert not falls_behind(rising, mean=100.0, span_s=10.0, rate_rps=20.0)
    assert not falls_behind(unsure, mean=10.0, span_s=10.0, rate_rps=20.0)
    assert not falls_behind(None, mean=10.0, span_s=10.0, rate_rps=20.0)


def test_a_closed_run_with_less_than_two_turns_is_not_steady(queue: Queue) -> None:
    """With as many requests as slots no slot is used twice."""
    load = ClosedLoad(concurrency=64)
    window = choose_window(queue(load, 64, 64, 1.0, 0.5), load)
    assert not window.steady
    assert "64 slots" in window.reason


def test_growing_latency_in_a_closed_loop_is_not_steady(queue: Queue) -> None:
    """A server that slows down all the time never has a steady state."""
    load = ClosedLoad(concurrency=4)
    requests = queue(load, 200, 4, 1.0)
    slowed = requests.end_ns + (requests.sent_ns * 0.2).astype(np.int64)
    window = choose_window(Requests(**{**vars(requests), "end_ns": slowed}), load)
    assert not window.steady
    assert "latency" in window.reason


@given(st.integers(0, 19), st.booleans())
def test_too_few_requests_are_told(queue: Queue, n: int, is_open: bool) -> None:
    """Below 20 requests the window holds all of them, and is not steady."""
    load = OpenLoad(rate_rps=5) if is_open else ClosedLoad(concurrency=2)
    requests = queue(OpenLoad(rate_rps=5), max(n, 1), 4, 0.1)
    if n == 0:
        requests = Requests(
            **{
                name: column[: 1 if "offsets" in name else 0]
                for name, column in vars(requests).items()
                if column is not None
            }
        )
    window = choose_window(requests, load)
    assert not window.steady
    assert (window.phases(requests) == 1).all()
    assert f"{n} requests" in window.reason


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 60), st.integers(0, 30)), max_size=12),
    st.lists(st.integers(-5, 100), min_size=2, max_size=8, unique=True).map(sorted),
)
def test_the_mean_in_flight_is_that_of_every_ns(stays: list[tuple[int, int]], edges: list[int]) -> None:
    """Between any edges, before the first request and after the last too, it is the mean of the count at each ns."""
    requests = Requests.of([
        Record(
            run_id="r", point_id="p", request_id=i, scheduled_ns=start, sent_ns=start, end_ns=start + length,
            outcome="timeout", requested_input_tokens=1, requested_output_tokens=1,
        )
        for i, (start, length) in enumerate(stays)
    ])  # fmt: skip
    counts = [sum(start <= at < start + length for start, length in stays) for at in range(-5, 100)]
    wanted = [np.mean(counts[first + 5 : last + 5]) for first, last in pairwise(edges)]
    assert in_flight(requests).means(np.array(edges, dtype=np.float64)) == pytest.approx(wanted)


def test_a_request_without_end_stays_in_flight() -> None:
    """A request that was never answered counts until the last time known."""
    ends = (50, None, 40)
    requests = Requests.of([
        Record(
            run_id="r", point_id="p", request_id=i, scheduled_ns=10 * i, sent_ns=10 * i, end_ns=end, outcome="timeout",
            requested_input_tokens=1, requested_output_tokens=1,
        )
        for i, end in enumerate(ends)
    ])  # fmt: skip
    swept = in_flight(requests)
    assert swept.mean(0, 50) == pytest.approx((50 + 40 + 20) / 50)
    assert swept.mean(20, 40) == pytest.approx(3.0)
    assert swept.mean(40, 50) == pytest.approx(2.0)
    assert swept.mean(7, 7) == 0.0


@given(st.integers(8, 40), st.integers(40, 200), st.integers(1, 5))
def test_a_closed_window_is_a_whole_number_of_turns(slots: int, n: int, tenths: int) -> None:
    """Equal requests in step: every window is as many turns long as it has ended for each slot, or none is steady."""
    turn_ns, stagger_ns = 1_000_000_000, tenths * 100_000_000 // slots
    records = [
        Record(
            run_id="r", point_id="p", request_id=number, outcome="ok", requested_input_tokens=1,
            requested_output_tokens=1, scheduled_ns=begun, sent_ns=begun, end_ns=begun + turn_ns,
        )
        for number in range(n)
        for begun in [number // slots * turn_ns + number % slots * stagger_ns]
    ]  # fmt: skip
    requests = Requests.of(records)
    window = choose_window(requests, ClosedLoad(concurrency=slots))
    if n < 2 * slots:
        assert not window.steady
    if window.steady:
        ended = np.count_nonzero(window.holds(requests.end_ns))
        assert ended % slots == 0
        assert window.seconds == pytest.approx(ended / slots, rel=1e-6)


def test_after_a_warm_start_the_window_begins_sooner(queue: Queue) -> None:
    """Where requests were begun at once at the start, one lifetime is waited for instead of two."""
    load = OpenLoad(rate_rps=100)
    cold = queue(load, 1000, 10_000, 1.0, 0.0, 1)
    scheduled = np.concatenate([np.zeros(100, dtype=np.int64), cold.scheduled_ns[100:] - cold.scheduled_ns[99] + 1])
    warm = replace(
        cold, scheduled_ns=scheduled, sent_ns=scheduled, end_ns=scheduled + 1_000_000_000,
        first_token_ns=scheduled, last_token_ns=scheduled + 1_000_000_000,
    )  # fmt: skip
    begins = [choose_window(one, load).start_ns - int(one.scheduled_ns.min()) for one in (cold, warm)]

    assert begins[0] >= 2_000_000_000
    assert 1_000_000_000 <= begins[1] < begins[0]
