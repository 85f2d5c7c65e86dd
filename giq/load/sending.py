"""Sends one worker's share of a schedule, open or closed loop, and follows every request to its end."""

from __future__ import annotations

import asyncio
import errno
import ssl
import time
from collections.abc import Callable, Coroutine
from time import monotonic_ns
from typing import Any, Protocol, TypeVar

from giq.curve.requests import Record
from giq.load.coalescing import Coalescing
from giq.load.connection import Connection, End, Exchange
from giq.load.connections import Connections, raise_open_file_limit
from giq.load.job import Ending, Hooks, LoadJob, Timeouts
from giq.load.live import Live
from giq.load.loops import loop_of
from giq.load.request_bytes import Request
from giq.load.sends import Loop
from giq.load.spare_time import Ahead, SpareTime
from giq.load.tally import Tally
from giq.load.watch import collect_garbage, note_lags, quiet_collector
from giq.units import NS_PER_S

START_DELAY_NS = 20_000_000
TICK_S = 0.25
BATCH_RECORDS = 64
GONE_REFUSALS = 20
GONE_NS = 5 * NS_PER_S
"""A server that refuses so many connections in a row, for so long, is gone: nothing more is sent to it."""


T = TypeVar("T")


class Starter(Protocol):
    """Says when the first request falls due (ns, monotonic), once everything is ready to send."""

    def __call__(self) -> Coroutine[Any, Any, int]:
        """The moment."""
        ...


async def soon() -> int:
    """Start in a moment; for a single worker."""
    return monotonic_ns() + START_DELAY_NS


async def send_share(job: LoadJob, hooks: Hooks, start: Starter = soon) -> Tally:
    """Send this worker's share, and return when every request has ended and its record was delivered.

    Raises:
        ServerError: the server's name is not known.
        StorageError: whatever the record hook raises.
    """
    raise_open_file_limit()
    sender = Sender(job, hooks)
    with quiet_collector():
        return await sender.run(start)


class Sender:
    """One worker: what is in flight, and everything that happens to it."""

    def __init__(self, job: LoadJob, hooks: Hooks) -> None:
        self._hooks = hooks
        self._timeouts = job.timeouts
        self._in_flight: dict[Exchange, Connection | None] = {}
        self._opening: set[asyncio.Task[None]] = set()
        self._records: list[Record] = []
        self._tally = Tally()
        self._over = False
        self._refusals = 0
        self._refused_since = 0
        self._finished = asyncio.Event()
        self._failed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._loop: Loop = loop_of(job, self)
        self._ahead = Ahead(job, self._loop.request_ids, self._loop.ahead)
        self._spare = SpareTime(job, self._ahead, self._decoded)
        coalescing = Coalescing(busy=self._spare.is_busy)
        self._connections = Connections(job.endpoint, self._ended, job.timeouts.connect_s, coalescing)
        self._live = Live(self._loop.planned)

    async def run(self, start: Starter) -> Tally:
        """Send everything; the totals."""
        tasks = [self._task(self._spare.run())]
        self._spare.wake()
        try:
            await self._prepare()
            anchor = await self._unless_failed(start())
            tasks += [self._task(work) for work in self._watches()]
            cpu_s = time.process_time()
            self._tally.started_ns = anchor
            self._live.start(anchor)
            self._loop.start(anchor)
            await self._unless_failed(self._finished.wait())
            self._tally.ended_ns = monotonic_ns()
            self._tally.cpu_s = time.process_time() - cpu_s
            await self._unless_failed(self._spare.until_idle())
            self._deliver()
            self._hooks.progress(self._live.progress(self._tally.sent, 0))
        finally:
            self._failed.cancel()
            self._loop.close()
            await _cancel([*tasks, *self._opening])
            for connection in [*self._in_flight.values()]:
                if connection is not None:
                    connection.close()
            await self._connections.close()
        return self._tally

    async def _prepare(self) -> None:
        """Open connections and make requests, so that the first of them are sent on time."""
        await self._unless_failed(self._connections.resolve())
        await self._unless_failed(self._connections.fill(self._loop.connections))
        self._connections.keep = self._loop.spare_connections
        await self._unless_failed(self._spare.until_idle())

    def send(self, scheduled_ns: int, request: Request | None = None) -> bool:
        """Send *request*, by default the next one, which fell due at *scheduled_ns*.

        False when there is none, or sending is over.
        """
        try:
            request = None if self._over else request or self._ahead.take()
            if request is None:
                return False
            exchange = Exchange(request, scheduled_ns)
            connection = self._connections.take()
            if connection is None:
                self._open_for(exchange)
            else:
                self._hand_over(connection, exchange)
            if self._ahead.lacks:
                self._spare.wake()
        except BaseException as error:  # in a callback of the event loop, which would go on without it
            self._fail(error)
            raise
        return True

    def end_sending(self, ending: Ending) -> None:
        """Send no more, and finish when all that is in flight has ended."""
        if not self._over:
            self._over = True
            self._tally.ending = ending
            self._loop.close()
        self._finish_if_idle()

    def cancel(self) -> None:
        """Send no more, and give up all that is in flight."""
        self.end_sending("quit")
        self._tally.ending = "quit"
        for exchange, connection in list(self._in_flight.items()):
            if connection is not None:
                connection.abandon("cancelled", None)
            else:
                self._never_sent(exchange, "cancelled", None)

    def _hand_over(self, connection: Connection, exchange: Exchange) -> None:
        self._in_flight[exchange] = connection
        connection.send(exchange)
        if exchange.attempts == 1:
            self._tally.note_sent(exchange)

    def _open_for(self, exchange: Exchange) -> None:
        self._in_flight[exchange] = None
        task = asyncio.get_running_loop().create_task(self._open_and_send(exchange))
        self._opening.add(task)
        task.add_done_callback(self._opening.discard)

    async def _open_and_send(self, exchange: Exchange) -> None:
        began = exchange.sent_ns = monotonic_ns()
        try:
            connection = await self._connections.open()
        except TimeoutError:
            self._never_sent(exchange, "timeout", "connect")
        except OSError as error:
            self._never_sent(exchange, "refused", _reason(error))
        else:
            self._refusals = 0
            if exchange.end is not None:  # given up meanwhile
                connection.close()
                return
            exchange.waited_ns = monotonic_ns() - began
            self._hand_over(connection, exchange)

    def _never_sent(self, exchange: Exchange, end: End, detail: str | None) -> None:
        if exchange.end is None:
            exchange.end, exchange.detail, exchange.end_ns = end, detail, monotonic_ns()
            if exchange.attempts == 1:
                self._tally.sent += 1
            if end == "refused":
                self._note_refusal(exchange.end_ns)
            self._close(exchange)

    def _note_refusal(self, at_ns: int) -> None:
        if self._refusals == 0:
            self._refused_since = at_ns
        self._refusals += 1
        if self._refusals >= GONE_REFUSALS and at_ns - self._refused_since >= GONE_NS:
            self.end_sending("server_gone")

    def _ended(self, connection: Connection, exchange: Exchange) -> None:
        """An exchange ended at the socket; called by its connection."""
        stale = exchange.end == "closed" and not exchange.pieces and exchange.waited_ns == 0
        if (
            stale and exchange.attempts == 1 and not self._failed.done()
        ):  # kept alive, but closed by the server before it saw this request
            exchange.attempts = 2
            exchange.end = None
            self._open_for(exchange)
            return
        self._connections.put(connection)
        self._close(exchange)

    def _close(self, exchange: Exchange) -> None:
        self._in_flight.pop(exchange, None)
        self._loop.freed(exchange)
        self._spare.decode(exchange)
        if self._over:
            self._finish_if_idle()

    def _finish_if_idle(self) -> None:
        if self._over and not self._in_flight:
            self._finished.set()

    def _decoded(self, record: Record, token_ids: list[int]) -> None:
        self._tally.note_record(record)
        self._loop.answered(record, token_ids)
        self._live.note(record)
        self._records.append(record)
        if len(self._records) >= BATCH_RECORDS:
            self._deliver()

    def _deliver(self) -> None:
        batch, self._records = self._records, []
        self._hooks.records(batch)

    def _watches(self) -> list[Coroutine[Any, Any, None]]:
        return [
            self._tick(),
            self._watch_timeouts(self._timeouts),
            note_lags(self._tally.lags_ns),
            self._on(self._hooks.stop, lambda: self.end_sending("stopped")),
            self._on(self._hooks.quit, self.cancel),
        ]

    async def _tick(self) -> None:
        """Tell the progress, deliver records that wait, and tidy the memory."""
        ticks = 0
        while True:
            await asyncio.sleep(TICK_S)
            self._deliver()
            self._hooks.progress(self._live.progress(self._tally.sent, len(self._in_flight)))
            ticks += 1
            if ticks % 4 == 0:
                collect_garbage()

    async def _watch_timeouts(self, timeouts: Timeouts) -> None:
        limits = [limit for limit in (timeouts.first_byte_s, timeouts.idle_s, timeouts.total_s) if limit is not None]
        while True:
            await asyncio.sleep(min(1.0, min(limits) / 8))
            now = monotonic_ns()
            for exchange, connection in list(self._in_flight.items()):
                detail = _overdue(exchange, timeouts, now)
                if detail is not None and connection is not None:
                    connection.abandon("timeout", detail)

    async def _on(self, event: asyncio.Event, act: Callable[[], None]) -> None:
        await event.wait()
        act()

    def _task(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """A task whose failure ends the whole."""
        task = asyncio.get_running_loop().create_task(work)
        task.add_done_callback(self._check)
        return task

    def _check(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and (error := task.exception()) is not None:
            self._fail(error)

    def _fail(self, error: BaseException) -> None:
        self._over = True
        if not self._failed.done():
            self._failed.set_exception(error)

    async def _unless_failed(self, work: Coroutine[Any, Any, T]) -> T:
        """What *work* gives; it is given up as soon as anything has failed, and that is raised."""
        task = asyncio.ensure_future(work)
        try:
            either: set[asyncio.Future[Any]] = {task, self._failed}
            await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
            if self._failed.done():
                self._failed.result()
            return task.result()
        finally:
            task.cancel()


def _overdue(exchange: Exchange, timeouts: Timeouts, now_ns: int) -> str | None:
    """Which timeout *exchange* has run into, if any."""
    stamps, first_byte_s = exchange.stamps, timeouts.first_byte_s
    age_s = (now_ns - exchange.sent_ns) / NS_PER_S
    if age_s > timeouts.total_s:
        return "total"
    if not stamps and first_byte_s is not None and age_s > first_byte_s:
        return "first_byte"
    quiet_s = (now_ns - stamps[-1]) / NS_PER_S if stamps else age_s
    return "idle" if quiet_s > timeouts.idle_s else None


def _reason(error: OSError) -> str:
    """Why a connection could not be opened, in one word."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return "certificate_not_trusted"
    if isinstance(error, ssl.SSLError):
        return "tls"
    if error.errno in (errno.EMFILE, errno.ENFILE):
        return "too_many_open_files"
    if error.errno == errno.EADDRNOTAVAIL:
        return "no_free_port"
    return "connection_refused" if isinstance(error, ConnectionRefusedError) else "unreachable"


async def _cancel(tasks: list[asyncio.Task[None]]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
