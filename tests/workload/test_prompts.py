"""Prompts have exact lengths, known tokens, and share nothing unless everything is the same."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from giq.errors import UsageError
from giq.workload import prompt_token_ids

ALPHABET = np.arange(1000, 31_000, 3, dtype=np.int32)
PINNED = [19657, 2434, 5071, 23878, 27472, 26080]
WORD = st.integers(0, 2**64 - 1)


@given(WORD, WORD, st.integers(0, 1000), st.integers(0, 2**40), st.integers(0, 300))
def test_a_prompt_is_fixed_by_its_arguments(seed: int, nonce: int, point: int, request: int, count: int) -> None:
    """Equal arguments give equal ids, all from the alphabet, and a longer prompt begins with the shorter."""
    one = prompt_token_ids(ALPHABET, seed, nonce, point, request, count)
    other = prompt_token_ids(ALPHABET, seed, nonce, point, request, count + 5)
    assert one.dtype == np.int32
    assert len(one) == count
    assert np.array_equal(one, other[:count])
    assert np.isin(other, ALPHABET).all()


def test_prompts_that_differ_in_one_argument_share_no_prefix() -> None:
    """Among many neighbours in seed, nonce, point and request, no two prompts begin with the same 4 tokens."""
    starts = {
        tuple(prompt_token_ids(ALPHABET, *arguments, 4).tolist())
        for arguments in itertools.product(range(4), range(4), range(4), range(64))
    }
    assert len(starts) == 4 * 4 * 4 * 64


def test_tokens_are_even_over_the_alphabet_and_uncorrelated() -> None:
    """Counts of each token pass a chi-square test, and neighbours are unrelated."""
    small = np.arange(100, dtype=np.int32)
    drawn = np.concatenate([prompt_token_ids(small, 1, 2, 3, request, 500) for request in range(400)])
    counts = np.bincount(drawn, minlength=100)
    chi_square = float(((counts - 2000.0) ** 2 / 2000.0).sum())
    assert 55 < chi_square < 160  # 99 degrees of freedom: beyond 4 standard deviations on either side
    assert abs(np.corrcoef(drawn[:-1], drawn[1:])[0, 1]) < 0.01


def test_the_ids_never_change() -> None:
    """A prompt made by one version of giq is made again by the next."""
    assert prompt_token_ids(ALPHABET, 7, 11, 2, 5, 6).tolist() == PINNED


def test_an_empty_alphabet_is_refused() -> None:
    """Without token ids no prompt can be made."""
    with pytest.raises(UsageError):
        prompt_token_ids(np.array([], dtype=np.int32), 0, 0, 0, 0, 1)
