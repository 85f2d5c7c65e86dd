"""vLLM's V1 scheduler: which sequence computes how many tokens in the next step.

Facts it follows (vLLM 0.32, v1/core/sched/scheduler.py and v1/core/kv_cache_manager.py, defaults):
running sequences come first, in the order they were admitted, one token each when decoding; a step that had to
preempt admits nobody; waiting ones are admitted first come first served while tokens, sequences and blocks last,
and only when the blocks for all their tokens are free; the last admitted is preempted first, loses its blocks,
returns to the head of the queue and computes its prompt and its tokens so far again. There is no watermark.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

from giq.engine.batch import DecodingBatch
from giq.engine.memory import KvLayout
from giq.engine.sequence import NEVER, Segment, Sequence
from giq.engine.spec import EngineSpec
from giq.engine.step_time import Work, window_pairs


@dataclass(frozen=True)
class Limits:
    """What one step and the KV cache hold."""

    max_num_batched_tokens: int
    max_num_seqs: int
    kv_blocks: int
    layout: KvLayout

    @classmethod
    def of(cls, spec: EngineSpec) -> Limits:
        """The limits of *spec*."""
        return cls(spec.max_num_batched_tokens, spec.max_num_seqs, spec.memory.kv_blocks, spec.layout)


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
    """

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self.step = 0
        self.free_blocks = limits.kv_blocks
        self.waiting: deque[Sequence] = deque()
        self.running: dict[int, Sequence] = {}  # in the order of admission
        self.decoding = DecodingBatch(limits.layout)
        self.fullest = limits.kv_blocks
        self.preemptions = 0
        self._partial: Sequence | None = None  # admitted with only a part of its prompt computed: always the last

    @property
    def idle(self) -> bool:
        """Whether nothing runs or waits."""
        return not self.running and not self.waiting

    @property
    def kv_usage(self) -> float:
        """The share of KV blocks in use."""
        return 1.0 - self.free_blocks / self.limits.kv_blocks

    def add(self, sequence: Sequence, now: float) -> None:
        """*sequence* arrives at the end of the queue; its whole context must fit the KV cache."""
        sequence.queued_at = now
        sequence.target = sequence.prompt
        self.waiting.append(sequence)

    def plan(self, now: float) -> Plan:
        """Admit, preempt and give blocks for the next step."""
        due = self.decoding.blocks_due(self.step)
        preempted = self._make_room(now) if due > self.free_blocks else []
        self.free_blocks -= self.decoding.blocks_due(self.step) if preempted else due
        plan = Plan(self.decoding.count, [], preempted)
        budget = self.limits.max_num_batched_tokens - plan.decoding
        if self._partial is not None:
            budget -= self._continue_partial(plan, self._partial, budget, now)
        if self.waiting and not preempted:
            self._admit(plan, budget, now)
        return plan

    def work(self, plan: Plan) -> Work:
        """What the planned step computes."""
        tokens, sequences = plan.decoding, plan.decoding
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
        return 1 + self.decoding.steps_within(self.free_blocks, self.step + 1, change - 1)

    def advance(self, plan: Plan, steps: int, now: float) -> list[tuple[Sequence, Segment]]:
        """The planned step was run *steps* times and the last ended *now*: who is done, with its last stay."""
        if steps > 1:
            self.free_blocks -= self.decoding.blocks_of(steps - 1, self.step + 1)
        self.fullest = self.free_blocks
        self.step += steps
        self.decoding.pass_steps(steps, self.step)
        ended = self.decoding.pop_ended(self.step)
        done = [self._release(sequence, now) for sequence in ended] if ended else []
        for sequence, _, count in plan.chunks:
            sequence.computed += count
            if sequence.computed == sequence.target:
                self._emit_first(sequence, now, done)
        return done

    def emitting(self, plan: Plan) -> list[Sequence]:
        """The sequences that get a token from the planned step, in the order of admission."""
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
        while self.decoding.blocks_due(self.step) > self.free_blocks:
            preempted.append(self._preempt(now))
        return preempted

    def _continue_partial(self, plan: Plan, sequence: Sequence, budget: int, now: float) -> int:
        """The next chunk of the prompt that was cut in the step before; its tokens."""
        count = min(sequence.target - sequence.computed, budget)
        if count == 0:
            return 0
        blocks = self.limits.layout.blocks
        needed = blocks(sequence.computed + count) - blocks(sequence.computed)
        if needed > self.free_blocks:
            plan.preempted.append(self._preempt(now))
            return 0
        self._take_chunk(plan, sequence, count, needed)
        return count

    def _admit(self, plan: Plan, budget: int, now: float) -> None:
        blocks = self.limits.layout.blocks
        while self.waiting and budget > 0 and len(self.running) < self.limits.max_num_seqs:
            sequence = self.waiting[0]
            if blocks(sequence.target) > self.free_blocks:
                break
            self.waiting.popleft()
            sequence.admitted_at = now
            sequence.computed = sequence.cached
            self.running[sequence.number] = sequence
            count = min(sequence.target - sequence.computed, budget)
            self._take_chunk(plan, sequence, count, blocks(sequence.computed + count))
            budget -= count

    def _take_chunk(self, plan: Plan, sequence: Sequence, count: int, needed: int) -> None:
        plan.chunks.append((sequence, sequence.computed, count))
        self.free_blocks -= needed
        self._partial = None if sequence.computed + count == sequence.target else sequence

    def _emit_first(self, sequence: Sequence, now: float, done: list[tuple[Sequence, Segment]]) -> None:
        """The first token of this stay, given by the step that computed the last of the prompt."""
        sequence.generated += 1
        remaining = sequence.output - sequence.generated
        if remaining:
            self.decoding.enter(sequence, self.step, remaining)
            return
        done.append(self._release(sequence, now, first_step=self.step - 1))

    def _release(self, sequence: Sequence, now: float, first_step: int | None = None) -> tuple[Sequence, Segment]:
        """*sequence* is done: its blocks are free, and its last stay is told."""
        del self.running[sequence.number]
        gained = 0 if sequence.entered == NEVER else self.step - sequence.entered
        self.free_blocks += self.limits.layout.blocks(sequence.computed + gained)
        first = sequence.entered - 1 if first_step is None else first_step
        segment = Segment(sequence.number, sequence.queued_at, sequence.admitted_at, now, first, gained + 1)
        sequence.computed, sequence.generated, sequence.entered = 0, sequence.generated + gained, NEVER
        return sequence, segment

    def _leave(self, sequence: Sequence) -> None:
        """Out of the batch, with its blocks freed."""
        del self.running[sequence.number]
        self.free_blocks += self.limits.layout.blocks(sequence.context(self.step))
        if sequence.entered != NEVER:
            self.decoding.leave(sequence, self.step)
        if sequence is self._partial:
            self._partial = None

    def _preempt(self, now: float) -> Segment:
        """The last admitted gives up its blocks and goes back to the head of the queue."""
        sequence = next(reversed(self.running.values()))
        self._leave(sequence)
        decoded = sequence.entered != NEVER
        tokens = self.step - sequence.entered + 1 if decoded else 0
        first = sequence.entered - 1 if decoded else NEVER
        segment = Segment(sequence.number, sequence.queued_at, sequence.admitted_at, now, first, tokens)
        sequence.generated = sequence.given(self.step)
        sequence.target = sequence.prompt + sequence.generated
        sequence.computed, sequence.cached, sequence.entered = 0, 0, NEVER
        sequence.queued_at = now
        self.waiting.appendleft(sequence)
        self.preemptions += 1
        return segment
