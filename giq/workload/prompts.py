"""Prompts: random token ids, different for every request, run and point."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from giq.errors import UsageError

_GAMMA = 0x9E3779B97F4A7C15
_MASK = (1 << 64) - 1


def prompt_token_ids(
    alphabet: NDArray[np.int32], seed: int, nonce: int, point_number: int, request_id: int, count: int
) -> NDArray[np.int32]:
    """The *count* token ids of one request's prompt, each one of *alphabet*.

    The same for the same arguments on every machine, and unrelated as soon as one of them differs, so that two
    runs share no prefix unless they are one run. Any request can be made without those before it.

    The generator is SplitMix64 (Steele, Lea and Flood, "Fast splittable pseudorandom number generators",
    OOPSLA 2014), scaled to the alphabet's size by multiplication.

    Raises:
        UsageError: the alphabet is empty.
    """
    if not len(alphabet):
        raise UsageError("no token ids to make prompts from", hint="The server must say which token ids it knows.")
    state = 0
    for word in (seed, nonce, point_number, request_id):
        state = _mixed((state ^ (word & _MASK)) + _GAMMA & _MASK)
    steps = np.arange(1, count + 1, dtype=np.uint64)
    steps *= np.uint64(_GAMMA)
    steps += np.uint64(state)
    _mix(steps)
    steps >>= np.uint64(32)
    steps *= np.uint64(len(alphabet))
    steps >>= np.uint64(32)
    return alphabet[steps.astype(np.intp)]


def prefix_token_ids(alphabet: NDArray[np.int32], seed: int, nonce: int, group: int, count: int) -> NDArray[np.int32]:
    """The *count* token ids of a shared prefix: the same in all points of a run, as is a server's warm cache.

    Unrelated to those of another group or run, and to all prompts; raises as `prompt_token_ids`.
    """
    return prompt_token_ids(alphabet, seed, nonce, -1, group, count)


def answer_token_ids(
    alphabet: NDArray[np.int32], seed: int, nonce: int, point_number: int, request_id: int, count: int
) -> NDArray[np.int32]:
    """What stands for a request's answer in its session's history where the server does not tell the answer's tokens.

    Unrelated to all prompts; raises as `prompt_token_ids`.
    """
    return prompt_token_ids(alphabet, seed, nonce, point_number, -1 - request_id, count)


def _mixed(word: int) -> int:
    """SplitMix64's finaliser, of one number."""
    word = (word ^ word >> 30) * 0xBF58476D1CE4E5B9 & _MASK
    word = (word ^ word >> 27) * 0x94D049BB133111EB & _MASK
    return word ^ word >> 31


def _mix(words: NDArray[np.uint64]) -> None:
    """SplitMix64's finaliser, of every number in place (64-bit products wrap around)."""
    words ^= words >> np.uint64(30)
    words *= np.uint64(0xBF58476D1CE4E5B9)
    words ^= words >> np.uint64(27)
    words *= np.uint64(0x94D049BB133111EB)
    words ^= words >> np.uint64(31)
