"""vLLM's V1 scheduler: which sequence computes how many tokens in the next step.

Facts it follows (vLLM 0.32, v1/core/sched/scheduler.py and v1/core/kv_cache_manager.py, defaults):
running sequences come first, in the order they were admitted, one token each when decoding; a step that had to
preempt admits nobody; waiting ones are admitted first come first served while tokens, sequences and blocks last,
and only when the blocks for all their tokens are free; the last admitted is preempted first, loses its blocks,
returns to the head of the queue and computes its prompt and its tokens so far again. There is no watermark.
With prefix caching (v1/core/kv_cache_manager.py) a sequence finds the longest run of full blocks whose content is
known, but computes its last token always; blocks are known as soon as they are scheduled, and after they are freed
until they are given out again. A preempted sequence finds what is left of its own.
With speculation a decoding sequence computes `width` tokens in each step and has blocks for them.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from itertools import pairwise

from giq.engine.batch import DecodingBatch
from giq.engine.blocks import Block, BlockPool
from giq.engine.memory import KvLayout
from giq.engine.sequence import NEVER, Segment, Sequence
from giq.engine.spec import EngineSpec
from giq.engine.speculation import SpeculatingBatch, Speculation
from giq.engine.step_time import Work, window_pairs


@dataclass(frozen=True)
class Limits:
    """What one step and the KV cache hold, and how decoding and the cache work."""

    max_num_batched_tokens: int
    max_num_seqs: int
    kv_blocks: int
    layout: KvLayout
    prefix_caching: bool = True
    speculation: Speculation | None = None

    @classmethod
    def of(cls, spec: EngineSpec) -> Limits:
        """The limits of *spec*."""
        return cls(
            spec.max_num_batched_tokens,
            spec.max_num_seqs,
            spec.memory.kv_blocks,
            spec.layout,
            spec.prefix_caching,
            spec.speculation,
        )

    @property
    def width(self) -> int:
        """Tokens that a decoding sequence computes in a step."""
        return 1 if self.speculation is None else self.speculation.tokens + 1


@dataclass(slots=True)
class Plan:
    """What the next step does.

    `decoding` sequences gain one token each; each of `chunks` is a sequence, where its chunk starts and how
    many tokens it has. `preempted` left the batch to make room, with what they had got; the step must be run
    even when nothing but that happened.
    """

    decoding: int
    chunks: list[tuple[Sequence, int, int]]
    preempted: list[Segment]


class Scheduler:
    """The state machine of the engine; no clock of its own, so that virtual and real time can both drive it.

    Repeat: `add` what has arrived, `plan` the next step, spend its time, `advance`. When a plan has no chunks
    and no preemptions, the same step may be repeated up to `horizon` times before the next plan.
    `free_blocks` are those free now, `fullest` those that were when the last step ended, before anyone left.
    `queried` and `hit` count prompt tokens looked up in the prefix cache and found there, at first admission.
    """

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self.step = 0
        self.waiting: deque[Sequence] = deque()
        self.running: dict[int, Sequence] = {}  # in the order of admission
        self.decoding: DecodingBatch | SpeculatingBatch = (
            DecodingBatch(limits.layout)
            if limits.speculation is None
            else SpeculatingBatch(limits.layout, limits.speculation)
        )
        self.fullest = limits.kv_blocks
        self.preemptions = self.queried = self.hit = 0
        self._width = limits.width
        self._caching = limits.prefix_caching and limits.layout.full_units > 0  # a window's blocks are never shared
        self._pool = BlockPool(limits.kv_blocks, limits.layout.full_units)
        self._partial: Sequence | None = None  # admitted with only a part of its prompt computed: always the last

    @property
    def idle(self) -> bool:
        """Whether nothing runs or waits."""
        return not self.running and not self.waiting

    @property
    def free_blocks(self) -> int:
        """Blocks that no sequence holds, whatever is in them."""
        return self._pool.free

    @property
    def kv_usage(self) -> float:
        """The share of KV blocks in use."""
        return 1.0 - self._pool.free / self.limits.kv_blocks

    def add(self, sequence: Sequence, now: float) -> None:
        """*sequence* arrives at the end of the queue; its whole context must fit the KV cache."""
        sequence.queued_at = now
        sequence.target = sequence.prompt
        self.waiting.append(sequence)

    def plan(self, now: float) -> Plan:
        """Admit, preempt and give blocks for the next step."""
        due = self.decoding.blocks_due(self.step)
        preempted: list[Segment] = []
        if due > self._pool.free:
            preempted = self._make_room(now)
            due = self.decoding.blocks_due(self.step)
        self._pool.take(due)
        plan = Plan(self.decoding.count, [], preempted)
        budget = self.limits.max_num_batched_tokens - plan.decoding * self._width
        if self._partial is not None:
            budget -= self._continue_partial(plan, self._partial, budget, now)
        if self.waiting and budget > 0 and not preempted:
            self._admit(plan, budget, now)
        return plan

    def work(self, plan: Plan) -> Work:
        """What the planned step computes."""
        tokens = sequences = plan.decoding * self._width
        full_tokens, local_tokens = self.decoding.full_tokens, self.decoding.local_tokens
        full_pairs = local_pairs = 0
        window = self.limits.layout.window
        for sequence, start, count in plan.chunks:
            tokens += count
            sequences += start + count == sequence.target
            full_tokens += start
            full_pairs += count * start + count * (count + 1) // 2
            if window:
                local_tokens += min(start, window)
                local_pairs += window_pairs(start, count, window)
        return Work(tokens, sequences, full_tokens, local_tokens, full_pairs, local_pairs)

    def horizon(self) -> int:
        """How many steps of the kind just planned can be run before anything changes but for arrivals.

        Only for a plan without chunks and preemptions; ends with the first sequence that is done, leaves its
        window, or finds no block.
        """
        change = self.decoding.next_change(self.step)
        return 1 + self.decoding.steps_within(self._pool.free, self.step + 1, change - 1)

    def advance(self, plan: Plan, steps: int, now: float) -> list[tuple[Sequence, Segment]]:
        """The planned step was run *steps* times and the last ended *now*: who is done, with its last stay."""
        if steps > 1:
            self._pool.take(self.decoding.blocks_of(steps - 1, self.step + 1))
        self.fullest = self._pool.free
        self.step += steps
        self.decoding.pass_steps(steps, self.step)
        ended = self.decoding.pop_ended(self.step)
        done = [self._finish(sequence, now) for sequence in ended] if ended else []
        for sequence, _, count in plan.chunks:
            sequence.computed += count
            if sequence.computed == sequence.target:
                self._emit_first(sequence, now, done)
        return done

    def emitting(self, plan: Plan) -> list[Sequence]:
        """The sequences that get tokens from the planned step, in the order of admission."""
        whole = {sequence.number for sequence, start, count in plan.chunks if start + count == sequence.target}
        return [sequence for sequence in self.running.values() if sequence.entered != NEVER or sequence.number in whole]

    def abort(self, sequence: Sequence) -> None:
        """*sequence* is given up, wherever it is; its blocks are free from now on. Between steps only."""
        if sequence.number not in self.running:
            self.waiting.remove(sequence)
            return
        self._leave(sequence)

    def _make_room(self, now: float) -> list[Segment]:
        """Preempt from the last admitted on, until one token of every sequence left has its block."""
        preempted: list[Segment] = []
        while self.decoding.blocks_due(self.step) > self._pool.free:
            preempted.append(self._preempt(now))
        return preempted

    def _continue_partial(self, plan: Plan, sequence: Sequence, budget: int, now: float) -> int:
        """The next chunk of the prompt that was cut in the step before; its tokens."""
        count = min(sequence.target - sequence.computed, budget)
        if count <= 0:
            return 0
        blocks = self.limits.layout.blocks
        needed = blocks(sequence.computed + count) - blocks(sequence.computed)
        if needed > self._pool.free:
            plan.preempted.append(self._preempt(now))
            return 0
        self._take_chunk(plan, sequence, count, needed)
        return count

    def _admit(self, plan: Plan, budget: int, now: float) -> None:
        layout, pool = self.limits.layout, self._pool
        blocks = layout.blocks
        while self.waiting and budget > 0 and len(self.running) < self.limits.max_num_seqs:
            sequence = self.waiting[0]
            if blocks(sequence.target) > pool.free and not self._fits_with_hits(sequence):
                break
            self.waiting.popleft()
            sequence.admitted_at = now
            held = self._find_prefix(sequence) if sequence.content or sequence.kept else 0
            found = held // layout.full_units * layout.block_size if held else 0
            if sequence.is_new:
                sequence.is_new, sequence.hit = False, found
                self.queried += sequence.prompt if self._caching else 0
                self.hit += found
            self.running[sequence.number] = sequence
            sequence.computed = max(sequence.ready, found)
            count = min(sequence.target - sequence.computed, budget)
            self._take_chunk(plan, sequence, count, blocks(sequence.computed + count) - held)
            budget -= count

    def _hits(self, sequence: Sequence) -> list[Block]:
        """The blocks that *sequence* finds in the cache, all before its last token."""
        found: list[Block] = []
        if sequence.content is not None and self._caching:
            for number in range((sequence.target - 1) // self.limits.layout.block_size):
                key = sequence.content.key(number)
                block = None if key is None else self._pool.find(key)
                if block is None:
                    break
                found.append(block)
        return found

    def _fits_with_hits(self, sequence: Sequence) -> bool:
        """Whether the blocks that *sequence* does not find in use already are free."""
        used = sum(block.users > 0 for block in self._hits(sequence))
        layout = self.limits.layout
        return used > 0 and layout.blocks(sequence.target) - used * layout.full_units <= self._pool.free

    def _find_prefix(self, sequence: Sequence) -> int:
        """Take what is in the cache of *sequence*'s context: how many blocks it holds by that."""
        layout = self.limits.layout
        if sequence.kept is not None:
            most = (sequence.target - 1) // layout.block_size
            whole = min(sequence.kept.count // layout.full_units, most)
            kept, sequence.kept = sequence.kept, None
            return self._pool.take_kept(kept, whole * layout.full_units)
        hits = self._hits(sequence)
        for block in hits:
            self._pool.use(block)
        sequence.shared += hits
        return len(hits) * layout.full_units

    def _take_chunk(self, plan: Plan, sequence: Sequence, count: int, needed: int) -> None:
        plan.chunks.append((sequence, sequence.computed, count))
        self._pool.take(needed)
        if sequence.content is not None:
            self._name_blocks(sequence, sequence.computed + count)
        self._partial = None if sequence.computed + count == sequence.target else sequence

    def _name_blocks(self, sequence: Sequence, context: int) -> None:
        """The full blocks of *context* tokens can be found from now on."""
        if sequence.content is None or not self._caching:
            return
        for number in range(len(sequence.shared), context // self.limits.layout.block_size):
            key = sequence.content.key(number)
            if key is None:
                return
            sequence.shared.append(self._pool.name(key))

    def _emit_first(self, sequence: Sequence, now: float, done: list[tuple[Sequence, Segment]]) -> None:
        """The first token of this stay, given by the step that computed the last of the prompt."""
        sequence.generated += 1
        remaining = sequence.output - sequence.generated
        if remaining:
            self.decoding.enter(sequence, self.step, remaining)
            return
        done.append(self._finish(sequence, now))

    def _finish(self, sequence: Sequence, now: float) -> tuple[Sequence, Segment]:
        """*sequence* is done: its blocks are free, and its last stay is told."""
        segment = self._stay(sequence, now)
        self._release(sequence)
        return sequence, segment

    def _stay(self, sequence: Sequence, now: float) -> Segment:
        """The stay of *sequence* that ends *now*."""
        entered, passed = sequence.entered, sequence.passed
        if entered != NEVER:
            first, steps = entered - 1, self.step - entered + 1
        elif sequence.computed == sequence.target:
            first, steps = self.step - 1, 1  # done with its first token
        else:
            first, steps = NEVER, 0
        gains = None
        if passed is not None:
            gains = (1, *(after - before for before, after in pairwise(passed[:steps])))
        times = (sequence.queued_at, sequence.admitted_at, now)
        return Segment(sequence.number, *times, first, steps, sequence.prompt, sequence.hit, gains)

    def _release(self, sequence: Sequence, resumes: bool = False) -> None:
        """Out of the batch: blocks that others may want are kept in the cache, one that *resumes* keeps its own."""
        del self.running[sequence.number]
        layout, pool = self.limits.layout, self._pool
        context = sequence.context(self.step)
        held = self.decoding.held(sequence, self.step)
        whole = context // layout.block_size * layout.full_units
        if sequence.content is not None:
            self._name_blocks(sequence, context)
            named = [block for block in sequence.shared if block is not None]
            pool.give(held - len(named) * layout.full_units, held - whole)
            for block in reversed(named):
                pool.leave(block)
            sequence.shared = []
        elif resumes and self._caching:
            pool.give(held - whole, held - whole)
            sequence.kept = pool.keep(whole)
        else:
            pool.give(held, held - whole)
        sequence.generated = sequence.given(self.step)
        sequence.computed, sequence.entered, sequence.passed = 0, NEVER, None

    def _leave(self, sequence: Sequence, resumes: bool = False) -> None:
        """Out of the batch before its end."""
        if sequence.entered != NEVER:
            self.decoding.leave(sequence, self.step)
        if sequence is self._partial:
            self._partial = None
        self._release(sequence, resumes)

    def _preempt(self, now: float) -> Segment:
        """The last admitted gives up its blocks and goes back to the head of the queue."""
        sequence = next(reversed(self.running.values()))
        segment = self._stay(sequence, now)
        self._leave(sequence, resumes=True)
        sequence.target = sequence.prompt + sequence.generated
        sequence.ready = 0
        sequence.queued_at = now
        self.waiting.appendleft(sequence)
        self.preemptions += 1
        return segment
