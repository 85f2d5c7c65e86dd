"""The connections to a server: opened as they are needed, kept alive, and used again, latest first."""

from __future__ import annotations

import asyncio
import contextlib
import resource
import socket
from collections.abc import Callable
from time import monotonic_ns

from giq.errors import ServerError
from giq.load.coalescing import Coalescing
from giq.load.connection import Connection, Exchange
from giq.load.endpoint import Endpoint

OPENING_AT_ONCE = 64
"""Above this many half-open connections small accept queues overflow, and a lost SYN costs a second."""


class Connections:
    """All connections of one worker. There is no limit but the operating system's.

    `keep` idle ones are held ready, so that a request need not wait for one to open.

    Raises:
        UsageError: the certificates to check the server with cannot be used.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        on_end: Callable[[Connection, Exchange], None],
        connect_timeout_s: float,
        coalescing: Coalescing | None = None,
    ) -> None:
        self._endpoint = endpoint
        self._on_end = on_end
        self._coalescing = coalescing or Coalescing()
        self._timeout_s = connect_timeout_s
        self._addresses: list[str] = []
        self._ssl = endpoint.ssl_context()
        self._idle: dict[Connection, None] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._gate = asyncio.Semaphore(OPENING_AT_ONCE)
        self._failing = False
        self.keep = 0

    async def resolve(self) -> None:
        """Look up the server's addresses, once.

        Raises:
            ServerError: its name is not known.
        """
        self._addresses = await addresses_of(self._endpoint)

    def take(self) -> Connection | None:
        """An idle connection, None when there is none; more are opened where few are left."""
        found: Connection | None = None
        while self._idle and found is None:
            connection, _ = self._idle.popitem()
            found = connection if connection.usable else None
        if self.keep and not self._failing:
            self._refill()
        return found

    def put(self, connection: Connection) -> None:
        """Take back a connection whose exchange ended."""
        if connection.usable:
            self._idle[connection] = None

    async def open(self) -> Connection:
        """A new connection.

        Raises:
            OSError: refused, unreachable, not trusted (TLS), or no more files or ports are to be had.
            TimeoutError: it took longer than the timeout.
        """
        began = monotonic_ns()
        async with asyncio.timeout(self._timeout_s), self._gate:
            connection = await self._connect()
        connection.connect_ns = monotonic_ns() - began
        return connection

    async def fill(self, count: int) -> None:
        """Open connections until *count* are idle; one that fails is left to the request that needs it."""
        self._open_spares(count - len(self._idle))
        while self._tasks:
            await asyncio.wait(self._tasks)

    async def close(self) -> None:
        """Close all idle connections, and stop opening more."""
        self.keep = 0
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for connection in [*self._idle]:
            connection.close()
        self._idle.clear()

    def _refill(self) -> None:
        missing = self.keep - len(self._idle) - len(self._tasks)
        if missing > self.keep // 2:
            self._open_spares(missing)

    def _open_spares(self, count: int) -> None:
        for _ in range(count):
            task = asyncio.get_running_loop().create_task(self._spare())
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _spare(self) -> None:
        try:
            connection = await self.open()
        except OSError:  # includes the timeout
            self._failing = True  # whoever needs one finds out why
            return
        self._failing = False
        self.put(connection)

    async def _connect(self) -> Connection:
        """Try the addresses in turn; the one that answered is the first to be tried the next time."""
        loop, endpoint = asyncio.get_running_loop(), self._endpoint
        last: OSError = ConnectionRefusedError("no address")
        for address in self._addresses:
            try:
                _, connection = await loop.create_connection(
                    lambda: Connection(self._on_end, self._lost, self._coalescing), address, endpoint.port,
                    ssl=self._ssl, server_hostname=endpoint.host if endpoint.tls else None,
                )  # fmt: skip
            except OSError as error:
                last = error
                continue
            if address != self._addresses[0]:
                self._addresses = [address, *(other for other in self._addresses if other != address)]
            self._failing = False
            return connection
        raise last

    def _lost(self, connection: Connection) -> None:
        self._idle.pop(connection, None)


async def addresses_of(endpoint: Endpoint) -> list[str]:
    """The IP addresses of the server, in the order of preference.

    Raises:
        ServerError: its name is not known.
    """
    loop = asyncio.get_running_loop()
    try:
        found = await loop.getaddrinfo(endpoint.host, endpoint.port, type=socket.SOCK_STREAM)
    except OSError as error:
        raise ServerError(
            f"no such host {endpoint.host!r} ({error.strerror})", where=endpoint.url, hint="Check the address."
        ) from None
    return list(dict.fromkeys(str(address[0]) for *_, address in found))


def raise_open_file_limit() -> int:
    """Raise this process's limit of open files as far as it may go; the limit then."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = 1_048_576 if hard == resource.RLIM_INFINITY else hard
    if soft != resource.RLIM_INFINITY and soft < wanted:
        with contextlib.suppress(ValueError, OSError):  # a container may forbid what the limit allows
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    return resource.getrlimit(resource.RLIMIT_NOFILE)[0]
