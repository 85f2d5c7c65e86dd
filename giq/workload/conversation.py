"""Conversations: sessions of several turns, each the whole history and something new, with pauses to think."""

from __future__ import annotations

import re
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from giq.catalog.use_cases import Lengths
from giq.documents import Entry, NonNegative
from giq.errors import UsageError
from giq.units import NS_PER_S, parse_duration

_LONGEST_NS = 2**62


class ThinkTime(Entry, frozen=True, kw_only=True):
    """The pause between an answer's last byte and the next turn, in seconds.

    `fixed` is always `mean_s`. `uniform` is even over [minimum_s, maximum_s]. `exponential` has the mean
    `mean_s`; `lognormal` has the arithmetic mean `mean_s` and `spread` = sigma of the logarithm.
    """

    distribution: Literal["fixed", "uniform", "exponential", "lognormal"] = "fixed"
    mean_s: NonNegative = 0.0
    spread: NonNegative = 0.0
    minimum_s: NonNegative | None = None
    maximum_s: NonNegative | None = None

    def __str__(self) -> str:
        if self.distribution == "uniform":
            return f"uniform:{_seconds(self.minimum_s or 0.0)}-{_seconds(self.maximum_s or 0.0)}"
        if self.distribution == "lognormal":
            return f"lognormal:{_seconds(self.mean_s)},{_number(self.spread)}"
        return _seconds(self.mean_s) if self.distribution == "fixed" else f"exponential:{_seconds(self.mean_s)}"


class Conversation(Entry, frozen=True, kw_only=True):
    """How a user talks: the number of turns of a session (whole, at least 1), and the pauses between them."""

    turns: Lengths
    think: ThinkTime = ThinkTime()


def parse_think_time(text: str) -> ThinkTime:
    """`5s`, `uniform:1s-10s`, `exponential:5s` or `lognormal:5s,0.7` as a `ThinkTime`.

    Raises:
        UsageError: anything else.
    """
    kind, colon, rest = text.partition(":")
    if not colon:
        return ThinkTime(mean_s=_pause(text))
    if kind == "exponential":
        return ThinkTime(distribution="exponential", mean_s=_pause(rest))
    low, dash, high = rest.partition("-")
    if kind == "uniform" and dash and _pause(low) <= _pause(high):
        ends = _pause(low), _pause(high)
        return ThinkTime(distribution="uniform", mean_s=sum(ends) / 2, minimum_s=ends[0], maximum_s=ends[1])
    mean, comma, spread = rest.partition(",")
    if kind == "lognormal" and comma and re.fullmatch(r"\d+(\.\d+)?", spread) and _pause(mean) > 0:
        return ThinkTime(distribution="lognormal", mean_s=_pause(mean), spread=float(spread))
    raise UsageError(
        f"{text!r} for --think-time is no pause", hint="Like 5s, uniform:1s-10s, exponential:5s or lognormal:5s,0.7."
    )


def draw_pauses(think: ThinkTime, count: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """*count* pauses in ns; the draws of a smaller *count* are the first of those of a larger one."""
    if think.distribution == "uniform":
        seconds = rng.uniform(think.minimum_s or 0.0, think.maximum_s or 0.0, size=count)
    elif think.distribution == "exponential":
        seconds = rng.exponential(think.mean_s, size=count)
    elif think.distribution == "lognormal":
        seconds = rng.lognormal(np.log(think.mean_s) - think.spread**2 / 2, think.spread, size=count)
    else:
        seconds = np.full(count, think.mean_s)
    return np.rint(np.minimum(seconds * NS_PER_S, _LONGEST_NS)).astype(np.int64)


def _pause(text: str) -> float:
    """A duration; nothing at all needs no unit."""
    return 0.0 if text in ("0", "0s") else parse_duration(text)


def _seconds(value: float) -> str:
    return f"{_number(value)}s"


def _number(value: float) -> str:
    return f"{value:.9f}".rstrip("0").rstrip(".")
