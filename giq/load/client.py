"""Sends a load point to a server and stamps its answers: the room's front door."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from time import monotonic_ns
from typing import Any, TypeVar

import uvloop

from giq.load.counters import Finding, deltas, reconcile
from giq.load.endpoint import refuse_proxy
from giq.load.job import CounterDeltas, Hooks, Lateness, LoadJob, LoadResult, Progress, Timeouts
from giq.load.scraper import Reading, Scraper, samples
from giq.load.sending import send_share
from giq.load.tally import Tally
from giq.load.verdict import findings

__all__ = ["Hooks", "Lateness", "LoadJob", "LoadResult", "Progress", "Timeouts", "run", "run_load"]

T = TypeVar("T")

IDLE_WAIT_S = 30.0
SETTLE_S = 3.0
"""The server may count a request a moment after its last byte."""


def run(work: Coroutine[Any, Any, T]) -> T:
    """Run *work* on the event loop that giq measures with."""
    return uvloop.run(work)


async def run_load(job: LoadJob, hooks: Hooks) -> LoadResult:
    """Hold the load of *job* against its server, until all that was sent has ended.

    Records go to the hooks as answers are decoded (phase `measure`: the window is found later), samples of the
    server's metrics three times a second. Setting `hooks.stop` sends no more; `hooks.quit` gives up what is in flight.

    Raises:
        ServerError: the server's name is not known, or the environment asks for an HTTP proxy.
        StorageError: whatever a hook raises ends the load.
    """
    return await observed(job, hooks, lambda: send_share(job, hooks))


async def observed(job: LoadJob, hooks: Hooks, send: Callable[[], Awaitable[Tally]], workers: int = 1) -> LoadResult:
    """Send by *send* while the server's metrics are watched; then compare its counts with ours."""
    refuse_proxy(job.endpoint)
    counters = _Counters(job, hooks)
    async with counters.watched():
        tally = await send()
    await counters.settle(tally)
    lateness = tally.lateness(workers)
    found = [*findings(job.schedule.load, tally, lateness), *counters.findings(tally)]
    return LoadResult(
        started_ns=tally.started_ns - job.zero_ns,
        ended_ns=tally.ended_ns - job.zero_ns,
        sent=tally.sent,
        ok=tally.ok,
        input_tokens=tally.input_tokens,
        output_tokens=tally.output_tokens,
        ending=tally.ending,
        lateness=lateness,
        counters=counters.deltas,
        flags=tuple(dict.fromkeys(finding.flag for finding in found)),
        reasons=tuple(dict.fromkeys(finding.reason for finding in found)),
    )


class _Counters:
    """The server's counters before and after a load point, and its metrics between."""

    def __init__(self, job: LoadJob, hooks: Hooks) -> None:
        self._job = job
        self._hooks = hooks
        self._names = job.identity.metric_names if job.identity.metrics else None
        self._before: Reading | None = None
        self._was_idle = True
        self.deltas: CounterDeltas | None = None
        # A server that is shared with others never becomes idle: waiting for it would only cost time.
        self._patience_s = 0.0 if job.identity.busy else IDLE_WAIT_S

    @contextlib.asynccontextmanager
    async def watched(self) -> AsyncIterator[None]:
        """Read the counters when the server is idle, then deliver samples while the load goes on."""
        if self._names is None:
            yield
            return
        async with Scraper(self._job.endpoint, self._names) as scraper:
            self._before, self._was_idle = await scraper.idle(self._patience_s, self._hooks.stop)
            if self._before is not None:
                self._deliver(self._before)
            watching = asyncio.ensure_future(scraper.watch(self._deliver))
            watching.add_done_callback(self._check)
            try:
                yield
            finally:
                watching.cancel()
                await asyncio.gather(watching, return_exceptions=True)
        if watching.done() and not watching.cancelled() and (error := watching.exception()) is not None:
            raise error

    async def settle(self, tally: Tally) -> None:
        """Read the counters again: once the server is idle, and then until they agree or it stays that they do not."""
        if self._names is None or self._before is None:
            return
        async with Scraper(self._job.endpoint, self._names) as scraper:
            after, _ = await scraper.idle(self._patience_s, self._hooks.quit)
            until = monotonic_ns() + round(SETTLE_S * 1e9)
            while after is not None:
                self.deltas = deltas(self._before, after, self._names)
                if not reconcile(self.deltas, tally) or self._hooks.quit.is_set() or monotonic_ns() > until:
                    break
                await asyncio.sleep(0.2)
                after = await scraper.read(histograms=True) or after
            if after is not None:
                self._deliver(after)

    def findings(self, tally: Tally) -> list[Finding]:
        """Where its counts and ours differ."""
        found = reconcile(self.deltas, tally)
        if not self._was_idle:
            found.append(Finding("FOREIGN_TRAFFIC", "the server had requests of others before the first of ours"))
        return found

    def _check(self, watching: asyncio.Task[None]) -> None:
        """Give the load up when its samples cannot be delivered."""
        if not watching.cancelled() and watching.exception() is not None:
            self._hooks.quit.set()

    def _deliver(self, reading: Reading) -> None:
        job = self._job
        self._hooks.samples(samples(reading, job.endpoint, job.run_id, job.point_id, job.zero_ns))
