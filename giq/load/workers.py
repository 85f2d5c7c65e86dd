"""Several processes send one schedule: request i is worker i mod N's, and every worker writes its own records."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import multiprocessing
import signal
from collections.abc import AsyncIterator, Iterator
from functools import partial
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnProcess
from time import monotonic_ns

from giq.errors import GiqError, UsageError
from giq.load.client import observed
from giq.load.job import Hooks, LoadJob, LoadResult, Progress
from giq.load.live import joined
from giq.load.tally import Tally, merged
from giq.load.worker import Failed, Order, Ready, Report, SinkFactory, hear, record_share, work

START_DELAY_NS = 50_000_000


async def run_workers(job: LoadJob, hooks: Hooks, workers: int, sink_factory: SinkFactory) -> LoadResult:
    """Hold the load of *job* with so many processes; one works in this process.

    Worker k's records go to `sink_factory(k)`, made in its own process (so it must be picklable), and not to
    `hooks.records`. Together they are the schedule's, each once. The rest is as with `run_load`.

    Raises:
        UsageError: fewer than one worker is asked for.
        GiqError: a worker died or failed; what the workers had recorded until then is kept.
    """
    if workers < 1:
        raise UsageError(f"{workers} workers cannot send a load", hint="Use 1 or more.")
    if workers == 1:
        return await observed(job, hooks, lambda: record_share(job, sink_factory, hooks))

    async def send() -> Tally:
        async with _started(job, workers, sink_factory) as crew:
            return await crew.send(hooks)

    return await observed(job, hooks, send, workers)


@dataclasses.dataclass
class _Member:
    """One worker as its parent sees it."""

    worker_id: int
    process: SpawnProcess
    pipe: Connection
    ready: bool = False
    progress: Progress | None = None
    tally: Tally | None = None

    def order(self, order: Order) -> None:
        """Tell it to do something; one that is gone is noticed elsewhere."""
        with contextlib.suppress(OSError):
            self.pipe.send(order)


@contextlib.contextmanager
def _unheard_ctrl_c() -> Iterator[None]:
    """Processes started in here never hear Ctrl-C, not even before they run `work`; ours comes when the block ends."""
    # Starting the tracker that every spawn needs would unblock SIGINT again, so it is started before.
    resource_tracker.ensure_running()
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextlib.asynccontextmanager
async def _started(job: LoadJob, workers: int, sink_factory: SinkFactory) -> AsyncIterator[_Crew]:
    context = multiprocessing.get_context("spawn")
    members = []
    try:
        for worker_id in range(workers):
            ours, theirs = context.Pipe()
            share = dataclasses.replace(job, worker_id=worker_id, workers=workers)
            process = context.Process(target=work, args=(theirs, share, sink_factory), daemon=True)
            with _unheard_ctrl_c():
                process.start()
            theirs.close()
            members.append(_Member(worker_id, process, ours))
        yield _Crew(members)
    finally:
        for member in members:
            member.pipe.close()  # a worker that still runs quits when it sees that
        for member in members:
            await asyncio.to_thread(member.process.join, 10)
            if member.process.is_alive():
                member.process.kill()
            member.process.join()


class _Crew:
    """All workers of one load point."""

    def __init__(self, members: list[_Member]) -> None:
        self._members = members
        self._failure: GiqError | None = None
        self._ended = asyncio.Event()

    async def send(self, hooks: Hooks) -> Tally:
        """Start them together, pass on stop and quit, and add up what they did."""
        loop = asyncio.get_running_loop()
        self._hooks = hooks
        watches = [
            asyncio.ensure_future(self._pass_on(hooks.stop, "stop")),
            asyncio.ensure_future(self._pass_on(hooks.quit, "quit")),
        ]
        for member in self._members:
            hear(loop, member.pipe, partial(self._hear, member))
        try:
            await self._ended.wait()
        finally:
            for member in self._members:
                loop.remove_reader(member.pipe.fileno())
            for watch in watches:
                watch.cancel()
            await asyncio.gather(*watches, return_exceptions=True)
        if self._failure is not None:
            raise self._failure
        return merged([member.tally for member in self._members if member.tally is not None])

    def _hear(self, member: _Member) -> None:
        try:
            report: Report = member.pipe.recv()
        except (EOFError, OSError):
            asyncio.get_running_loop().remove_reader(member.pipe.fileno())
            if member.tally is None:
                self._fail(_death(member))
            return
        if isinstance(report, Ready):
            member.ready = True
            if all(one.ready for one in self._members):
                self._order_all(monotonic_ns() + START_DELAY_NS)
        elif isinstance(report, Progress):
            member.progress = report
            first = next(one for one in self._members if one.tally is None)
            if member is first:  # the others' latest is at most a tick old
                self._hooks.progress(joined([one.progress for one in self._members if one.progress is not None]))
        elif isinstance(report, Failed):
            what, where, hint = report.told
            self._fail(GiqError(what, where=where, hint=hint))
        else:
            member.tally = report
            self._check_ended()

    def _fail(self, error: GiqError) -> None:
        """One is lost, so the load is not what was asked for: the others give up, and keep what they recorded."""
        if self._failure is None:
            self._failure = error
            self._order_all("quit")
        self._check_ended()

    def _check_ended(self) -> None:
        if not any(one.tally is None and one.process.is_alive() for one in self._members):
            self._ended.set()

    def _order_all(self, order: Order) -> None:
        for member in self._members:
            member.order(order)

    async def _pass_on(self, event: asyncio.Event, order: str) -> None:
        await event.wait()
        self._order_all(order)


def _death(member: _Member) -> GiqError:
    member.process.join(1)
    code = member.process.exitcode
    how = f"killed by signal {-code}" if code is not None and code < 0 else f"exit code {code}"
    return GiqError(
        f"worker {member.worker_id} ended before its work was done ({how})",
        hint="What was recorded until then is saved, and giq profile --resume goes on. Was the memory short?",
    )
