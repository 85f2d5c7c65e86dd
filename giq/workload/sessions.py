"""The sessions of a load point with conversations: which requests belong together, in which order, how far apart."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from giq.errors import UsageError
from giq.units import format_span
from giq.workload.conversation import Conversation
from giq.workload.lengths import draw_lengths, mean_length
from giq.workload.workload import Load, OpenLoad, Stop, Workload

SETTLED = 6
"""A load of conversations is held at least so many times as long as a mean session thinks."""

_LONGEST_PROMPT = 2**30


@dataclass(frozen=True, eq=False)
class Sessions:
    """One entry per request; the requests of a session are neighbours, in the order of its turns.

    `session_id` (int64) counts from 0, `turn` (int16) from 1. `parent` (int64) is the index of the request whose
    answer this one follows, -1 for a first turn.
    """

    session_id: NDArray[np.int64]
    turn: NDArray[np.int16]
    parent: NDArray[np.int64]

    @classmethod
    def of(cls, turns: NDArray[np.int64]) -> Sessions:
        """The sessions of so many turns each."""
        count = int(turns.sum())
        session_id = np.repeat(np.arange(len(turns), dtype=np.int64), turns)
        starts = np.cumsum(turns) - turns
        turn = np.arange(count, dtype=np.int64) - starts[session_id] + 1
        parent = np.where(turn > 1, np.arange(count, dtype=np.int64) - 1, -1)
        return cls(session_id, turn.astype(np.int16), parent)

    @property
    def first(self) -> NDArray[np.bool_]:
        """Which requests begin a session."""
        return np.asarray(self.parent < 0)

    def prompts(self, own: NDArray[np.int64], outputs: NDArray[np.int32]) -> NDArray[np.int32]:
        """Whole prompts in tokens: all turns' *own* tokens so far, and all answers before.

        Raises:
            UsageError: one would be longer than any server takes.
        """
        grown = np.cumsum(own + outputs)
        before = (grown - own - outputs)[self.first]
        whole = grown - outputs - before[self.session_id]
        if len(whole) and int(whole.max()) > _LONGEST_PROMPT:
            raise UsageError("a conversation grows beyond any context", hint="Give fewer turns or shorter lengths.")
        return whole.astype(np.int32)


def refuse_unsettled(workload: Workload, load: Load, stop: Stop) -> None:
    """Refuse to hold a load of conversations so shortly that the first of them are hardly over when it ends.

    Until then fewer later turns come than will, which looks like a load that grows. The time that users think is
    known beforehand: SETTLED times that of a mean session is asked for.

    Raises:
        UsageError: *stop* comes earlier.
    """
    least_s = settling_s(workload)
    if not least_s or not workload.arrival.is_steady:
        return
    ends = [stop.duration_s] if stop.duration_s is not None else []
    if isinstance(load, OpenLoad) and stop.requests is not None:
        ends.append(stop.requests / load.rate_rps)
    if ends and min(ends) < least_s:
        raise UsageError(
            f"{format_span(min(ends))} at {load} are too short for conversations with {format_span(least_s / SETTLED)} "
            "of thinking to settle",
            hint=f"Hold each load for at least {format_span(least_s)} (--duration, --requests).",
        )


def settling_s(workload: Workload) -> float:
    """How long a load of conversations is held at least, in seconds; 0 where nobody thinks."""
    talk = workload.conversation
    return 0.0 if talk is None else SETTLED * (mean_turns(talk) - 1) * talk.think.mean_s


def mean_turns(conversation: Conversation | None) -> float:
    """Requests per session on average; 1 where there are no conversations."""
    return 1.0 if conversation is None else mean_length(conversation.turns)


def draw_turns(conversation: Conversation, sessions: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """The turns of each of so many sessions; of fewer sessions the first are the same.

    Raises:
        UsageError: a session has more turns than a record can number.
    """
    turns = draw_lengths(conversation.turns, sessions, rng).astype(np.int64)
    if len(turns) and int(turns.max()) > np.iinfo(np.int16).max:
        raise UsageError(f"a session of {int(turns.max()):,} turns", hint="Give fewer turns.")
    return turns


def cut_sessions(turns: NDArray[np.int64], requests: int) -> NDArray[np.int64]:
    """The first sessions, together of *requests* turns (or of all there are); the last may be cut short."""
    ends = np.cumsum(turns)
    needed = int(np.searchsorted(ends, requests)) + 1
    if needed > len(turns):
        return turns
    cut = turns[:needed].copy()
    cut[-1] -= int(ends[needed - 1]) - requests
    return cut
