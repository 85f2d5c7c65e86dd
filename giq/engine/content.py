"""What the blocks of a request's context hold, as keys: equal keys are equal content up to the block's end."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import Protocol


class Content(Protocol):
    """Tells blocks of tokens apart."""

    def key(self, block: int) -> Hashable | None:
        """What names the full block of that number (from 0); None where nobody else can have its content."""
        ...


@dataclass(frozen=True, slots=True)
class SharedContent:
    """Blocks known only by who shares them: a group's `group_blocks` first, then those of a conversation."""

    group: int
    group_blocks: int
    session: int | None

    def key(self, block: int) -> Hashable | None:
        """The group's block, or the conversation's."""
        if block < self.group_blocks:
            return ("group", self.group, block)
        return None if self.session is None else ("session", self.session, self.group, block)


class TokenContent:
    """Blocks of real tokens: the key of each is a hash of its tokens and of the key before, as in vLLM.

    *salt* starts the chain, so that requests with another one share nothing. *output* gives the generated token at
    a place.
    """

    def __init__(self, prompt: list[int], block_size: int, salt: Hashable, output: Callable[[int], int]) -> None:
        self._prompt, self._size, self._output = prompt, block_size, output
        self._keys: list[int] = []
        self._last = hash(("salt", salt))

    def key(self, block: int) -> Hashable | None:
        """The chained hash at that block, of prompt and answer."""
        while len(self._keys) <= block:
            start = len(self._keys) * self._size
            tokens = self._prompt[start : start + self._size]
            begun = max(start, len(self._prompt)) - len(self._prompt)
            missing = self._size - len(tokens)
            tokens += [self._output(begun + place) for place in range(missing)]
            self._last = hash((self._last, *tokens))
            self._keys.append(self._last)
        return self._keys[block]
