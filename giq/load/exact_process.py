"""The exact server as a process of its own, and what it wrote when."""

from __future__ import annotations

import asyncio
import contextlib
import sys
from collections.abc import AsyncIterator

import aiohttp

from giq.documents import Entry, json_decoder
from giq.errors import ServerError
from giq.load.endpoint import Endpoint
from giq.load.http import open_session

START_LIMIT_S = 10.0
STOP_LIMIT_S = 5.0


class Written(Entry, frozen=True, kw_only=True):
    """One answer as the server gave it, in ns on this machine's monotonic clock.

    `key` holds the first ids of the prompt, `arrived_ns` is when the request came in, `written_ns` when each
    token was handed to the socket.
    """

    key: tuple[int, ...]
    arrived_ns: int
    written_ns: tuple[int, ...]


class ServerLateness(Entry, frozen=True, kw_only=True):
    """How much later than due the server wrote its `tokens`, in seconds."""

    tokens: int
    late_p50_s: float
    late_p99_s: float
    late_max_s: float


class Truth(Entry, frozen=True, kw_only=True):
    """What the server did since it was asked before."""

    requests: tuple[Written, ...]
    lateness: ServerLateness


_decode = json_decoder(Truth)


class ExactProcess:
    """A running exact server that keeps its writes."""

    def __init__(self, url: str) -> None:
        self.url = url

    async def truth(self) -> Truth:
        """What it did since the last call.

        Raises:
            ServerError: it does not tell.
        """
        try:
            async with open_session(Endpoint(self.url), STOP_LIMIT_S) as session, session.get("/writes") as reply:
                return _decode(await reply.read())
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
            raise ServerError(f"the exact server does not tell what it wrote ({type(error).__name__})") from None


@contextlib.asynccontextmanager
async def exact_process(core: int | None) -> AsyncIterator[ExactProcess]:
    """An exact server on that core alone; with None it shares the cores there are, and does not spin.

    It ends with the block, and with this process.

    Raises:
        ServerError: it does not start.
    """
    where = ["--share-core"] if core is None else ["--core", str(core)]
    command = [sys.executable, "-m", "giq.load.exact_server", "--record", "--until-eof", *where]
    process = await asyncio.create_subprocess_exec(
        *command, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL,
        start_new_session=True,
    )  # fmt: skip
    assert process.stdin is not None  # noqa: S101 - piped
    assert process.stdout is not None  # noqa: S101 - piped
    try:
        try:
            line = await asyncio.wait_for(process.stdout.readline(), START_LIMIT_S)
        except TimeoutError:
            line = b""
        if not line.startswith(b"http://"):
            raise ServerError("the exact server does not start", hint="See python -m giq.load.exact_server.")
        yield ExactProcess(line.decode().strip())
    finally:
        process.stdin.close()
        try:
            await asyncio.wait_for(process.wait(), STOP_LIMIT_S)
        except TimeoutError:
            process.kill()
            await process.wait()
