"""One request on its own, sent and read exactly as those of a load point are."""

from __future__ import annotations

import asyncio

from giq.errors import ServerError
from giq.load.connection import Connection, Exchange
from giq.load.connections import Connections
from giq.load.decoder import Answer, Decoded, decode
from giq.load.endpoint import Endpoint
from giq.load.request_bytes import Request

PROBE_TIMEOUT_S = 60.0


async def ask_once(endpoint: Endpoint, request: Request) -> Decoded:
    """The answer to *request*, sent on a connection of its own; its times have no common zero.

    Raises:
        ServerError: no connection, or no whole answer in PROBE_TIMEOUT_S.
    """
    ended = asyncio.Event()

    def on_end(connection: Connection, exchange: Exchange) -> None:
        ended.set()

    connections = Connections(endpoint, on_end, connect_timeout_s=10.0)
    await connections.resolve()
    exchange = Exchange(request, 0)
    try:
        connection = await connections.open()
        connection.send(exchange)
        try:
            async with asyncio.timeout(PROBE_TIMEOUT_S):
                await ended.wait()
        finally:
            connection.abandon("timeout", "total")
            connection.close()
    except OSError as error:  # includes the timeout
        raise ServerError(
            f"a tiny request got no answer ({type(error).__name__})",
            where=endpoint.url,
            hint="Look at the server's log: does it generate at all?",
        ) from None
    return decode(_answer(exchange))


def _answer(exchange: Exchange) -> Answer:
    request = exchange.request
    return Answer(
        run_id="", point_id="", request_id=request.request_id, worker_id=0, zero_ns=0, scheduled_ns=exchange.sent_ns,
        sent_ns=exchange.sent_ns, end_ns=exchange.end_ns, end=exchange.end or "closed", detail=exchange.detail,
        connect_ns=exchange.connect_ns, reused=exchange.reused, attempts=exchange.attempts,
        input_tokens=request.input_tokens, output_tokens=request.output_tokens, stamps=exchange.stamps,
        pieces=exchange.pieces,
    )  # fmt: skip
