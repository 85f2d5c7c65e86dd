"""Speculative decoding: drafted tokens that are accepted at a rate, so that a step gives a sequence several."""

from __future__ import annotations

import re
from dataclasses import dataclass
from heapq import heappop, heappush

import numpy as np
from numpy.typing import NDArray

from giq.engine.memory import KvLayout
from giq.engine.sequence import NEVER, Sequence
from giq.errors import UsageError

FORM = "method=eagle3,tokens=3,acceptance=0.75,drafter=0.06"
"""How a configuration says it."""

_FIRST_SLOTS = 4096


@dataclass(frozen=True)
class Speculation:
    """`tokens` are drafted for each sequence in each step; each is accepted with chance `acceptance`.

    So a step gives 1 + accepted tokens, (1 - a^(k+1)) / (1 - a) on average (Leviathan et al. 2023, eq. 1), and
    computes all k + 1. Drafting takes the share `drafter` of the step's own time.
    """

    method: str
    tokens: int
    acceptance: float
    drafter: float

    @property
    def mean_tokens(self) -> float:
        """Tokens that a step gives a sequence, on average."""
        return sum(self.acceptance**place for place in range(self.tokens + 1))

    def gains(self, tokens: int, seed: tuple[int, ...]) -> NDArray[np.int64]:
        """How many of *tokens* each step gives, drawn with *seed*; the last step gives what is left."""
        rng = np.random.default_rng(seed)
        accepted = (rng.random((tokens, self.tokens)) < self.acceptance).cumprod(axis=1).sum(axis=1)
        after = np.cumsum(accepted + 1)
        steps = int(np.searchsorted(after, tokens)) + 1
        found: NDArray[np.int64] = (accepted[:steps] + 1).astype(np.int64)
        found[-1] -= after[steps - 1] - tokens
        return found


def parse_speculation(text: str) -> Speculation:
    """*text* in the form of FORM; `method` and `drafter` (0 unless given) may be left out.

    Raises:
        UsageError: a part is missing, unknown or out of range.
    """
    parts = dict(re.findall(r"([a-z]+)=([^,\s]+)", text))
    unknown = set(parts) - {"method", "tokens", "acceptance", "drafter"}
    try:
        found = Speculation(
            method=parts.get("method", "draft"),
            tokens=int(parts["tokens"]),
            acceptance=float(parts["acceptance"]),
            drafter=float(parts.get("drafter", "0")),
        )
    except (KeyError, ValueError):
        found = None
    if found is None or unknown or found.tokens < 1 or not 0 <= found.acceptance <= 1 or not 0 <= found.drafter < 10:
        raise UsageError(
            f"speculative decoding is simulated from its acceptance rate, and {text!r} does not tell it",
            hint=f"Say it like {FORM}: tokens drafted a step, chance that one is accepted, drafter's share of a step.",
        )
    return found


class SpeculatingBatch:
    """The decoding sequences when steps give several tokens: each has its own pace, drawn when it enters.

    What a coming step reads, and the blocks it needs, are summed in slots by step, so that a step costs the same
    however many sequences there are. Same interface as `DecodingBatch`; steps are never skipped.
    """

    def __init__(self, layout: KvLayout, speculation: Speculation) -> None:
        self._layout, self._speculation = layout, speculation
        self._slots = np.zeros((3, _FIRST_SLOTS), dtype=np.int64)  # blocks due, growth of full and of local reads
        self._own: dict[int, NDArray[np.int64]] = {}
        self._needs: dict[int, list[int]] = {}
        self._ends: list[tuple[int, int, Sequence]] = []
        self._step = 0
        self.count = self.full_tokens = self.local_tokens = 0
        self.growing = 0

    def enter(self, sequence: Sequence, step: int, remaining: int) -> None:
        """*sequence*, with all its tokens but the newest computed, decodes *remaining* tokens from *step* on."""
        gains = self._speculation.gains(remaining, (sequence.number, sequence.generated))
        passed = np.concatenate([[0], np.cumsum(gains)])
        read = np.minimum(sequence.computed + passed[:-1] + self._speculation.tokens + 1, sequence.computed + remaining)
        held = self._blocks(np.concatenate([[sequence.computed], read]))
        rows = np.zeros((3, len(gains) + 1), dtype=np.int64)
        rows[0, :-1] = np.diff(held)
        rows[1, 1:] = np.diff(read, append=0)
        rows[2, 1:] = np.diff(self._seen(read), append=0)
        sequence.entered, sequence.ends = step, step + len(gains)
        sequence.passed = passed.tolist()
        self._own[sequence.number], self._needs[sequence.number] = rows, held.tolist()
        self.count += 1
        self.full_tokens += int(read[0])
        self.local_tokens += int(self._seen(read[:1])[0])
        self._add(rows, step, 1)
        heappush(self._ends, (sequence.ends, sequence.number, sequence))

    def leave(self, sequence: Sequence, step: int) -> None:
        """*sequence* decodes no more: preempted or aborted after *step* steps."""
        rows, done = self._own.pop(sequence.number), step - sequence.entered
        self.count -= 1
        self.full_tokens += int(rows[1, done + 1 :].sum())
        self.local_tokens += int(rows[2, done + 1 :].sum())
        rest = rows[:, done:].copy()
        rest[1:, 0] = 0  # already in the sums
        self._add(rest, step, -1)
        sequence.ends = NEVER

    def held(self, sequence: Sequence, step: int) -> int:
        """Blocks that *sequence* has after *step* steps; asked once, when it gives them back."""
        if sequence.entered == NEVER:
            return self._layout.blocks(sequence.computed)
        return self._needs.pop(sequence.number)[step - sequence.entered]

    def pass_steps(self, steps: int, step: int) -> None:
        """One step is over, which brings the engine to *step*."""
        assert steps == 1  # noqa: S101 - `horizon` never gives more
        slots, size = self._slots, self._slots.shape[1]
        slots[:, (step - 1) % size] = 0
        self.full_tokens += int(slots[1, step % size])
        self.local_tokens += int(slots[2, step % size])
        slots[1:, step % size] = 0
        self._step = step

    def pop_ended(self, step: int) -> list[Sequence]:
        """The sequences that are done after *step* steps, in the order of their numbers; they have left."""
        ended = []
        while self._ends and self._ends[0][0] <= step:
            ends, _, sequence = heappop(self._ends)
            if sequence.ends == ends:
                del self._own[sequence.number]
                self.count -= 1
                sequence.ends = NEVER
                ended.append(sequence)
        return ended

    def next_change(self, step: int) -> int:
        """Every step differs from the next."""
        return 1

    def blocks_due(self, step: int) -> int:
        """Blocks that the step after *step* steps needs before it can run."""
        return int(self._slots[0, step % self._slots.shape[1]])

    def blocks_of(self, steps: int, step: int) -> int:
        """Blocks that *steps* steps from *step* on need together."""
        return sum(self.blocks_due(step + offset) for offset in range(steps))

    def steps_within(self, free: int, step: int, limit: int) -> int:
        """No steps are taken together."""
        return 0

    def _blocks(self, contexts: NDArray[np.int64]) -> NDArray[np.int64]:
        layout = self._layout
        held = -(-contexts // layout.block_size) * layout.full_units
        if layout.local_units:
            held = held + -(-self._seen(contexts) // layout.block_size) * layout.local_units
        return np.asarray(held)

    def _seen(self, contexts: NDArray[np.int64]) -> NDArray[np.int64]:
        """What layers with a window read of *contexts*."""
        return np.minimum(contexts, self._layout.window) if self._layout.local_units else np.zeros_like(contexts)

    def _add(self, rows: NDArray[np.int64], step: int, sign: int) -> None:
        length = rows.shape[1]
        while length > self._slots.shape[1]:
            self._enlarge(step)
        self._slots[:, np.arange(step, step + length) % self._slots.shape[1]] += sign * rows

    def _enlarge(self, step: int) -> None:
        """Twice the slots; those from *step* on keep what they have."""
        size = self._slots.shape[1]
        ahead = np.arange(step, step + size)
        larger = np.zeros((3, 2 * size), dtype=np.int64)
        larger[:, ahead % (2 * size)] = self._slots[:, ahead % size]
        self._slots = larger
