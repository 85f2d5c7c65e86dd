"""The decoding batch: sequences that each gain one token a step, counted together so that steps can be skipped."""

from __future__ import annotations

from heapq import heappop, heappush

from giq.engine.memory import KvLayout
from giq.engine.sequence import NEVER, Sequence


class DecodingBatch:
    """What is known of all decoding sequences at once.

    They advance in lockstep, so sums over them grow linearly with the step count, and the steps at which one
    needs a KV block repeat with the block size: counting sequences by that phase is enough to know how many
    blocks any number of steps takes. `full_tokens` and `local_tokens` are the contexts that the next step reads,
    of layers without and with a window.
    """

    def __init__(self, layout: KvLayout) -> None:
        self._layout = layout
        self._size = layout.block_size
        self._windowed = layout.local_units > 0
        self._due = [0] * layout.block_size
        self._ends: list[tuple[int, int, Sequence]] = []
        self._crossings: list[tuple[int, int, Sequence]] = []
        self.count = 0
        self.growing = 0  # those whose whole context is inside the window
        self.full_tokens = 0
        self.local_tokens = 0

    def enter(self, sequence: Sequence, step: int, remaining: int) -> None:
        """*sequence*, with all its tokens but the newest computed, decodes *remaining* tokens from *step* on."""
        sequence.entered = step
        sequence.ends = step + remaining
        self.count += 1
        self.full_tokens += sequence.computed + 1
        phase = (step - sequence.computed) % self._size
        self._due[phase] += self._layout.full_units
        heappush(self._ends, (sequence.ends, sequence.number, sequence))
        if not self._windowed:
            return
        if sequence.computed < self._layout.window:
            self.growing += 1
            self.local_tokens += sequence.computed + 1
            self._due[phase] += self._layout.local_units
            crossing = step + self._layout.window - sequence.computed
            heappush(self._crossings, (crossing, sequence.number, sequence))
        else:
            self.local_tokens += self._layout.window

    def leave(self, sequence: Sequence, step: int) -> None:
        """*sequence* decodes no more: it is done, preempted or aborted after *step* steps."""
        context = sequence.computed + step - sequence.entered
        self.count -= 1
        self.full_tokens -= context + 1
        phase = (sequence.entered - sequence.computed) % self._size
        self._due[phase] -= self._layout.full_units
        sequence.ends = NEVER
        if not self._windowed:
            return
        if context < self._layout.window:
            self.growing -= 1
            self.local_tokens -= context + 1
            self._due[phase] -= self._layout.local_units
        else:
            self.local_tokens -= self._layout.window

    def held(self, sequence: Sequence, step: int) -> int:
        """Blocks that *sequence* has after *step* steps."""
        return self._layout.blocks(sequence.context(step))

    def pass_steps(self, steps: int, step: int) -> None:
        """All sequences gain *steps* tokens, which brings the engine to *step*; no more than `next_change` allows."""
        self.full_tokens += steps * self.count
        if not self._windowed:
            return
        self.local_tokens += steps * self.growing
        while self._crossings and self._crossings[0][0] <= step:
            _, _, sequence = heappop(self._crossings)
            if sequence.ends >= step and sequence.computed + step - sequence.entered == self._layout.window:
                self.growing -= 1
                self.local_tokens -= 1  # the oldest of window + 1 tokens falls out of sight
                self._due[(sequence.entered - sequence.computed) % self._size] -= self._layout.local_units

    def pop_ended(self, step: int) -> list[Sequence]:
        """The sequences that are done after *step* steps, in the order of their numbers; they have left."""
        ended = []
        while self._ends and self._ends[0][0] <= step:
            ends, _, sequence = heappop(self._ends)
            if sequence.ends == ends:
                self.leave(sequence, step)
                ended.append(sequence)
        return ended

    def next_change(self, step: int) -> int:
        """Steps from *step* on until a sequence is done or a context outgrows its window; the batch is not empty."""
        while self._ends[0][2].ends != self._ends[0][0]:
            heappop(self._ends)
        change = self._ends[0][0]
        if self._crossings and self._crossings[0][0] < change:
            change = max(step + 1, self._crossings[0][0])
        return change - step

    def blocks_due(self, step: int) -> int:
        """Blocks that the step after *step* steps needs before it can run."""
        return self._due[step % self._size]

    def blocks_of(self, steps: int, step: int) -> int:
        """Blocks that *steps* steps from *step* on need together."""
        rounds, rest = divmod(steps, self._size)
        blocks = rounds * sum(self._due) if rounds else 0
        for offset in range(rest):
            blocks += self._due[(step + offset) % self._size]
        return blocks

    def steps_within(self, free: int, step: int, limit: int) -> int:
        """How many steps from *step* on, up to *limit*, *free* blocks are enough for."""
        a_round = self.count * (self._layout.full_units + self._layout.local_units)
        if (limit // self._size + 1) * a_round <= free:
            return limit
        a_round = sum(self._due)
        rounds = free // a_round if a_round else limit
        steps = rounds * self._size
        left = free - rounds * a_round
        while steps < limit and left >= self._due[(step + steps) % self._size]:
            left -= self._due[(step + steps) % self._size]
            steps += 1
        return min(steps, limit)
