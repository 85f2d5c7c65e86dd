"""The scheduler: vLLM's order and limits, and nothing lost on the way."""

from __future__ import annotations

from dataclasses import dataclass

from hypothesis import given, settings
from hypothesis import strategies as st

from giq.engine.memory import KvLayout
from giq.engine.scheduler import Limits, Plan, Scheduler
from giq.engine.sequence import NEVER, Sequence

PLAIN = KvLayout(block_size=4, unit_bytes=1.0, full_units=1)
WINDOWED = KvLayout(block_size=4, unit_bytes=1.0, full_units=1, local_units=2, window=10)


def scheduler(blocks: int = 1000, tokens: int = 32, seqs: int = 8, layout: KvLayout = PLAIN) -> Scheduler:
    """A small scheduler."""
    return Scheduler(Limits(tokens, seqs, blocks, layout))


def held(machine: Scheduler) -> int:
    """Blocks that the running sequences' contexts need."""
    return sum(machine.limits.layout.blocks(item.context(machine.step)) for item in machine.running.values())


def check(machine: Scheduler, plan: Plan) -> None:
    """What must hold of every plan: limits of tokens and sequences, decodes all in, each blocks of its own."""
    limits = machine.limits
    assert plan.decoding + sum(count for _, _, count in plan.chunks) <= limits.max_num_batched_tokens
    assert len(machine.running) <= limits.max_num_seqs
    assert plan.decoding == sum(item.entered != NEVER for item in machine.running.values())
    assert 0 <= machine.free_blocks <= limits.kv_blocks
    assert all(count > 0 for _, _, count in plan.chunks)


@dataclass
class Ran:
    """What a whole run gave: tokens by sequence in the order given, and how often each step had preemptions."""

    tokens: dict[int, int]
    first_steps: list[int]
    preemptions: int


def run(machine: Scheduler, sequences: list[Sequence], skip: bool = False) -> Ran:
    """Drive *machine* to its end, every step checked; with *skip* as many steps at once as it says."""
    for sequence in sequences:
        machine.add(sequence, 0.0)
    tokens: dict[int, int] = dict.fromkeys((item.number for item in sequences), 0)
    first_steps: list[int] = []
    for _ in range(100_000):
        if machine.idle:
            assert machine.free_blocks == machine.limits.kv_blocks
            return Ran(tokens, first_steps, machine.preemptions)
        plan = machine.plan(float(machine.step))
        check(machine, plan)
        for stay in plan.preempted:
            tokens[stay.number] += stay.tokens
        if not plan.chunks and not plan.decoding:
            continue
        steps = machine.horizon() if skip and not plan.chunks and not plan.preempted else 1
        before = machine.step
        for sequence, stay in machine.advance(plan, steps, float(machine.step + steps)):
            tokens[sequence.number] += stay.tokens
        assert machine.step == before + steps
        assert machine.fullest >= 0
        assert held(machine) == machine.limits.kv_blocks - machine.free_blocks
    raise AssertionError("the run does not end")


requests = st.lists(st.tuples(st.integers(1, 60), st.integers(1, 40)), min_size=1, max_size=25)
machines = st.builds(
    scheduler,
    blocks=st.integers(60, 120),
    tokens=st.integers(8, 64),
    seqs=st.integers(1, 8),
    layout=st.sampled_from([PLAIN, WINDOWED]),
)


@given(machines, requests, st.booleans())
@settings(max_examples=200, deadline=None)
def test_tokens_and_blocks_are_conserved(machine: Scheduler, lengths: list[tuple[int, int]], skip: bool) -> None:
    """Every request gets exactly its tokens, however often preempted, and all blocks come back."""
    sequences = [Sequence(number, prompt, output) for number, (prompt, output) in enumerate(lengths)]
    ran = run(machine, sequences, skip)
    assert ran.tokens == {number: output for number, (_, output) in enumerate(lengths)}


@given(requests, st.integers(60, 120), st.sampled_from([PLAIN, WINDOWED]))
@settings(max_examples=100, deadline=None)
def test_skipping_steps_changes_nothing(lengths: list[tuple[int, int]], blocks: int, layout: KvLayout) -> None:
    """Steps run at once and one by one end at the same step, with as many preemptions."""
    results = []
    for skip in (False, True):
        machine = scheduler(blocks=blocks, layout=layout)
        sequences = [Sequence(number, prompt, output) for number, (prompt, output) in enumerate(lengths)]
        ran = run(machine, sequences, skip)
        results.append((machine.step, ran.preemptions, ran.tokens))
    assert results[0] == results[1]


def test_decodes_come_first() -> None:
    """A long prompt gets only the tokens that decoding sequences leave."""
    machine = scheduler(tokens=32)
    for number in range(3):
        machine.add(Sequence(number, 4, 50), 0.0)
    machine.advance(machine.plan(0.0), 1, 1.0)
    machine.add(Sequence(9, 100, 5), 1.0)
    chunks = []
    for _ in range(4):
        plan = machine.plan(0.0)
        assert plan.decoding == 3
        chunks += [(start, count) for _, start, count in plan.chunks]
        machine.advance(plan, 1, 0.0)
    assert chunks == [(0, 29), (29, 29), (58, 29), (87, 13)]


def test_prompts_are_admitted_first_come_first_served() -> None:
    """A short prompt behind a long one waits, and several share a step when they fit."""
    machine = scheduler(tokens=32)
    for number, prompt in enumerate((20, 20, 2)):
        machine.add(Sequence(number, prompt, 9), 0.0)
    plan = machine.plan(0.0)
    assert [(item.number, count) for item, _, count in plan.chunks] == [(0, 20), (1, 12)]
    machine.advance(plan, 1, 0.0)
    plan = machine.plan(0.0)
    assert [(item.number, count) for item, _, count in plan.chunks] == [(1, 8), (2, 2)]


def test_no_more_than_max_num_seqs_run() -> None:
    """The next is admitted in the step after one is done."""
    machine = scheduler(seqs=2)
    for number in range(4):
        machine.add(Sequence(number, 4, 3 + number), 0.0)
    seen = []
    while not machine.idle:
        plan = machine.plan(0.0)
        seen.append(sorted(machine.running))
        machine.advance(plan, 1, 0.0)
    assert max(map(len, seen)) == 2
    assert seen[0] == [0, 1]
    assert [1, 2] in seen


def test_a_request_is_admitted_only_when_all_its_prompt_fits() -> None:
    """Blocks for the whole prompt must be free, though only the first chunk takes its own."""
    machine = scheduler(blocks=20, tokens=16)
    machine.add(Sequence(0, 16, 30), 0.0)
    machine.add(Sequence(1, 64, 1), 0.0)
    machine.advance(machine.plan(0.0), 1, 0.0)
    plan = machine.plan(0.0)
    assert not plan.chunks
    assert [item.number for item in machine.waiting] == [1]


def test_the_last_admitted_is_preempted_and_computed_again() -> None:
    """When blocks run out the last admitted leaves with what it got, and later computes prompt and output as one."""
    machine = scheduler(blocks=8, tokens=32)
    first, last = Sequence(0, 12, 20), Sequence(1, 12, 12)
    machine.add(first, 0.0)
    machine.add(last, 0.0)
    plan = machine.plan(0.0)
    while not plan.preempted:
        machine.advance(plan, 1, 0.0)
        plan = machine.plan(0.0)
    assert [stay.number for stay in plan.preempted] == [1]
    assert list(machine.running) == [0]
    assert machine.waiting[0] is last
    assert last.target == 12 + last.generated
    assert plan.preempted[0].tokens == last.generated > 0
    assert not plan.chunks


def test_a_step_that_preempts_admits_nobody() -> None:
    """The blocks just freed are not given to a waiting request in the same step."""
    machine = scheduler(blocks=8, tokens=32)
    for number in range(2):
        machine.add(Sequence(number, 12, 20), 0.0)
    machine.advance(machine.plan(0.0), 1, 0.0)
    machine.add(Sequence(2, 1, 1), 0.0)
    while True:
        plan = machine.plan(0.0)
        if plan.preempted:
            assert not plan.chunks
            return
        machine.advance(plan, 1, 0.0)


def test_an_abort_frees_everything() -> None:
    """Given up while it waits, computes its prompt or decodes: its blocks and its place are free."""
    machine = scheduler(tokens=16, seqs=3)
    sequences = [Sequence(0, 4, 50), Sequence(1, 40, 5), Sequence(2, 4, 5)]
    for sequence in sequences:
        machine.add(sequence, 0.0)
    machine.advance(machine.plan(0.0), 1, 0.0)
    decoding, partial, waiting = sequences
    assert decoding.entered != NEVER
    assert 0 < partial.computed < partial.prompt
    for sequence in (waiting, partial, decoding):
        machine.abort(sequence)
        plan = machine.plan(0.0)
        if plan.decoding:
            machine.advance(plan, 1, 0.0)
    assert machine.idle
    assert machine.free_blocks == machine.limits.kv_blocks
    assert machine.decoding.full_tokens == 0


def test_a_prompt_in_the_cache_is_not_computed_again() -> None:
    """A sequence whose KV is there computes one token, but holds the blocks of all."""
    machine = scheduler()
    machine.add(Sequence(0, 41, 5, ready=40), 0.0)
    plan = machine.plan(0.0)
    assert [(start, count) for _, start, count in plan.chunks] == [(40, 1)]
    assert machine.limits.kv_blocks - machine.free_blocks == 11
