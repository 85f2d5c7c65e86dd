"""One of several worker processes: it sends its share of a schedule and writes its own records."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable, Sequence
from multiprocessing.connection import Connection
from typing import Protocol

import uvloop

from giq.curve.requests import Record
from giq.errors import GiqError
from giq.load.job import Hooks, LoadJob, Progress
from giq.load.sending import send_share
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


def work(pipe: Connection, job: LoadJob, factory: SinkFactory) -> None:
    """The process: reports on *pipe*, and quits when its parent is gone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent hears Ctrl-C, and says what to do
    try:
        pipe.send(uvloop.run(_Worker(pipe, job).run(factory)))
    except GiqError as error:
        pipe.send(Failed(error))


class _Worker:
    def __init__(self, pipe: Connection, job: LoadJob) -> None:
        self._pipe = pipe
        self._job = job

    async def run(self, factory: SinkFactory) -> Tally:
        loop = asyncio.get_running_loop()
        self._start: asyncio.Future[int] = loop.create_future()
        sink = factory(self._job.worker_id)
        self._hooks = Hooks(records=sink.append, progress=self._pipe.send)
        loop.add_reader(self._pipe.fileno(), self._obey)
        try:
            return await send_share(self._job, self._hooks, self._ready)
        finally:
            loop.remove_reader(self._pipe.fileno())
            sink.close()

    async def _ready(self) -> int:
        self._pipe.send(Ready())
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
