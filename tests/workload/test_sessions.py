"""Conversations and shared prefixes in a schedule: who follows whom, how long prompts grow, what the seed fixes."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from giq.catalog.use_cases import Lengths
from giq.documents import replace
from giq.errors import UsageError
from giq.workload import (
    FOLLOWS,
    MAX_REQUESTS,
    Arrival,
    ClosedLoad,
    Conversation,
    Load,
    OpenLoad,
    Schedule,
    SharedPrefix,
    Stop,
    ThinkTime,
    Workload,
    make_schedule,
)
from giq.workload.sessions import refuse_unsettled

TALK = Workload(
    input_tokens=Lengths(distribution="uniform", mean=60, minimum=20, maximum=100),
    output_tokens=Lengths(distribution="uniform", mean=30, minimum=10, maximum=50),
    shared_prefix=SharedPrefix(tokens=40, groups=3),
    conversation=Conversation(
        turns=Lengths(distribution="uniform", mean=3, minimum=1, maximum=5),
        think=ThinkTime(distribution="exponential", mean_s=2.0),
    ),
)
LOADS: st.SearchStrategy[Load] = st.one_of(
    st.builds(OpenLoad, rate_rps=st.floats(0.1, 1000)), st.builds(ClosedLoad, concurrency=st.integers(1, 64))
)


def columns(schedule: Schedule) -> list[list[int]]:
    """Everything about sessions and prefixes, and the lengths."""
    found = (
        schedule.input_tokens, schedule.output_tokens, schedule.prefix_group, schedule.prefix_tokens,
        schedule.session_id, schedule.turn, schedule.parent, schedule.think_ns,
    )  # fmt: skip
    return [column.tolist() for column in found if column is not None]


@settings(deadline=None)
@given(LOADS, st.integers(1, 200), st.integers(0, 2**32))
def test_a_session_is_a_row_of_turns(load: Load, count: int, seed: int) -> None:
    """As many requests as asked for; turns count up by one, each follows the one before, and only first ones none."""
    asked = make_schedule(TALK, load, Stop(requests=count), seed)
    session_id, turn, parent, think_ns = asked.session_id, asked.turn, asked.parent, asked.think_ns
    assert session_id is not None
    assert turn is not None
    assert parent is not None
    assert think_ns is not None
    assert len(asked) == count == len(session_id) == len(turn) == len(parent) == len(think_ns)
    first = turn == 1
    assert np.array_equal(first, parent < 0)
    assert np.array_equal(np.flatnonzero(~first) - 1, parent[~first])
    assert np.array_equal(turn[~first], turn[parent[~first]] + 1)
    assert np.array_equal(session_id, np.cumsum(first) - 1)
    assert (think_ns[first] == 0).all()
    assert turn.max() <= 5
    if asked.arrival_ns is not None:
        assert np.array_equal(asked.arrival_ns == FOLLOWS, ~first)
        assert (np.diff(asked.arrival_ns[first]) >= 0).all()


@settings(deadline=None)
@given(st.integers(0, 2**32))
def test_a_prompt_grows_by_answer_and_own_part(seed: int) -> None:
    """A later prompt is the one before, its answer, and as many tokens as drawn without the prefix, at least one."""
    asked = make_schedule(TALK, ClosedLoad(concurrency=2), Stop(requests=80), seed)
    alone = replace(TALK, conversation=None)
    drawn = make_schedule(alone, ClosedLoad(concurrency=2), Stop(requests=80), seed).input_tokens
    assert asked.parent is not None
    assert asked.prefix_tokens is not None
    first, later = asked.parent < 0, np.flatnonzero(asked.parent >= 0)
    before = asked.parent[later]
    assert np.array_equal(asked.input_tokens[first], drawn[first])
    added = asked.input_tokens[later] - asked.input_tokens[before] - asked.output_tokens[before]
    assert np.array_equal(added, np.maximum(drawn[later] - asked.prefix_tokens[later], 1))


def test_a_session_has_one_prefix() -> None:
    """All turns of a session begin with the prefix of its first; all groups occur."""
    asked = make_schedule(TALK, ClosedLoad(concurrency=2), Stop(requests=300), 1)
    assert asked.session_id is not None
    assert asked.prefix_group is not None
    assert asked.prefix_tokens is not None
    pairs = set(zip(asked.session_id.tolist(), asked.prefix_group.tolist(), asked.prefix_tokens.tolist(), strict=True))
    assert len(pairs) == asked.session_id[-1] + 1
    assert set(asked.prefix_group.tolist()) == {0, 1, 2}
    assert asked.prefix_tokens.max() == 40
    assert asked.prefix_tokens.min() >= 19, "a prompt of 20 tokens keeps one for itself"


@settings(deadline=None, max_examples=30)
@given(LOADS, LOADS, st.integers(0, 2**32))
def test_the_seed_fixes_sessions_under_every_load(one: Load, other: Load, seed: int) -> None:
    """The same sessions, lengths, pauses and prefixes at every rate and concurrency; others with another seed."""
    stop = Stop(requests=100)
    assert columns(make_schedule(TALK, one, stop, seed)) == columns(make_schedule(TALK, other, stop, seed))
    assert columns(make_schedule(TALK, one, stop, seed)) != columns(make_schedule(TALK, one, stop, seed + 1))


def test_the_rate_counts_requests() -> None:
    """Sessions of three turns on average arrive at a third of the rate: in all as many requests as asked for."""
    asked = make_schedule(TALK, OpenLoad(rate_rps=30), Stop(duration_s=1000), 3)
    assert asked.session_id is not None
    assert len(asked) == pytest.approx(30_000, rel=0.04)
    assert asked.session_id[-1] + 1 == pytest.approx(10_000, rel=0.04)


@pytest.mark.parametrize(
    ("think", "mean", "spread"),
    [
        (ThinkTime(mean_s=2), 2, 0),
        (ThinkTime(distribution="uniform", mean_s=3, minimum_s=1, maximum_s=5), 3, 4 / 12**0.5),
        (ThinkTime(distribution="exponential", mean_s=2), 2, 2),
        (ThinkTime(distribution="lognormal", mean_s=2, spread=0.5), 2, 2 * (np.exp(0.25) - 1) ** 0.5),
        (ThinkTime(), 0, 0),
    ],
)
def test_pauses_follow_their_law(think: ThinkTime, mean: float, spread: float) -> None:
    """Mean and standard deviation of the pauses between turns are those of the law named."""
    talk = Conversation(turns=Lengths(mean=2), think=think)
    asked = make_schedule(replace(TALK, conversation=talk), ClosedLoad(concurrency=1), Stop(requests=40_000), 1)
    assert asked.think_ns is not None
    pauses = asked.think_ns[1::2] / 1e9
    assert pauses.mean() == pytest.approx(mean, rel=0.03)
    assert pauses.std() == pytest.approx(spread, rel=0.05, abs=1e-9)


def test_without_sharing_there_are_no_columns() -> None:
    """A workload of single requests has neither sessions nor prefixes, and the lengths that it always had."""
    plain = replace(TALK, conversation=None, shared_prefix=None)
    asked = make_schedule(plain, ClosedLoad(concurrency=1), Stop(requests=50), 1)
    assert (asked.session_id, asked.turn, asked.parent, asked.think_ns) == (None,) * 4
    assert (asked.prefix_group, asked.prefix_tokens) == (None, None)
    shared = make_schedule(replace(TALK, conversation=None), ClosedLoad(concurrency=1), Stop(requests=50), 1)
    assert shared.input_tokens.tolist() == asked.input_tokens.tolist()


def test_impossible_conversations_are_refused() -> None:
    """A trace in turns, prompts beyond any context, too many turns or requests are usage errors."""
    endless = Conversation(turns=Lengths(mean=40_000))
    long = replace(TALK, input_tokens=Lengths(mean=2e8), conversation=Conversation(turns=Lengths(mean=20)))
    cases: list[tuple[Workload, Load, Stop]] = [
        (replace(TALK, arrival=Arrival(law="trace", trace_id="x")), OpenLoad(rate_rps=1), Stop(requests=5)),
        (replace(TALK, conversation=endless), ClosedLoad(concurrency=1), Stop(requests=50_000)),
        (long, ClosedLoad(concurrency=1), Stop(requests=20)),
        (TALK, OpenLoad(rate_rps=MAX_REQUESTS), Stop(duration_s=1.2)),
    ]
    for workload, load, stop in cases:
        with pytest.raises(UsageError):
            make_schedule(workload, load, stop, 0)


def test_conversations_are_held_long_enough_to_settle() -> None:
    """With four seconds of thinking a session, ten seconds of load are refused, and a minute is not."""
    for load in (OpenLoad(rate_rps=5), ClosedLoad(concurrency=3)):
        with pytest.raises(UsageError, match="24 s"):
            refuse_unsettled(TALK, load, Stop(duration_s=10))
        refuse_unsettled(TALK, load, Stop(duration_s=60))
    with pytest.raises(UsageError, match="to settle"):
        refuse_unsettled(TALK, OpenLoad(rate_rps=5), Stop(requests=50))
    refuse_unsettled(replace(TALK, conversation=None), OpenLoad(rate_rps=5), Stop(requests=1))
