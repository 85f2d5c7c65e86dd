"""Prompts for servers that take text only: words that are one token each, and what is added to them."""

from __future__ import annotations

import re
from collections.abc import Iterable
from itertools import product
from string import ascii_lowercase

_TEXT = (
    "the of and to in is that it was for on are as with his they at be this from have or by one had not but what all "
    "were when we there can an your which their said if do will each about how up out them then she many some so "
    "these would other into has more her two like him see time could no make than first been its who now people my "
    "made over did down only way find use may water long little very after words called just where most know good "
    "new sound take work any place years live me back give great under name through much before line right too mean "
    "old same tell boy follow came want show also around form three small set put end does another well large must "
    "big even such because turn here why ask went men read need land different home us move try kind hand picture "
    "again change off play spell air away animal house point page letter mother answer found study still learn"
)
COMMON = tuple(dict.fromkeys(_TEXT.split()))
"""Frequent English words: in most vocabularies each of them, with a space before it, is one token."""

MAX_WORDS = 256
REPEATS = 8


def varied_text() -> str:
    """Some kilobytes of text with many different tokens in it."""
    pairs = " ".join(first + second for first, second in product(ascii_lowercase, repeat=2))
    return " ".join(
        (*COMMON, *(word.capitalize() for word in COMMON), pairs, "0 1 2 3 4 5 6 7 8 9 + - = ( ) , . ; : ! ?")
    )


def candidates(decoded: Iterable[str]) -> list[str]:
    """Words to try, from the common ones and from single tokens as the server's own tokenizer spells them."""
    spelled = (match[1] for text in decoded if (match := re.fullmatch(r" ([A-Za-z]{1,16})", text)))
    return list(dict.fromkeys((*COMMON, *spelled)))[: 2 * MAX_WORDS]


def spelled_out(words: Iterable[str]) -> str:
    """The prompt that is made of *words*."""
    return "".join(" " + word for word in words)
