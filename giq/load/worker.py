"""A worker: a function from a slice of the schedule to a record file.

`record_share` is all of it. What goes in is a `LoadJob` (the whole schedule and which slice of it), a factory of the
file and the moment to start; what comes out is the file and a `Tally`, and tallies add up. Workers share nothing
else: no memory, no connection, no random number. A single worker runs it in giq's own process; of several each runs
it in a process of its own (`work`), which hears when to start, to stop and to quit, and tells how it stands.

So it can run on another machine by another `work`: job and factory are picklable, and so is every message. Two things
are the machine's own and must be given there: the job's `zero_ns` and the start, both on its monotonic clock (run.json
keeps each worker's zero in Unix time, by which records of several machines are joined). Its file must be fetched.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import functools
import os
import signal
from collections.abc import Callable, Sequence
from multiprocessing.connection import Connection
from typing import Protocol

import uvloop

from giq.curve.requests import Record
from giq.errors import GiqError
from giq.load.job import Hooks, LoadJob, Progress
from giq.load.sending import Starter, send_share, soon
from giq.load.tally import Tally


class Sink(Protocol):
    """Where a worker's records go; a journal of the store is one."""

    def append(self, records: Sequence[Record]) -> None:
        """Take some records."""
        ...

    def close(self) -> None:
        """There are no more."""
        ...


SinkFactory = Callable[[int], Sink]
"""Makes the sink of a worker, in that worker's process: a function of a module, or a partial of one."""


class Ready:
    """A worker can send; it waits for the start."""


class Failed:
    """A worker gave up, with the error that it tells."""

    def __init__(self, error: GiqError) -> None:
        self.told = (error.what, error.where, error.hint)


Report = Ready | Progress | Tally | Failed
"""What a worker tells its parent."""

Order = int | str
"""What a parent tells a worker: when to start (ns, monotonic), `stop` or `quit`."""


async def record_share(job: LoadJob, factory: SinkFactory, hooks: Hooks, start: Starter = soon) -> Tally:
    """Send the slice of worker `job.worker_id`, and write its records to its own sink.

    Raises:
        GiqError: as `send_share` does, or the sink cannot be made; what was recorded until then is kept.
    """
    sink = factory(job.worker_id)
    try:
        return await send_share(job, dataclasses.replace(hooks, records=sink.append), start)
    finally:
        sink.close()


def work(pipe: Connection, job: LoadJob, factory: SinkFactory) -> None:
    """The process: reports on *pipe*, and quits when its parent is gone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent hears Ctrl-C, and says what to do
    try:
        _report(pipe, uvloop.run(_Worker(pipe, job).run(factory)))
    except GiqError as error:
        _report(pipe, Failed(error))


def _report(pipe: Connection, report: Report) -> None:
    """Tell the parent; one that is gone is noticed where its orders are read."""
    with contextlib.suppress(BrokenPipeError, ConnectionResetError):
        pipe.send(report)


def hear(loop: asyncio.AbstractEventLoop, pipe: Connection, callback: Callable[[], None]) -> None:
    """Call *callback* whenever something may be read from *pipe*, which stays blocking.

    libuv makes what it watches non-blocking; a long report, written in two parts, could then not be read in between.
    """
    loop.add_reader(pipe.fileno(), callback)
    os.set_blocking(pipe.fileno(), True)


class _Worker:
    def __init__(self, pipe: Connection, job: LoadJob) -> None:
        self._pipe = pipe
        self._job = job

    async def run(self, factory: SinkFactory) -> Tally:
        loop = asyncio.get_running_loop()
        self._start: asyncio.Future[int] = loop.create_future()
        self._hooks = Hooks(progress=functools.partial(_report, self._pipe))
        hear(loop, self._pipe, self._obey)
        try:
            return await record_share(self._job, factory, self._hooks, self._ready)
        finally:
            loop.remove_reader(self._pipe.fileno())

    async def _ready(self) -> int:
        _report(self._pipe, Ready())
        return await self._start

    def _obey(self) -> None:
        try:
            order: Order = self._pipe.recv()
        except (EOFError, OSError):
            asyncio.get_running_loop().remove_reader(self._pipe.fileno())
            order = "quit"
        if isinstance(order, int):
            self._start.set_result(order)
            return
        (self._hooks.stop if order == "stop" else self._hooks.quit).set()
        if not self._start.done():
            self._start.set_result(0)
