"""A schedule is fixed by its arguments, and each thing drawn has its own stream."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from giq.catalog.use_cases import Lengths
from giq.errors import IncompatibleError, UsageError
from giq.workload import (
    MAX_REQUESTS,
    Arrival,
    ClosedLoad,
    Load,
    OpenLoad,
    Schedule,
    Stop,
    Trace,
    Workload,
    make_schedule,
    read_trace,
)

CHAT = Workload(
    input_tokens=Lengths(distribution="lognormal", mean=500, spread=0.8, maximum=4000),
    output_tokens=Lengths(distribution="uniform", mean=150, minimum=50, maximum=250),
)
LOADS: st.SearchStrategy[Load] = st.one_of(
    st.builds(OpenLoad, rate_rps=st.floats(0.1, 1000)), st.builds(ClosedLoad, concurrency=st.integers(1, 64))
)


def content(schedule: Schedule) -> list[list[int] | None]:
    """Everything that is drawn."""
    arrivals = None if schedule.arrival_ns is None else schedule.arrival_ns.tolist()
    return [arrivals, schedule.input_tokens.tolist(), schedule.output_tokens.tolist()]


@given(LOADS, st.integers(1, 300), st.integers(0, 2**64))
def test_one_seed_gives_one_schedule(load: Load, count: int, seed: int) -> None:
    """Two schedules made from equal arguments are identical, and have as many requests as asked for."""
    one, other = (make_schedule(CHAT, load, Stop(requests=count), seed) for _ in range(2))
    assert len(one) == count
    assert content(one) == content(other)
    assert one.seed == seed


def test_another_seed_gives_another_schedule() -> None:
    """Arrivals and lengths all change with the seed."""
    one, other = (content(make_schedule(CHAT, OpenLoad(rate_rps=4), Stop(requests=50), seed)) for seed in (1, 2))
    assert all(left != right for left, right in zip(one, other, strict=True))


@given(st.lists(LOADS, min_size=2, max_size=2), st.integers(0, 1000))
def test_lengths_do_not_change_with_the_load(loads: list[Load], seed: int) -> None:
    """Request i has the same lengths at every rate and concurrency."""
    one, other = (make_schedule(CHAT, load, Stop(requests=40), seed) for load in loads)
    assert content(one)[1:] == content(other)[1:]


def test_lengths_do_not_change_with_each_other_or_with_the_arrival_law() -> None:
    """Input lengths stay when the output distribution or the arrival law is another."""
    other = Workload(input_tokens=CHAT.input_tokens, output_tokens=Lengths(mean=9), arrival=Arrival(law="constant"))
    one, two = (make_schedule(workload, OpenLoad(rate_rps=3), Stop(requests=40), 0) for workload in (CHAT, other))
    assert one.input_tokens.tolist() == two.input_tokens.tolist()


def test_input_and_output_lengths_are_drawn_apart() -> None:
    """Equal distributions for input and output do not give equal lengths."""
    same = Workload(input_tokens=CHAT.input_tokens, output_tokens=CHAT.input_tokens)
    drawn = make_schedule(same, OpenLoad(rate_rps=3), Stop(requests=1000), 0)
    assert abs(np.corrcoef(drawn.input_tokens, drawn.output_tokens)[0, 1]) < 0.15


def test_a_closed_loop_has_no_times_and_enough_requests() -> None:
    """With only a duration there are more requests than slots can finish, but at most MAX_REQUESTS."""
    short = make_schedule(CHAT, ClosedLoad(concurrency=4), Stop(duration_s=2.0), 0)
    assert short.arrival_ns is None
    assert short.duration_ns == 2_000_000_000
    assert len(short) == 4 * 2000
    assert len(make_schedule(CHAT, ClosedLoad(concurrency=512), Stop(duration_s=600), 0)) == MAX_REQUESTS
    assert len(make_schedule(CHAT, ClosedLoad(concurrency=4), Stop(requests=7, duration_s=2.0), 0)) == 7


def test_what_cannot_be_scheduled_is_refused() -> None:
    """No limit, too many requests, no request at all and a negative seed are usage errors."""
    wrong: list[tuple[Load, Stop, int]] = [
        (ClosedLoad(concurrency=1), Stop(), 0),
        (OpenLoad(rate_rps=1), Stop(), 0),
        (ClosedLoad(concurrency=1), Stop(requests=MAX_REQUESTS + 1), 0),
        (OpenLoad(rate_rps=0.001), Stop(duration_s=0.5), 0),
        (OpenLoad(rate_rps=1), Stop(requests=1), -1),
    ]
    for load, stop, seed in wrong:
        with pytest.raises(UsageError):
            make_schedule(CHAT, load, stop, seed)


@pytest.fixture
def trace(tmp_path: Path) -> Trace:
    """Four requests in three seconds."""
    path = tmp_path / "trace.csv"
    path.write_text("arrival_s,input_tokens,output_tokens\n0,10,1\n0.5,20,2\n2,30,3\n3,40,4\n", encoding="utf-8")
    return read_trace(path)


def replaying(trace: Trace) -> Workload:
    """A workload that replays *trace*."""
    return Workload(
        input_tokens=Lengths(mean=25),
        output_tokens=Lengths(mean=2.5),
        arrival=Arrival(law="trace", trace_id=trace.trace_id),
    )


def test_a_trace_is_replayed_as_recorded_at_its_own_rate(trace: Trace) -> None:
    """At the trace's rate its times and lengths come unchanged, once."""
    schedule = make_schedule(replaying(trace), OpenLoad(rate_rps=trace.rate_rps), Stop(requests=99), 0, trace)
    assert content(schedule) == [[0, 500_000_000, 2_000_000_000, 3_000_000_000], [10, 20, 30, 40], [1, 2, 3, 4]]


def test_a_trace_is_stretched_to_another_rate_and_cut(trace: Trace) -> None:
    """At twice the rate all times halve; the duration and the number of requests cut it."""
    fast = make_schedule(replaying(trace), OpenLoad(rate_rps=2 * trace.rate_rps), Stop(duration_s=1.5), 0, trace)
    assert content(fast) == [[0, 250_000_000, 1_000_000_000], [10, 20, 30], [1, 2, 3]]
    few = make_schedule(replaying(trace), OpenLoad(rate_rps=trace.rate_rps), Stop(requests=2, duration_s=1.5), 0, trace)
    assert content(few)[1] == [10, 20]


def test_a_trace_in_a_closed_loop_repeats_its_lengths(trace: Trace) -> None:
    """The lengths come in the trace's order and start again."""
    schedule = make_schedule(replaying(trace), ClosedLoad(concurrency=2), Stop(requests=6), 0, trace)
    assert content(schedule) == [None, [10, 20, 30, 40, 10, 20], [1, 2, 3, 4, 1, 2]]


def test_a_missing_or_other_trace_is_refused(trace: Trace) -> None:
    """A workload that names a trace needs that one."""
    load, stop = OpenLoad(rate_rps=1), Stop(requests=1)
    with pytest.raises(UsageError, match="replays a trace"):
        make_schedule(replaying(trace), load, stop, 0)
    other = Workload(
        input_tokens=Lengths(mean=1), output_tokens=Lengths(mean=1), arrival=Arrival(law="trace", trace_id="no")
    )
    with pytest.raises(IncompatibleError, match="trace_id"):
        make_schedule(other, load, stop, 0, trace)
