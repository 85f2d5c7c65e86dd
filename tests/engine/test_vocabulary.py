"""Text of the simulated model."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from giq.engine.vocabulary import Vocabulary

sizes = st.integers(1, 300_000)


@given(sizes, st.lists(st.integers(0, 262_143)))
def test_tokens_survive_text(size: int, tokens: list[int]) -> None:
    """Tokens that have a text of their own come back from it, each from four bytes."""
    vocabulary = Vocabulary(size)
    known = [token % min(size, 262_144) for token in tokens]
    text = "".join(map(vocabulary.text, known))
    assert len(text.encode()) == 4 * len(known)
    assert vocabulary.tokenize(text) == known


@given(sizes, st.text())
def test_any_text_has_one_token_for_four_bytes(size: int, text: str) -> None:
    """Also text that the model would not write; all tokens are in the vocabulary."""
    tokens = Vocabulary(size).tokenize(text)
    assert len(tokens) == -(-len(text.encode()) // 4)
    assert all(0 <= token < size for token in tokens)


@given(sizes, st.integers(0, 2**32), st.integers(0, 10_000))
def test_output_is_always_the_same(size: int, seed: int, place: int) -> None:
    """A token is fixed by the request's seed and its place, and has text."""
    vocabulary = Vocabulary(size)
    token = vocabulary.output(seed, place)
    assert token == Vocabulary(size).output(seed, place)
    assert vocabulary.tokenize(vocabulary.text(token)) == [token]
