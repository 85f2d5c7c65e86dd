"""One request inside the engine, from the queue to its last token."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

from giq.engine.blocks import Block, Run
from giq.engine.content import Content

NEVER = -1


class Segment(NamedTuple):
    """One stay of a request in the running batch: a second one follows only a preemption.

    Times are in the clock that the scheduler is driven by. The stay gave tokens in each of `steps` steps from
    `first_step` on (NEVER and 0 when it was preempted before its first): one a step, or as many as `gains` says.
    `hit` of the `prompt` tokens were found in the prefix cache.
    """

    number: int
    queued_at: float
    admitted_at: float
    ended_at: float
    first_step: int
    steps: int
    prompt: int = 0
    hit: int = 0
    gains: tuple[int, ...] | None = None

    @property
    def tokens(self) -> int:
        """Tokens that the stay gave."""
        return self.steps if self.gains is None else sum(self.gains)


@dataclass(slots=True, eq=False)
class Sequence:
    """A request as the scheduler sees it; the scheduler alone changes it.

    `generated` counts tokens given before the current stay in the batch, plus this stay's first. `computed`
    counts tokens whose KV is in the cache, as of `entered`: the step from which it decodes (NEVER before).
    `ready` tokens of the prompt need not be computed when it is first admitted: their KV came with it. `content`
    tells which blocks others may share (None: none), and `shared` are those it uses; `hit` tokens were found in the
    prefix cache when it was first admitted (until then it `is_new`). After a preemption `kept` are its own blocks.
    `ends` is the step count at which it is done. `passed` are the tokens decoded after each step, where steps give
    several (None: one a step).
    """

    number: int
    prompt: int
    output: int
    queued_at: float = 0.0
    admitted_at: float = 0.0
    ready: int = 0
    content: Content | None = None
    hit: int = 0
    is_new: bool = True
    generated: int = 0
    computed: int = 0
    target: int = 0
    entered: int = NEVER
    ends: int = NEVER
    passed: list[int] | None = None
    shared: list[Block | None] = field(default_factory=list)
    kept: Run | None = None

    def decoded(self, step: int) -> int:
        """Tokens decoded in this stay, beside its first, after *step* steps of the engine."""
        if self.entered == NEVER:
            return 0
        steps = step - self.entered
        return steps if self.passed is None else self.passed[steps]

    def context(self, step: int) -> int:
        """Tokens in the KV cache after *step* steps of the engine."""
        return self.computed + self.decoded(step)

    def given(self, step: int) -> int:
        """Tokens generated after *step* steps of the engine."""
        return self.generated + self.decoded(step)
