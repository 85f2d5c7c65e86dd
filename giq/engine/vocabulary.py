"""Text of the simulated model: every token is four bytes, so that lengths in text and tokens agree exactly."""

from __future__ import annotations

from zlib import crc32

TOKEN_BYTES = 4

_LETTERS = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_"
_VALUES = {letter: value for value, letter in enumerate(_LETTERS)}
_BASE = len(_LETTERS)


class Vocabulary:
    """The *size* token ids of a model and their text: a space and three letters, the id in base 64.

    Ids beyond base 64's three digits exist (a prompt may have them) but have no text of their own.
    """

    def __init__(self, size: int) -> None:
        self.size = size
        self._spelled = min(size, _BASE**3)

    def text(self, token: int) -> str:
        """The four bytes of *token*."""
        rest, last = divmod(token % self._spelled, _BASE)
        first, middle = divmod(rest, _BASE)
        return f" {_LETTERS[first]}{_LETTERS[middle]}{_LETTERS[last]}"

    def tokenize(self, text: str) -> list[int]:
        """One token for each four bytes of UTF-8; a shorter rest is a token too. The inverse of joined `text`."""
        data = text.encode()
        return [self._token(data[start : start + TOKEN_BYTES]) for start in range(0, len(data), TOKEN_BYTES)]

    def output(self, seed: int, place: int) -> int:
        """The token generated at *place* by a request of that *seed*: any, but always the same."""
        return (seed + place * 2654435761) % self._spelled

    def _token(self, piece: bytes) -> int:
        """The id that *piece* spells, else one that its checksum chooses."""
        letters = piece[1:].decode("latin-1")
        if len(piece) == TOKEN_BYTES and piece[:1] == b" " and all(letter in _VALUES for letter in letters):
            first, middle, last = (_VALUES[letter] for letter in letters)
            token = (first * _BASE + middle) * _BASE + last
            if token < self._spelled:
                return token
        return crc32(piece) % self._spelled
