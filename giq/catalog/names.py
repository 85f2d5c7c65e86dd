"""Forgiving names: how what a user writes finds the entry it means."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from typing import Generic, TypeVar

from giq.errors import UnknownNameError

T = TypeVar("T")
TUNED = frozenset({"instruct", "it", "chat"})
"""Last words of a model's name that say it was tuned for conversation."""


def normal(name: str) -> str:
    """*name* without case and separators, as runs of letters or digits: `Llama_3.1 8B` -> `llama 3 1 8 b`.

    Runs are kept apart, so that `llama-3-1-8b` is the same name and `llama-31-8b` is another.
    """
    return " ".join(re.findall(r"[^\W\d_]+|\d+", name.casefold()))


def bare(name: str) -> str:
    """The normalised last part of a hub id or path: `meta-llama/Meta-Llama-3-8B` -> `meta llama 3 8 b`."""
    return normal(name.rstrip("/").rpartition("/")[2])


def untuned(name: str) -> str:
    """The bare name without its last word where that only says `instruct`, `it` or `chat`."""
    rest, _, last = bare(name).rpartition(" ")
    return rest if rest and last in TUNED else bare(name)


class Names(Generic[T]):
    """The names of one kind of entry, each leading to its entry.

    Looked for in this order: the whole name, the name without owner or folder, that without a tuning
    suffix on either side. A step at which several entries fit decides nothing.
    """

    def __init__(self, kind: str, named: Iterable[tuple[T, Iterable[str]]]) -> None:
        entries = [(entry, tuple(names)) for entry, names in named]
        self._kind = kind
        self._known = tuple(name for _, names in entries for name in names if "/" not in name)
        self._steps = [(step, _index(entries, step)) for step in (normal, bare, untuned)]

    def find(self, name: str) -> T | None:
        """The one entry that *name* means, or None."""
        for step, index in self._steps:
            found = index.get(step(name), [])
            if len(found) == 1:
                return found[0]
        return None

    def get(self, name: str) -> T:
        """The one entry that *name* means.

        Raises:
            UnknownNameError: none, or several; carries the nearest known names.
        """
        found = self.find(name)
        if found is None:
            raise UnknownNameError(self._kind, name, self._known)
        return found


def _index(entries: list[tuple[T, tuple[str, ...]]], step: Callable[[str], str]) -> dict[str, list[T]]:
    index: dict[str, list[T]] = {}
    for entry, names in entries:
        for key in {step(name) for name in names} - {""}:
            index.setdefault(key, []).append(entry)
    return index
