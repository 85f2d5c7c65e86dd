"""The prefix cache: what is found in it, what is lost from it, and that no block is."""

from __future__ import annotations

import aiohttp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from giq.catalog import Lengths
from giq.documents import replace
from giq.engine.blocks import BlockPool
from giq.engine.content import SharedContent
from giq.engine.http_server import EngineServer
from giq.engine.memory import KvLayout
from giq.engine.scheduler import Limits, Scheduler
from giq.engine.sequence import Sequence
from giq.engine.simulation import simulate
from giq.workload.conversation import Conversation, parse_think_time
from giq.workload.schedule import make_schedule
from giq.workload.shared_prefix import SharedPrefix
from giq.workload.workload import ClosedLoad, OpenLoad, Stop, Workload
from tests.engine.engines import engine, work
from tests.engine.serving import served

LAYOUT = KvLayout(block_size=4, unit_bytes=1.0, full_units=1)
LIMITS = Limits(64, 8, 100, LAYOUT)


def finish(machine: Scheduler, *sequences: Sequence) -> None:
    """Drive *machine* until they are done; every block must come back."""
    for sequence in sequences:
        machine.add(sequence, 0.0)
    while not machine.idle:
        machine.advance(machine.plan(0.0), 1, 0.0)
    assert machine.free_blocks == machine.limits.kv_blocks


def asked(number: int, prompt: int, output: int = 2, group: int = 0, blocks: int = 5) -> Sequence:
    """A request whose first blocks are those of a group."""
    return Sequence(number, prompt, output, content=SharedContent(group, blocks, None))


def test_full_blocks_are_found_and_the_last_token_is_computed() -> None:
    """Of twenty equal tokens in blocks of four, sixteen are found: the block with the last token is computed again."""
    machine = Scheduler(LIMITS)
    first, same, longer, other = asked(0, 20), asked(1, 20), asked(2, 23), asked(3, 23, group=1)
    finish(machine, first)
    finish(machine, same, longer, other)
    assert [item.hit for item in (first, same, longer, other)] == [0, 16, 20, 0]
    assert (machine.queried, machine.hit) == (20 + 20 + 23 + 23, 36)


def test_blocks_in_use_are_shared() -> None:
    """Two running sequences hold the common blocks once."""
    machine = Scheduler(LIMITS)
    machine.add(asked(0, 22, 9), 0.0)
    machine.add(asked(1, 22, 9), 0.0)
    plan = machine.plan(0.0)
    assert [(start, count) for _, start, count in plan.chunks] == [(0, 22), (20, 2)]
    assert machine.limits.kv_blocks - machine.free_blocks == 5 + 1 + 1


def test_the_least_recently_used_blocks_are_lost_first_and_from_their_end() -> None:
    """What others need is taken from the group that ended first, its last blocks before its first."""
    machine = Scheduler(Limits(64, 8, 20, LAYOUT))
    for group in (0, 1):
        finish(machine, asked(10 + group, 21, group=group))
    finish(machine, Sequence(20, 33, 12))  # takes 11 of the 20: ten that nobody needs, and one of the first group
    old, recent = asked(30, 24, group=0), asked(31, 24, group=1)
    finish(machine, old)  # takes three more, the last of the second group
    finish(machine, recent)
    assert old.hit == 16
    assert recent.hit == 8


def test_what_is_left_of_a_preempted_sequence_is_not_computed_again() -> None:
    """It finds its own blocks that nobody took in between, and fewer tokens are computed than without the cache."""
    computed = []
    for caching in (True, False):
        machine = Scheduler(Limits(32, 8, 10, LAYOUT, prefix_caching=caching))
        for number in range(2):
            machine.add(Sequence(number, 12, 16), 0.0)
        tokens = 0
        while not machine.idle:
            plan = machine.plan(0.0)
            tokens += sum(count for _, _, count in plan.chunks)
            if plan.chunks or plan.decoding:
                machine.advance(plan, 1, 0.0)
        assert machine.preemptions == 1
        assert machine.free_blocks == 10
        computed.append(tokens)
    assert computed[0] < computed[1]


@given(
    st.lists(
        st.tuples(st.integers(1, 60), st.integers(1, 40), st.integers(0, 3), st.integers(0, 9), st.booleans()),
        min_size=1,
        max_size=25,
    ),
    st.integers(30, 120),
    st.sampled_from([LAYOUT, KvLayout(block_size=4, unit_bytes=1.0, full_units=1, local_units=2, window=10)]),
)
@settings(max_examples=150, deadline=None)
def test_no_block_is_lost_or_doubled(
    requests: list[tuple[int, int, int, int, bool]], blocks: int, layout: KvLayout
) -> None:
    """Whatever shares what, and however often preempted: each gets its tokens, and all blocks come back."""
    longest = max(layout.blocks(prompt + output) for prompt, output, *_ in requests)
    machine = Scheduler(Limits(16, 6, max(blocks, longest), layout))
    tokens = dict.fromkeys(range(len(requests)), 0)
    for number, (prompt, output, group, shared, talks) in enumerate(requests):
        content = SharedContent(group, min(shared, prompt // 4), group if talks else None) if shared else None
        machine.add(Sequence(number, prompt, output, content=content), 0.0)
    while not machine.idle:
        plan = machine.plan(0.0)
        for stay in plan.preempted:
            tokens[stay.number] += stay.tokens
        if plan.chunks or plan.decoding:
            for sequence, stay in machine.advance(plan, 1, 0.0):
                tokens[sequence.number] += stay.tokens
        assert 0 <= machine.free_blocks <= machine.limits.kv_blocks
    assert tokens == {number: output for number, (_, output, *_) in enumerate(requests)}
    assert machine.free_blocks == machine.limits.kv_blocks


@given(st.lists(st.tuples(st.sampled_from("tgkrnul"), st.integers(1, 9)), max_size=60))
def test_the_pool_counts_its_blocks(actions: list[tuple[str, int]]) -> None:
    """Through any order of taking, giving, keeping and naming, free and held blocks are all there are."""
    pool, held = BlockPool(50, 1), 0
    kept, named = [], []
    for action, count in actions:
        if action == "t" and pool.free >= count:
            pool.take(count)
            held += count
        elif action == "g" and held >= count:
            pool.give(count, count // 2)
            held -= count
        elif action == "k" and held >= count:
            kept.append(pool.keep(count))
            held -= count
        elif action == "r" and kept:
            held += pool.take_kept(kept.pop(), count)
        elif action == "n" and held:
            block = pool.name(count)
            if block is not None:
                named.append(block)
                held -= 1
        elif action == "u" and pool.find(count):
            found = pool.find(count)
            assert found is not None
            pool.use(found)
            named.append(found)
        elif action == "l" and named:
            pool.leave(named.pop())
        assert pool.free + held + len({id(block) for block in named}) == 50


SHARING = replace(work(512, 64), shared_prefix=SharedPrefix(tokens=256, groups=2))
TALKING = replace(
    work(64, 32),
    conversation=Conversation(turns=Lengths(distribution="fixed", mean=4), think=parse_think_time("2s")),
)


def test_a_shared_prefix_is_found_but_by_the_first_of_each_group() -> None:
    """Records and statistics tell the hits, and TTFT is shorter for them."""
    schedule = make_schedule(SHARING, ClosedLoad(concurrency=4), Stop(requests=60), seed=1)
    run, without = (simulate(engine(enable_prefix_caching=on), schedule) for on in (True, False))
    assert schedule.prefix_tokens is not None
    whole = schedule.prefix_tokens // 16 * 16
    found = run.requests.cached_tokens
    assert ((found == whole) | (found == 0)).all()
    assert np.count_nonzero(found == 0) == 2
    end = int(run.requests.end_ns.max())
    share = run.statistics(0, end).prefix_hit_share
    assert share == pytest.approx(found.sum() / schedule.input_tokens.sum())
    assert without.statistics(0, end).prefix_hit_share is None
    assert (without.requests.cached_tokens == 0).all()
    ttft = [np.mean(item.requests.first_token_ns - item.requests.sent_ns) for item in (run, without)]
    assert ttft[0] < ttft[1]


@pytest.mark.parametrize("load", [ClosedLoad(concurrency=3), OpenLoad(rate_rps=4.0)], ids=str)
def test_a_turn_follows_the_answer_before_and_finds_the_conversation(load: ClosedLoad | OpenLoad) -> None:
    """It is sent its pause after that answer's end, and all full blocks of the history are in the cache."""
    schedule = make_schedule(TALKING, load, Stop(requests=48), seed=2)
    requests = simulate(engine(), schedule).requests
    assert schedule.parent is not None
    assert schedule.think_ns is not None
    assert len(requests) == len(schedule)
    later = np.flatnonzero(schedule.parent >= 0)
    parents = schedule.parent[later]
    assert np.abs(requests.sent_ns[later] - requests.end_ns[parents] - schedule.think_ns[later]).max() <= 1
    history = schedule.input_tokens[parents] + schedule.output_tokens[parents] - 1
    assert np.array_equal(requests.cached_tokens[later], history // 16 * 16)
    assert (requests.cached_tokens[schedule.parent < 0] == 0).all()


def test_a_duration_ends_conversations_too() -> None:
    """No turn is sent after it."""
    schedule = make_schedule(TALKING, ClosedLoad(concurrency=3), Stop(duration_s=5.0), seed=2)
    requests = simulate(engine(), schedule).requests
    assert requests.sent_ns.max() < 5e9
    assert 3 < len(requests) < len(schedule)


@pytest.mark.parametrize("workload", [SHARING, TALKING], ids=["prefix", "conversation"])
@pytest.mark.parametrize("kv_blocks", [None, 120])
def test_every_request_gets_its_tokens(workload: Workload, kv_blocks: int | None) -> None:
    """With a cache that is large or full: the tokens asked for, twice the same."""
    schedule = make_schedule(workload, ClosedLoad(concurrency=8), Stop(requests=60), seed=3)
    one, again = (simulate(engine(kv_blocks=kv_blocks), schedule) for _ in range(2))
    assert np.array_equal(one.requests.output_tokens, schedule.output_tokens)
    assert np.array_equal(one.step_ns, again.step_ns)


def test_over_http_equal_beginnings_are_found() -> None:
    """The same prompt again hits its full blocks, a salt none, a chat's next turn what was said; metrics count it."""

    async def talk(server: EngineServer, session: aiohttp.ClientSession) -> list[int]:
        async def ask(path: str, **body: object) -> tuple[int, str]:
            async with session.post(server.url + path, json={"max_tokens": 33, "ignore_eos": True, **body}) as answer:
                told = await answer.json()
                text = told["choices"][0].get("message", {}).get("content", "")
                return told["usage"]["prompt_tokens_details"]["cached_tokens"], text

        prompt = list(range(100))
        hits = [(await ask("/v1/completions", prompt=prompt))[0] for _ in range(2)]
        hits.append((await ask("/v1/completions", prompt=prompt, cache_salt="other"))[0])
        messages = [{"role": "user", "content": "one two three"}]
        _, text = await ask("/v1/chat/completions", messages=messages)
        messages += [{"role": "assistant", "content": text}, {"role": "user", "content": "go on"}]
        hits.append((await ask("/v1/chat/completions", messages=messages))[0])
        async with session.get(server.url + "/metrics") as answer:
            line = next(row for row in (await answer.text()).splitlines() if row.startswith("vllm:prefix_cache_hits_t"))
        return [*hits, int(float(line.split()[-1]))]

    *hits, counted = served(talk, engine(enable_prompt_tokens_details=True))
    first_turn = 2 + 4 + 4  # "<|user|>", the text, "<|assistant|>" in tokens of four bytes
    assert hits == [0, 96, 0, (first_turn + 33 - 1) // 16 * 16]
    assert counted == sum(hits)
