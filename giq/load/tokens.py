"""When an answer's tokens came: which chunks carry any, and how many.

The server's own counts decide, per chunk; where it gives none, its token ids; else whether there is content
(DESIGN §3). Nothing is ever tokenised again.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from operator import sub

from giq.curve.requests import TokenRule
from giq.load.messages import MAX_COUNT, Choice, Usage

MAX_CHUNK_TOKENS = 65_535


@dataclass(frozen=True, slots=True)
class Times:
    """The chunks that carry tokens: when they came (ns), how many tokens each (None: unknown), and by which rule.

    `first_answer` is when the answer proper began, after any reasoning.
    """

    stamps: Sequence[int]
    counts: Sequence[int] | None
    rule: TokenRule
    first_answer: int | None

    def gaps(self) -> list[int]:
        """The times between them."""
        return list(map(sub, self.stamps[1:], self.stamps))


_Row = tuple[int, int | None, int | None, bool, bool, bool]
"""One chunk with choices: its stamp, the tokens counted so far, those by their ids (None: not told), and whether it
holds content, a part of the answer proper, and a finish reason. A bare tuple: there is one for every token."""


class TokenTimes:
    """Collects the chunks of one answer, and judges them when all are there."""

    def __init__(self) -> None:
        self._rows: list[_Row] = []
        self.token_ids: list[int] = []
        """The tokens themselves, where the server tells them."""

    def add(self, stamp: int, choices: Sequence[Choice], usage: Usage | None) -> None:
        """Note a chunk that came at *stamp*."""
        counted = None if usage is None else usage.completion_tokens
        ids: int | None = None
        content = answer = finish = False
        for choice in choices:
            if choice.token_ids is not None:
                ids = (ids or 0) + len(choice.token_ids)
                self.token_ids += choice.token_ids
            if choice.finish_reason is not None:
                finish = True
            delta = choice.delta
            if delta is None:
                answer = True  # a completion has nothing but its answer
                content = content or bool(choice.text)
            else:
                answers = delta.answers()
                answer = answer or answers
                content = content or answers or delta.reasons()
        self._rows.append((stamp, counted, ids, content, answer, finish))

    def times(self, output_tokens: int | None) -> Times:
        """When the tokens came; *output_tokens* is the server's count for the whole answer."""
        telling = [row for row in self._rows if row[3] or row[5]]
        if telling and None not in {row[1] for row in telling} and self._counts_grow():
            return self._by_usage()
        if any(row[2] for row in telling) and all(row[2] is not None for row in telling if row[3]):
            rows = [row for row in self._rows if row[2]]
            return _times(rows, [row[2] or 0 for row in rows], "token_ids")
        rows = [row for row in self._rows if row[3]]
        if not rows and output_tokens:  # tokens that decode to no text: the last chunk is all that is known of them
            rows = [row for row in self._rows if row[5]][:1]
        return _times(rows, None, "content")

    def _counts_grow(self) -> bool:
        counted = [row[1] for row in self._rows if row[1] is not None]
        return counted[0] >= 0 and 0 < counted[-1] <= MAX_COUNT and counted == sorted(counted)

    def _by_usage(self) -> Times:
        before = 0
        rows, counts = [], []
        for row in self._rows:
            counted = row[1]
            if counted is not None and counted > before:
                rows.append(row)
                counts.append(counted - before)
                before = counted
        return _times(rows, counts, "usage")


def _times(rows: list[_Row], counts: list[int] | None, rule: TokenRule) -> Times:
    if counts is not None and max(counts) > MAX_CHUNK_TOKENS:
        counts = None
    first_answer = next((row[0] for row in rows if row[4]), None)
    return Times([row[0] for row in rows], counts, rule, first_answer)
