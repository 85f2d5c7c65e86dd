"""Prompts as the server saw them: which begin alike, how far, and that no others do."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest

from giq.catalog.use_cases import Lengths
from giq.curve.requests import Record
from giq.documents import replace
from giq.load.client import run_load
from giq.load.endpoint import Endpoint
from giq.load.inspection import inspect
from giq.workload import ClosedLoad, SharedPrefix, Stop, Workload, make_schedule
from tests.load.exact_server import ExactServer
from tests.load.jobs import Heard, job, measured, on_loop

REQUESTS, PREFIX = 40, 12
ALONE = Workload(
    input_tokens=Lengths(distribution="uniform", mean=24, minimum=16, maximum=32), output_tokens=Lengths(mean=1)
)
SHARED = replace(ALONE, shared_prefix=SharedPrefix(tokens=PREFIX, groups=4))

Prompt = tuple[Any, ...]


def sent(workload: Workload, nonce: int = 1, point: int = 1) -> tuple[list[Prompt], list[Record]]:
    """The prompts of a point and its records, in the order of the schedule."""
    asked = make_schedule(workload, ClosedLoad(concurrency=1), Stop(requests=REQUESTS), 5)

    async def work() -> tuple[list[Prompt], list[Record]]:
        async with ExactServer() as exact:
            heard, _ = await measured(exact, asked, nonce=nonce, point_number=point)
            return [tuple(seen.body["prompt"]) for seen in exact.seen], heard.by_id()

    prompts, records = on_loop(work)
    assert [len(prompt) for prompt in prompts] == asked.input_tokens.tolist()
    return prompts, records


def most_in_common(prompts: list[Prompt]) -> int:
    """The longest beginning that any two of *prompts* share: neighbours in order share the most."""
    return max(_in_common(one, other) for one, other in pairwise(sorted(prompts)))


def _in_common(one: Prompt, other: Prompt) -> int:
    same = 0
    for left, right in zip(one, other, strict=False):
        if left != right:
            break
        same += 1
    return same


def test_prompts_that_share_nothing_begin_apart() -> None:
    """No two requests of two runs with one seed, of two points each, share even one block of four tokens."""
    prompts = [prompt for nonce in (1, 2) for point in (1, 2) for prompt in sent(ALONE, nonce, point)[0]]
    assert len(set(prompts)) == 4 * REQUESTS
    assert most_in_common(prompts) < 4


def test_prompts_of_one_group_share_just_their_prefix() -> None:
    """As many prefixes as asked for, each of so many tokens; after it, and between groups, nothing is shared."""
    prompts, records = sent(SHARED)
    groups = {record.prefix_group for record in records}
    assert groups == {0, 1, 2, 3}
    pairs = list(zip(prompts, records, strict=True))
    by_group = {group: [prompt for prompt, record in pairs if record.prefix_group == group] for group in groups}
    for members in by_group.values():
        assert len({prompt[:PREFIX] for prompt in members}) == 1
        assert most_in_common(members) < PREFIX + 4
    assert most_in_common([members[0] for members in by_group.values()]) < 4


def test_a_prefix_is_the_runs_own() -> None:
    """Points of a run share their prefixes, as a warm cache would have them, and nothing else; runs share none."""
    first, second, other = (sent(SHARED, nonce, point)[0] for nonce, point in ((1, 1), (1, 2), (2, 1)))
    assert {prompt[:PREFIX] for prompt in first} == {prompt[:PREFIX] for prompt in second}
    assert len({prompt[PREFIX:] for prompt in first + second}) == 2 * REQUESTS
    assert most_in_common([*{prompt[:PREFIX] for prompt in first}, *{prompt[:PREFIX] for prompt in other}]) < 4


def test_popular_prefixes_come_more_often() -> None:
    """Under Zipf's law of exponent 2 the first of four prefixes is most requests', the last hardly any's."""
    workload = replace(ALONE, shared_prefix=SharedPrefix(tokens=PREFIX, groups=4, zipf=2.0))
    asked = make_schedule(workload, ClosedLoad(concurrency=1), Stop(requests=20_000), 1)
    assert asked.prefix_group is not None
    shares = [float((asked.prefix_group == group).mean()) for group in range(4)]
    whole = 1 + 1 / 4 + 1 / 9 + 1 / 16
    assert shares == pytest.approx([1 / whole, 1 / 4 / whole, 1 / 9 / whole, 1 / 16 / whole], abs=0.02)


def test_a_short_prompt_has_one_token_of_its_own() -> None:
    """A prompt no longer than the prefix is cut out of it but for its last token; its length is as asked."""
    short = Workload(
        input_tokens=Lengths(distribution="uniform", mean=10, minimum=4, maximum=16),
        output_tokens=Lengths(mean=1),
        shared_prefix=SharedPrefix(tokens=PREFIX),
    )
    prompts, _ = sent(short)
    longest = max(prompts, key=len)
    assert min(map(len, prompts)) < PREFIX < len(longest)
    for prompt in prompts:
        shared = min(len(prompt) - 1, PREFIX)
        assert prompt[:shared] == longest[:shared]
    assert len(set(prompts)) == len(prompts)


def test_words_share_prefixes_too() -> None:
    """A server of text gets prompts whose first words are shared; the counts are as asked."""

    async def work() -> tuple[list[str], list[Record]]:
        async with ExactServer(takes_ids=False) as exact:
            found = await inspect(Endpoint(exact.url))
            exact.seen.clear()
            heard = Heard()
            asked = make_schedule(SHARED, ClosedLoad(concurrency=1), Stop(requests=REQUESTS), 5)
            await run_load(job(exact, asked, identity=found), heard.hooks)
            return [seen.body["prompt"] for seen in exact.seen], heard.by_id()

    texts, records = on_loop(work)
    assert len({tuple(text.split()[:PREFIX]) for text in texts}) == 4
    assert len(set(texts)) == REQUESTS
    assert all(record.input_tokens == record.requested_input_tokens for record in records)
