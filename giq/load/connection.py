"""The hot path: one connection that sends prepared bytes and stamps whatever comes back.

Per delivery it takes the time, keeps the time and the bytes, and looks no further than it must to know where
the response ends. Everything else (events, JSON, tokens) is read later, off this path.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from time import monotonic_ns
from typing import Literal, cast

from giq.load.coalescing import Coalescing
from giq.load.framing import FramingError, ResponseReader
from giq.load.request_bytes import Request

End = Literal["complete", "closed", "malformed", "refused", "timeout", "cancelled"]
"""How an exchange ended, seen from the socket; `closed` is before the response was whole."""

READ_AFTER_PIECES = 64


class Exchange:
    """One request and what came back: `pieces[i]` arrived at `stamps[i]` (ns, this machine's monotonic clock).

    `scheduled_ns` is when it fell due, `sent_ns` when its bytes were handed to the socket. `connect_ns` is what
    opening its connection took, where it is the first on it; `waited_ns` the part of it that the request waited.
    """

    __slots__ = (
        "attempts", "connect_ns", "detail", "end", "end_ns", "pieces", "request", "reused", "scheduled_ns", "sent_ns",
        "stamps", "waited_ns",
    )  # fmt: skip

    def __init__(self, request: Request, scheduled_ns: int) -> None:
        self.request = request
        self.scheduled_ns = scheduled_ns
        self.sent_ns = 0
        self.stamps: list[int] = []
        self.pieces: list[bytes] = []
        self.end: End | None = None
        self.end_ns = 0
        self.detail: str | None = None
        self.connect_ns: int | None = None
        self.waited_ns = 0
        self.reused = False
        self.attempts = 1


class Connection(asyncio.Protocol):
    """One kept-alive connection; carries one exchange at a time.

    `on_end` is called with the connection and its exchange once that ended, `on_lost` when it was closed idle.
    """

    __slots__ = (
        "_coalescing",
        "_every",
        "_exchange",
        "_on_end",
        "_on_lost",
        "_pieces",
        "_read",
        "_reader",
        "_stamps",
        "_transport",
        "answered",
        "connect_ns",
        "open",
    )  # fmt: skip

    def __init__(
        self,
        on_end: Callable[[Connection, Exchange], None],
        on_lost: Callable[[Connection], None],
        coalescing: Coalescing,
    ) -> None:
        self._on_end = on_end
        self._on_lost = on_lost
        self._coalescing = coalescing
        self._transport: asyncio.Transport | None = None
        self._exchange: Exchange | None = None
        self._stamps: list[int] = []
        self._pieces: list[bytes] = []
        self._reader = ResponseReader()
        self._read = 0
        self._every = True
        self.open = False
        self.answered = 0
        self.connect_ns = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take the transport."""
        self._transport = cast(asyncio.Transport, transport)
        self.open = True

    @property
    def usable(self) -> bool:
        """Whether it is idle and can carry another exchange."""
        transport = self._transport
        return self.open and self._exchange is None and transport is not None and not transport.is_closing()

    def send(self, exchange: Exchange) -> None:
        """Hand the bytes of *exchange* to the socket, and wait for its answer."""
        assert self._transport is not None  # noqa: S101 - only open ones are given out
        self._exchange = exchange
        self._stamps, self._pieces = exchange.stamps, exchange.pieces
        self._reader = ResponseReader()
        self._read = 0
        self._every = True
        exchange.reused = self.answered > 0
        exchange.connect_ns = None if self.answered else self.connect_ns
        exchange.sent_ns = monotonic_ns()
        self._transport.write(exchange.request.data)

    def data_received(self, data: bytes) -> None:
        """Stamp and keep *data*."""
        self._stamps.append(monotonic_ns())
        self._pieces.append(data)
        coalescing = self._coalescing
        coalescing.chunks += 1
        if not coalescing.awake:
            coalescing.wake()
        if (
            self._every
            or data.endswith(b"\r\n\r\n")  # every chunked response does, at its end
            or len(data) < 4
            or len(self._pieces) > self._read + READ_AFTER_PIECES
        ):
            self._read_on()

    def eof_received(self) -> None:
        """Let the transport close; `connection_lost` follows."""

    def connection_lost(self, error: Exception | None) -> None:
        """End the exchange that was under way, or tell that an idle connection is gone."""
        self.open = False
        if self._exchange is None:
            self._on_lost(self)
        elif error is None and self._read_rest() and self._reader.closed():
            self._finish("complete", self._stamps[-1])
        else:
            self._finish("closed", monotonic_ns())

    def abandon(self, end: End, detail: str | None) -> None:
        """Give up the exchange under way and close the connection."""
        exchange = self._exchange
        if exchange is not None:
            exchange.detail = detail
            self.close()
            self._finish(end, monotonic_ns())

    def close(self) -> None:
        """Close at once."""
        self.open = False
        if self._transport is not None:
            self._transport.abort()

    def _read_on(self) -> None:
        """Read on to where the response may have ended."""
        exchange = self._exchange
        if exchange is None:  # bytes that nothing asked for: whatever they answer, it is no request of ours
            self.close()
        elif not self._read_rest():
            self.close()
            self._finish("malformed", self._stamps[-1])
        elif self._reader.ended:
            head = self._reader.head
            if head is None or not head.keep_alive:
                self.close()
            self._finish("complete", self._stamps[-1])

    def _read_rest(self) -> bool:
        """Feed the pieces that were not looked at yet to the reader; False when they are malformed."""
        feed, pieces = self._reader.feed, self._pieces
        try:
            for at in range(self._read, len(pieces)):
                feed(pieces[at])
        except FramingError:
            return False
        self._read = len(pieces)
        head = self._reader.head
        self._every = head is None or not head.chunked
        return True

    def _finish(self, end: End, end_ns: int) -> None:
        exchange = self._exchange
        assert exchange is not None  # noqa: S101 - only called with one under way
        self._exchange = None
        self._stamps, self._pieces = [], []
        self._every = True
        self.answered += 1
        exchange.end = end
        exchange.end_ns = end_ns
        self._on_end(self, exchange)
