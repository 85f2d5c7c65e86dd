"""The hot path: where a response ends, however its bytes come."""

from __future__ import annotations

import asyncio

from hypothesis import given, settings
from hypothesis import strategies as st

from giq.load.coalescing import Coalescing
from giq.load.connection import Connection, Exchange
from giq.load.request_bytes import Request
from tests.load.answers import chunked, split, sse, text_chunk


class Wire(asyncio.Transport):
    """A transport that keeps what is written to it."""

    def __init__(self) -> None:
        super().__init__()
        self.written: list[bytes] = []
        self.aborted = False

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Keep it."""
        self.written.append(bytes(data))

    def abort(self) -> None:
        """Note it."""
        self.aborted = True

    def is_closing(self) -> bool:
        """Whether it was aborted."""
        return self.aborted


class Line:
    """A connection on a wire, and the exchanges that ended on it."""

    def __init__(self) -> None:
        self.ended: list[Exchange] = []
        self.lost: list[Connection] = []
        self.wire = Wire()
        self.connection = Connection(
            lambda connection, exchange: self.ended.append(exchange), self.lost.append, Coalescing()
        )
        self.connection.connection_made(self.wire)

    def ask(self) -> Exchange:
        """Send a request."""
        exchange = Exchange(Request(0, b"GET", 1, 1), 0)
        self.connection.send(exchange)
        return exchange


BODY = [sse(text_chunk("x" * 9, count=number)) for number in range(1, 90)]
RESPONSES = [
    b"".join(chunked(BODY)),
    b"".join(chunked(BODY))[:-2] + b"Trailer: 1\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nContent-Length: 12\r\n\r\n0\r\n\r\n0\r\n\r\nxx",
    b"HTTP/1.1 204 No Content\r\n\r\n",
    b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
    b"".join(chunked([b"0\r\n\r\n", b"5\r\n\r\n\r\n"])),
]
"""Well-formed responses, some with what looks like an end inside."""


@given(response=st.sampled_from(RESPONSES), cuts=st.lists(st.integers(0, 30_000), max_size=200))
def test_a_response_ends_with_its_last_byte(response: bytes, cuts: list[int]) -> None:
    """However it is split, the exchange ends at the last piece and not before, and the connection goes on."""
    line = Line()
    exchange = line.ask()
    pieces = split(response, cuts)
    for piece in pieces[:-1]:
        line.connection.data_received(piece)
    assert not line.ended
    line.connection.data_received(pieces[-1])

    assert line.ended == [exchange]
    assert exchange.end == "complete"
    assert exchange.pieces == pieces
    assert exchange.stamps == sorted(exchange.stamps)
    assert exchange.end_ns == exchange.stamps[-1]
    assert line.connection.usable
    assert line.ask() is not exchange


@given(cut=st.integers(0, len(RESPONSES[0]) - 1))
def test_a_connection_lost_in_a_response_ends_it_as_closed(cut: int) -> None:
    """Closed before the last byte, an exchange is never complete."""
    line = Line()
    exchange = line.ask()
    if cut:
        line.connection.data_received(RESPONSES[0][:cut])
    line.connection.connection_lost(None)

    assert line.ended == [exchange]
    assert exchange.end == "closed"
    assert not line.connection.usable


@settings(max_examples=200)
@given(pieces=st.lists(st.one_of(st.binary(min_size=1, max_size=40), st.sampled_from(RESPONSES)), max_size=6))
def test_no_bytes_keep_an_exchange_open_or_end_it_twice(pieces: list[bytes]) -> None:
    """Whatever comes, one exchange ends exactly once when the connection is lost at last."""
    line = Line()
    exchange = line.ask()
    for piece in pieces:
        if line.wire.aborted:
            break
        line.connection.data_received(piece)
    line.connection.connection_lost(None)
    assert line.ended == [exchange]
    assert exchange.end is not None


def test_bytes_that_nobody_asked_for_close_the_connection() -> None:
    """A server that talks while nothing is asked is not given another request."""
    line = Line()
    line.connection.data_received(b"HTTP/1.1 408 Request Timeout\r\n\r\n")
    assert line.wire.aborted
    assert not line.connection.usable
    line.connection.connection_lost(None)
    assert line.lost == [line.connection]


def test_a_body_without_length_ends_with_its_connection() -> None:
    """Where only closing ends a body, closing completes it; an error on the wire does not."""
    for error, end in ((None, "complete"), (ConnectionResetError(), "closed")):
        line = Line()
        exchange = line.ask()
        line.connection.data_received(b"HTTP/1.0 200 OK\r\n\r\nhello")
        assert not line.ended
        line.connection.connection_lost(error)
        assert exchange.end == end
