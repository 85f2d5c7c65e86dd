"""Watches a load point while it is held, and ends it when it has seen enough."""

from __future__ import annotations

import asyncio
import contextlib
import math
from time import monotonic_ns

from giq.curve.ending import Goal, next_look, seen_enough
from giq.errors import DataError
from giq.load.job import Progress
from giq.profiling.observer import Observer
from giq.store.run import Run, open_run
from giq.workload.workload import Load


class Watch:
    """Sets `stop` when the user stops the profile, or when the answers so far reach the goal of the search.

    Sets `quit` when the user quits, or when the budget of the search is gone.
    The answers are read from the journals, at ever longer intervals, in a thread beside the one that sends.
    """

    def __init__(self, run: Run, point_id: str, load: Load, goal: Goal | None, observer: Observer) -> None:
        self.stop, self.quit = asyncio.Event(), asyncio.Event()
        self._reader = open_run(run.path)  # of its own: *run* writes its journals while this one reads
        self._point_id, self._load, self._goal, self._observer = point_id, load, goal, observer
        self._latest: Progress | None = None

    def progress(self, progress: Progress) -> None:
        """Hear how the point stands, and pass it on."""
        self._latest = progress
        self._observer.progress(progress)

    async def follow(self, quitted: asyncio.Event, cut_s: float) -> None:
        """Quit when the user does, or after *cut_s*."""
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(quitted.wait(), None if math.isinf(cut_s) else cut_s)
        self.quit.set()

    async def run_until(self, stopped: asyncio.Event, zero_ns: int) -> None:
        """Watch until *stopped* is set or the goal is reached; the records' times count from *zero_ns*."""
        waiting = asyncio.create_task(stopped.wait())
        look = next_look(0.0)
        try:
            while not stopped.is_set():
                elapsed = 0.0 if self._latest is None else self._latest.elapsed_s
                await asyncio.wait({waiting}, timeout=max(look - elapsed, _SHORTEST_S))
                if self._goal is None or self._latest is None or self._latest.elapsed_s < look:
                    continue
                reason = await asyncio.to_thread(self._reason, self._goal, monotonic_ns() - zero_ns)
                if reason is not None:
                    self._observer.say(f"Enough: {reason}.")
                    break
                look = next_look(look)
        finally:
            waiting.cancel()
        self.stop.set()

    def _reason(self, goal: Goal, now_ns: int) -> str | None:
        """Why the point may end now; None: go on."""
        try:
            requests = self._reader.requests(self._point_id)
        except DataError:
            return None  # nothing has ended yet
        sent = self._latest.sent if self._latest is not None else len(requests)
        found = seen_enough(requests, sent, now_ns, self._load, goal)
        return None if found is None else found.reason


_SHORTEST_S = 0.25
