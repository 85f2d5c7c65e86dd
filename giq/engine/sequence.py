"""One request inside the engine, from the queue to its last token."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

NEVER = -1


class Segment(NamedTuple):
    """One stay of a request in the running batch: a second one follows only a preemption.

    Times are in the clock that the scheduler is driven by. The stay gave `tokens` tokens, one in each step from
    `first_step` on (NEVER when it was preempted before its first).
    """

    number: int
    queued_at: float
    admitted_at: float
    ended_at: float
    first_step: int
    tokens: int


@dataclass(slots=True, eq=False)
class Sequence:
    """A request as the scheduler sees it; the scheduler alone changes it.

    `generated` counts tokens given before the current stay in the batch, plus this stay's first. `computed`
    counts tokens whose KV is in the cache, as of `entered`: the step from which it decodes (NEVER before).
    `cached` tokens of the prompt need not be computed when it is first admitted: their KV is there.
    `ends` is the step count at which it is done.
    """

    number: int
    prompt: int
    output: int
    queued_at: float = 0.0
    admitted_at: float = 0.0
    cached: int = 0
    generated: int = 0
    computed: int = 0
    target: int = 0
    entered: int = NEVER
    ends: int = NEVER

    def context(self, step: int) -> int:
        """Tokens in the KV cache after *step* steps of the engine."""
        return self.computed if self.entered == NEVER else self.computed + step - self.entered

    def given(self, step: int) -> int:
        """Tokens generated after *step* steps of the engine."""
        return self.generated if self.entered == NEVER else self.generated + step - self.entered
