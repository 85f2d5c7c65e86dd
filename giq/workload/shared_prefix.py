"""Shared prefixes: prompts that begin with one of a few fixed texts, as system prompts and documents do."""

from __future__ import annotations

import re

import numpy as np
from numpy.typing import NDArray

from giq.documents import Entry, NonNegative, PositiveInt
from giq.errors import UsageError


class SharedPrefix(Entry, frozen=True, kw_only=True):
    """Every prompt begins with one of `groups` prefixes of `tokens` tokens, and then is its own.

    Prefix g (from 0) is drawn with a probability in proportion to 1 / (g + 1) ** zipf: 0 is uniform.
    """

    tokens: PositiveInt
    groups: PositiveInt = 1
    zipf: NonNegative = 0.0

    def __str__(self) -> str:
        law = f",zipf:{self.zipf:g}" if self.zipf else ""
        return f"{self.tokens}:{self.groups}{law}"


def parse_shared_prefix(text: str) -> SharedPrefix:
    """`TOKENS`, `TOKENS:GROUPS` or `TOKENS:GROUPS,zipf:S` as a `SharedPrefix`.

    Raises:
        UsageError: anything else.
    """
    match = re.fullmatch(r"([1-9]\d{0,8})(?::([1-9]\d{0,8}))?(?:,zipf:(\d+(?:\.\d+)?))?", text)
    if match is None:
        raise UsageError(
            f"{text!r} for --shared-prefix is no prefix",
            hint="Like 512 (all share one), 512:8 (8 prefixes of 512 tokens) or 512:8,zipf:1.1 (some more popular).",
        )
    return SharedPrefix(tokens=int(match[1]), groups=int(match[2] or 1), zipf=float(match[3] or 0.0))


def draw_groups(prefix: SharedPrefix, count: int, rng: np.random.Generator) -> NDArray[np.int32]:
    """The prefix of each of *count* requests; the draws of a smaller *count* are the first of a larger one."""
    weights = np.arange(1, prefix.groups + 1, dtype=np.float64) ** -prefix.zipf
    shares = np.cumsum(weights) / weights.sum()
    return np.searchsorted(shares[:-1], rng.random(count), side="right").astype(np.int32)
