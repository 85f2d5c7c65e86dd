"""Bodies that a server compressed although it was asked not to (RFC 9110, section 8.4)."""

from __future__ import annotations

import zlib

MAX_GROWTH = 64 * 1024 * 1024
"""Bytes that one part may decompress to; more is an attack or a mistake."""


class EncodingError(ValueError):
    """The body cannot be decompressed; `kind` says why in one word."""

    def __init__(self, kind: str) -> None:
        super().__init__(kind)
        self.kind = kind


class Decompressor:
    """gzip or zlib, as it comes."""

    def __init__(self) -> None:
        self._zlib = zlib.decompressobj(wbits=zlib.MAX_WBITS | 32)  # finds out which of the two it is

    def feed(self, data: bytes) -> bytes:
        """What *data* adds.

        Raises:
            EncodingError: damaged, or absurdly large.
        """
        try:
            grown = self._zlib.decompress(data, MAX_GROWTH)
        except zlib.error:
            raise EncodingError("malformed_gzip") from None
        if self._zlib.unconsumed_tail or self._zlib.unused_data:
            raise EncodingError("malformed_gzip")
        return grown

    def close(self) -> None:
        """Check that the end was reached.

        Raises:
            EncodingError: it was not.
        """
        if not self._zlib.eof:
            raise EncodingError("truncated_gzip")


def decompressor(content_encoding: bytes) -> Decompressor | None:
    """What reads a body of that encoding; None for one that is as it is.

    Raises:
        EncodingError: an encoding that was not asked for and is not known.
    """
    name = content_encoding.strip().lower()
    if name in (b"", b"identity"):
        return None
    if name in (b"gzip", b"x-gzip", b"deflate"):
        return Decompressor()
    raise EncodingError("unknown_encoding")
