"""Where an HTTP/1.1 response begins and ends, and which of its bytes are its body (RFC 9112).

Strict: anything doubtful is an error, because a success must never be read out of bytes that are none.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

MAX_HEAD_BYTES = 32_768
MAX_LINE_BYTES = 8_192
MAX_INTERIM = 8
_HEX = frozenset(b"0123456789abcdefABCDEF")


class FramingError(ValueError):
    """The bytes are no HTTP/1.1 response; `kind` says why in one word."""

    def __init__(self, kind: str) -> None:
        super().__init__(kind)
        self.kind = kind


@dataclass(frozen=True, slots=True)
class Head:
    """Status line and headers; names in lower case, values of repeated ones joined by commas.

    `keep_alive` says whether the connection may carry another request. `length` is the body's, None when the
    body is `chunked` or goes on until the connection closes.
    """

    status: int
    headers: dict[bytes, bytes]
    keep_alive: bool
    chunked: bool
    length: int | None


def read_head(raw: bytes) -> Head:
    """The head whose bytes, without the empty line that ends it, are *raw*.

    Raises:
        FramingError: malformed.
    """
    first, *lines = raw.split(b"\r\n")
    version, _, rest = first.partition(b" ")
    code, _, _ = rest.partition(b" ")
    if version not in (b"HTTP/1.1", b"HTTP/1.0") or len(code) != 3 or not code.isdigit():
        raise FramingError("malformed_head")
    headers: dict[bytes, bytes] = {}
    for line in lines:
        name, colon, value = line.partition(b":")
        if not colon or not name or name != name.strip():
            raise FramingError("malformed_head")
        name, value = name.lower(), value.strip()
        headers[name] = headers[name] + b", " + value if name in headers else value
    status = int(code)
    chunked = _is_chunked(headers)
    tokens = headers.get(b"connection", b"").lower()
    keep_alive = b"close" not in tokens if version == b"HTTP/1.1" else b"keep-alive" in tokens
    length = None if chunked else _length(status, headers)
    return Head(status, headers, keep_alive and (chunked or length is not None), chunked, length)


def _is_chunked(headers: dict[bytes, bytes]) -> bool:
    coding = headers.get(b"transfer-encoding")
    if coding is None:
        return False
    if coding.lower() != b"chunked":
        raise FramingError("unknown_transfer_encoding")
    return True


def _length(status: int, headers: dict[bytes, bytes]) -> int | None:
    if status in (204, 304):
        return 0
    given = headers.get(b"content-length")
    if given is None:
        return None
    if not given.isdigit() or len(given) > 15:
        raise FramingError("malformed_length")
    return int(given)


class ResponseReader:
    """Reads one response as its bytes come, split anywhere; `feed` gives the pieces of the body.

    `head` is None until all of it has come, `ended` becomes True with the last byte of the response.
    """

    __slots__ = ("_between", "_closing_line", "_interim", "_left", "_rest", "_trailer", "ended", "head")

    def __init__(self) -> None:
        self.head: Head | None = None
        self.ended = False
        self._rest = b""
        self._left = 0
        self._closing_line = False
        self._trailer = False
        self._interim = 0
        self._between = False  # nothing is open: the next byte begins a chunk

    def feed(self, data: bytes) -> list[bytes]:
        """The parts of the body that *data* adds: one for each chunk, or part of a chunk, in it.

        Raises:
            FramingError: malformed, or bytes after the end.
        """
        if self._between:  # by far the most common case: one chunk, whole
            line_end = data.find(b"\r\n")
            if 0 < line_end < MAX_LINE_BYTES:
                length = _chunk_length(data[:line_end])
                if length and length == len(data) - line_end - 4 and data.endswith(b"\r\n"):
                    return [data[line_end + 2 : -2]]
        if self.ended:
            raise FramingError("bytes_after_end")
        if self._rest:
            data = self._rest + data
            self._rest = b""
        head = self.head
        if head is None:
            return self._feed_head(data)
        if head.chunked:
            return self._chunks(data)
        return self._plain(head, data)

    def closed(self) -> bool:
        """Whether the response is whole now that the connection was closed."""
        if self.head is not None and not self.head.chunked and self.head.length is None:
            self.ended = True
        return self.ended

    def _feed_head(self, data: bytes) -> list[bytes]:
        head: Head | None = None
        while head is None or head.status < 200:
            end = data.find(b"\r\n\r\n", 0, MAX_HEAD_BYTES)
            if end < 0:
                if len(data) >= MAX_HEAD_BYTES:
                    raise FramingError("head_too_long")
                self._rest = data
                return []
            head = read_head(data[:end])
            data = data[end + 4 :]
            self._interim += 1
            if head.status < 100 or head.status == 101 or self._interim > MAX_INTERIM:
                raise FramingError("unasked_interim")
        self.head = head
        self._left = head.length or 0
        self.ended = head.length == 0
        return self.feed(data) if data else []

    def _plain(self, head: Head, data: bytes) -> list[bytes]:
        if head.length is None:
            return [data]
        self._left -= len(data)
        if self._left < 0:
            raise FramingError("bytes_after_end")
        self.ended = self._left == 0
        return [data]

    def _chunks(self, data: bytes) -> list[bytes]:
        parts: list[bytes] = []
        at = self._finish_chunk(data, parts) if self._closing_line else 0
        size = len(data)
        while 0 <= at < size:
            if self._trailer:
                self._read_trailer(data, at)
                break
            line_end = data.find(b"\r\n", at, at + MAX_LINE_BYTES)
            if line_end < 0:
                self._hold(data[at:])
                break
            length = _chunk_length(data[at:line_end])
            begin = line_end + 2
            if length == 0:
                self._trailer = True
                at = begin
                continue
            end = begin + length
            if end + 2 > size:
                self._left = length
                self._closing_line = True
                rest = data[begin:]
                at = self._finish_chunk(rest, parts) if rest else -1
                break
            if data[end : end + 2] != b"\r\n":
                raise FramingError("malformed_chunk")
            parts.append(data[begin:end])
            at = end + 2
        self._between = not (self._closing_line or self._trailer or self._rest)
        return parts

    def _finish_chunk(self, data: bytes, parts: list[bytes]) -> int:
        """Take what *data* has of the chunk that is open; where the next one begins, -1 when it is still open."""
        at = min(self._left, len(data))
        if at:
            parts.append(data[:at])
            self._left -= at
        closing = data[at : at + 2]
        if not b"\r\n".startswith(closing):
            raise FramingError("malformed_chunk")
        if len(closing) < 2:
            self._rest = closing
            return -1
        self._closing_line = False
        return at + 2

    def _read_trailer(self, data: bytes, at: int) -> None:
        """Skip the trailer section that begins at *at*: lines up to an empty one."""
        while True:
            line_end = data.find(b"\r\n", at, at + MAX_LINE_BYTES)
            if line_end < 0:
                self._hold(data[at:])
                return
            if line_end == at:
                break
            at = line_end + 2
        self.ended = True
        if at + 2 < len(data):
            raise FramingError("bytes_after_end")

    def _hold(self, rest: bytes) -> None:
        """Keep an unfinished line until more of it comes."""
        if len(rest) >= MAX_LINE_BYTES:
            raise FramingError("line_too_long")
        self._rest = rest


@lru_cache(maxsize=4096)
def _chunk_length(line: bytes) -> int:
    digits = line.partition(b";")[0].rstrip(b" \t") if b";" in line else line
    if not 0 < len(digits) <= 15 or not _HEX.issuperset(digits):
        raise FramingError("malformed_chunk")
    return int(digits, 16)
