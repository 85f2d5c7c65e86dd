"""Conversations as the server saw them: whose turn follows which answer, after which pause, with what history."""

from __future__ import annotations

import asyncio
import functools
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from giq.catalog.use_cases import Lengths
from giq.curve.requests import Record
from giq.load.client import LoadResult, run_load
from giq.load.endpoint import Api, Endpoint
from giq.load.inspection import inspect
from giq.load.workers import run_workers
from giq.workload import (
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
from tests.load.exact_server import Behaviour, ExactServer, Seen, answer_ids
from tests.load.jobs import Heard, identity, job, measured, on_loop
from tests.load.sinks import FileSink

MS = 1_000_000
TALK = Workload(
    input_tokens=Lengths(distribution="uniform", mean=15, minimum=10, maximum=20),
    output_tokens=Lengths(distribution="uniform", mean=4, minimum=2, maximum=6),
    conversation=Conversation(
        turns=Lengths(distribution="uniform", mean=2.5, minimum=1, maximum=4),
        think=ThinkTime(distribution="uniform", mean_s=0.04, minimum_s=0.02, maximum_s=0.06),
    ),
)


def asked_for(load: Load, requests: int = 60, workload: Workload = TALK, seed: int = 1) -> Schedule:
    """A schedule of conversations."""
    return make_schedule(workload, load, Stop(requests=requests), seed)


def held(asked: Schedule, nonce: int = 11, **server: Any) -> tuple[ExactServer, list[Record], LoadResult]:
    """Hold the load against a server that tells the tokens of its answers."""

    async def work() -> tuple[ExactServer, list[Record], LoadResult]:
        async with ExactServer(**{"tells_ids": True, "behave": slow, **server}) as exact:
            heard, result = await measured(exact, asked, identity=identity(tells_token_ids=True), nonce=nonce)
            assert not heard.told(result) - {"LENGTHS_DIFFER"}, result.reasons
            return exact, heard.by_id(), result

    return on_loop(work)


Talk = tuple[Schedule, ExactServer, list[Record], LoadResult]


@pytest.fixture(scope="module")
def opened_talk() -> Talk:
    """Sessions that arrive at their own times."""
    asked = asked_for(OpenLoad(rate_rps=80))
    return asked, *held(asked)


@pytest.fixture(scope="module")
def closed_talk() -> Talk:
    """Four sessions at a time."""
    asked = asked_for(ClosedLoad(concurrency=4))
    return asked, *held(asked)


def slow(seen: Seen, number: int) -> Behaviour:
    """First token after 10 ms, then one each 2 ms."""
    return Behaviour(first_s=0.01, gap_s=0.002)


def sessions_of(records: list[Record]) -> dict[int, list[Record]]:
    """The turns of each session, in order."""
    found: dict[int, list[Record]] = {}
    for record in records:
        assert record.session_id is not None
        found.setdefault(record.session_id, []).append(record)
    return found


@pytest.mark.parametrize("name", ["opened_talk", "closed_talk"])
def test_turns_follow_answers_after_their_pause(name: str, request: pytest.FixtureRequest) -> None:
    """Every turn falls due at its answer's end plus the pause that the seed says, is sent then, and says so."""
    asked, _, records, result = request.getfixturevalue(name)

    assert (result.sent, result.ok, result.ending) == (60, 60, "schedule")
    assert [record.request_id for record in records] == list(range(60))
    assert asked.session_id is not None
    assert asked.think_ns is not None
    assert [record.session_id for record in records] == asked.session_id.tolist()
    late = []
    for turns in sessions_of(records).values():
        assert [turn.turn for turn in turns] == list(range(1, len(turns) + 1))
        assert (turns[0].parent_id, turns[0].think_ns) == (None, None)
        for before, after in pairwise(turns):
            assert after.parent_id == before.request_id
            assert after.think_ns == asked.think_ns[after.request_id]
            assert before.end_ns is not None
            assert after.scheduled_ns == before.end_ns + (after.think_ns or 0)
            assert after.sent_ns >= after.scheduled_ns
            late.append(after.sent_ns - after.scheduled_ns)
    assert np.quantile(late, 0.5) < 10 * MS


def test_sessions_of_an_open_loop_arrive_on_schedule(opened_talk: Talk) -> None:
    """First turns come at their own times, however long the conversations before them last."""
    asked, _, records, result = opened_talk

    assert asked.arrival_ns is not None
    first = [record for record in records if record.turn == 1]
    arrivals = asked.arrival_ns[[record.request_id for record in first]]
    assert [record.scheduled_ns - result.started_ns for record in first] == arrivals.tolist()


def test_a_closed_loop_keeps_so_many_sessions_alive(closed_talk: Talk) -> None:
    """Four conversations at a time: the next begins the moment one ends."""
    _, _, records, _ = closed_talk

    spans = [(turns[0].scheduled_ns, turns[-1].end_ns or 0) for turns in sessions_of(records).values()]
    assert len(spans) > 8
    for begun, _ in spans:
        assert sum(start <= begun < end for start, end in spans) <= 4
    assert {begun for begun, _ in spans[4:]} <= {end for _, end in spans}


def test_a_prompt_is_the_whole_history_and_something_new(closed_talk: Talk) -> None:
    """Each turn begins with the prompt before and the very tokens of its answer; the server counts what was asked."""
    asked, exact, records, _ = closed_talk

    assert [record.input_tokens for record in records] == asked.input_tokens.tolist()
    assert [record.output_tokens for record in records] == asked.output_tokens.tolist()
    said = {tuple(seen.body["prompt"]): [*seen.body["prompt"], *answer_ids(seen)] for seen in exact.seen}
    follow = [prompt for prompt in said if any(list(prompt[: len(history)]) == history for history in said.values())]
    assert len(follow) == sum(record.turn != 1 for record in records)


def test_what_a_user_adds_is_never_the_same() -> None:
    """No two turns of the sessions of two runs end with the same tokens of a user."""
    asked = asked_for(ClosedLoad(concurrency=3), 30)
    added = {tuple(seen.body["prompt"][-4:]) for nonce in (1, 2) for seen in held(asked, nonce)[0].seen}
    assert len(added) == 60


def test_a_failed_turn_ends_its_session() -> None:
    """After an error there is no history to go on with: the session's later turns are not sent, the others' are."""
    asked = asked_for(ClosedLoad(concurrency=2), 30)
    broken = Behaviour(reply=(500, {"detail": "oh"}))
    _, records, result = held(asked, behave=lambda seen, number: broken if number == 1 else slow(seen, number))

    sessions = sessions_of(records)
    failed = [turns for turns in sessions.values() if turns[-1].outcome != "ok"]
    assert len(failed) == 1
    assert len(failed[0]) == 1
    assert asked.session_id is not None
    of_failed = int(np.sum(asked.session_id == failed[0][0].session_id))
    assert of_failed > 1, "the session would have gone on"
    assert result.sent == 30 - (of_failed - 1)
    assert result.ending == "schedule"


def test_an_answer_cut_short_makes_the_next_prompt_shorter() -> None:
    """What is sent is what was said: the prompt shrinks with the answer, and the record asks for no more than that."""

    def brief(seen: Seen, number: int) -> Behaviour:
        seen.body["max_tokens"] = 2  # whatever was asked for
        return slow(seen, number)

    asked = asked_for(ClosedLoad(concurrency=2), 20)
    _, records, result = held(asked, behave=brief)
    assert result.ok == 20
    assert all(record.input_tokens == record.requested_input_tokens for record in records)
    later = [record for record in records if (record.turn or 0) > 1]
    assert all(record.requested_input_tokens <= asked.input_tokens[record.request_id] for record in later)
    assert "LENGTHS_DIFFER" in result.flags


@pytest.mark.parametrize(
    ("api", "server"),
    [("completions", {"takes_ids": False}), ("chat", {"takes_ids": False}), ("completions", {"tells_ids": False})],
)
def test_other_tokens_stand_for_answers_that_are_not_told(api: Api, server: dict[str, Any]) -> None:
    """Servers of text, of chats, or without the tokens of their answers: lengths are exact, histories repeat."""
    asked = asked_for(ClosedLoad(concurrency=2), 20)

    async def work() -> tuple[ExactServer, list[Record]]:
        async with ExactServer(slow, **server) as exact:
            endpoint = Endpoint(exact.url, api=api)
            found = await inspect(endpoint)
            exact.seen.clear()
            heard = Heard()
            await run_load(job(exact, asked, endpoint=endpoint, identity=found), heard.hooks)
            return exact, heard.by_id()

    exact, records = on_loop(work)
    assert {record.outcome for record in records} == {"ok"}
    if api == "completions":
        assert [record.input_tokens for record in records] == asked.input_tokens.tolist()
    else:
        spoken = [[message["role"] for message in seen.body["messages"]] for seen in exact.seen]
        assert all(roles == (["user", "assistant"] * len(roles))[: len(roles)] for roles in spoken)
        assert all(len(roles) % 2 for roles in spoken)
        assert {len(roles) // 2 + 1 for roles in spoken} == {record.turn for record in records}
    texts = [str(seen.body.get("prompt") or seen.body["messages"])[:-1] for seen in exact.seen]
    longer = [text for text in texts if any(text != other and text.startswith(other) for other in texts)]
    assert len(longer) == sum(record.turn != 1 for record in records)


def test_a_session_stays_with_one_worker(tmp_path: Path) -> None:
    """Two workers share out sessions, not requests, and together send each request once."""
    asked = asked_for(OpenLoad(rate_rps=100), 80)

    async def work() -> LoadResult:
        async with ExactServer(slow, tells_ids=True) as exact:
            ours = job(exact, asked, identity=identity(tells_token_ids=True))
            return await run_workers(ours, Heard().hooks, 2, functools.partial(FileSink, tmp_path))

    result = on_loop(work)
    records = sorted(FileSink.read(tmp_path), key=lambda record: record.request_id)
    assert [record.request_id for record in records] == list(range(80))
    assert [record.input_tokens for record in records] == asked.input_tokens.tolist()
    assert result.ending == "schedule"
    assert all(record.worker_id == (record.session_id or 0) % 2 for record in records)


def test_a_duration_ends_all_sessions() -> None:
    """When the time is over nothing more is sent, and what is in flight is followed to its end."""
    asked = make_schedule(TALK, OpenLoad(rate_rps=80), Stop(duration_s=0.6), 1)
    _, records, result = held(asked)
    assert result.ending == "duration"
    assert 0 < len(records) < len(asked)
    assert {record.outcome for record in records} == {"ok"}
    assert max(record.scheduled_ns for record in records) - result.started_ns < 700 * MS


def test_stop_ends_sessions_that_are_thinking() -> None:
    """A stop while every user thinks ends the load at once, though turns were still to come."""
    pensive = Conversation(turns=Lengths(mean=2), think=ThinkTime(mean_s=3600))
    workload = Workload(input_tokens=Lengths(mean=8), output_tokens=Lengths(mean=2), conversation=pensive)

    async def work() -> tuple[Heard, LoadResult]:
        async with ExactServer() as exact:
            heard = Heard()
            asked = asked_for(ClosedLoad(concurrency=2), 20, workload)
            load = asyncio.ensure_future(run_load(job(exact, asked), heard.hooks))
            while exact.finished < 2:
                await asyncio.sleep(0.01)
            heard.hooks.stop.set()
            return heard, await load

    heard, result = on_loop(work)
    assert result.ending == "stopped"
    assert [record.turn for record in heard.records] == [1, 1]


def test_one_seed_talks_the_same_again(opened_talk: Talk) -> None:
    """Two runs with one seed: the same sessions, lengths and pauses in the same order."""
    runs = [opened_talk[2], held(asked_for(OpenLoad(rate_rps=80)), nonce=2)[1]]
    names = ("session_id", "turn", "parent_id", "think_ns", "requested_input_tokens", "requested_output_tokens")
    one, other = ([[getattr(record, name) for name in names] for record in records] for records in runs)
    assert one == other


def test_a_conversation_begins_with_its_prefix() -> None:
    """With shared prefixes a session keeps its prefix, and later turns add what is their own."""
    from giq.documents import replace

    workload = replace(TALK, shared_prefix=SharedPrefix(tokens=8, groups=2))
    asked = asked_for(ClosedLoad(concurrency=3), 40, workload)
    exact, records, _ = held(asked)

    assert [record.input_tokens for record in records] == asked.input_tokens.tolist()
    prefixes = {tuple(seen.body["prompt"][:8]) for seen in exact.seen}
    assert len(prefixes) == 2
    for turns in sessions_of(records).values():
        assert len({turn.prefix_group for turn in turns}) == 1
        for before, after in pairwise(turns):
            own = after.requested_input_tokens - before.requested_input_tokens - before.requested_output_tokens
            assert 2 <= own <= 12, "10 to 20 tokens, 8 of them the prefix"
