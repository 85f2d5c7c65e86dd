"""When the next request is sent: at its time in the schedule (open loop), or when a slot falls free (closed)."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from time import monotonic_ns

import numpy as np
from numpy.typing import NDArray

from giq.curve.requests import Record
from giq.errors import UsageError
from giq.load.connection import Exchange
from giq.load.conversations import Conversations
from giq.load.job import Ending, LoadJob
from giq.load.pacing import Alarm
from giq.load.sends import SENDS_AT_ONCE, Loop, Sends
from giq.units import NS_PER_S
from giq.workload.workload import ClosedLoad

MAX_AHEAD = 4096

READY_NS = 100_000_000
"""Open loop holds enough idle connections for what may fall due in this time."""

REST_S = 0.1
"""A slot whose request failed falls free after this pause, so that a failing server is not hammered."""


def loop_of(job: LoadJob, sender: Sends) -> Loop:
    """The loop that the job's load and workload ask for.

    Raises:
        UsageError: an open load without arrivals.
    """
    schedule = job.schedule
    if schedule.session_id is None:
        return _plain(job, sender, range(job.worker_id, len(schedule), job.workers), schedule.duration_ns)
    # Where there are sessions a duration ends them all: the loop that begins them needs no end of its own.
    return Conversations(sender, job, lambda sends, first: _plain(job, sends, first.tolist(), None))


def _plain(job: LoadJob, sender: Sends, share: Sequence[int], duration_ns: int | None) -> Loop:
    """The loop that sends the requests *share* in order."""
    load, schedule = job.schedule.load, job.schedule
    if isinstance(load, ClosedLoad):
        slots = load.concurrency // job.workers + (job.worker_id < load.concurrency % job.workers)
        return ClosedLoop(sender, share, slots, duration_ns)
    if schedule.arrival_ns is None:
        raise UsageError("an open load needs arrival times", hint="Make the schedule with make_schedule.")
    ending: Ending = "schedule" if duration_ns is None else "duration"
    return OpenLoop(sender, share, schedule.arrival_ns[np.asarray(share, dtype=np.intp)], ending)


class OpenLoop:
    """Sends each request at its own time, whether or not answers come."""

    def __init__(self, sender: Sends, share: Sequence[int], arrival_ns: NDArray[np.int64], ending: Ending) -> None:
        self._sender = sender
        self._ending = ending
        self._due_ns = arrival_ns
        self._next = 0
        self._alarm = Alarm(self._ring)
        self.request_ids = share
        self.planned: int | None = len(share)
        soon = int(np.searchsorted(arrival_ns, arrival_ns[0] + NS_PER_S)) if len(share) else 0
        self.ahead = min(MAX_AHEAD, 64 + 2 * soon)
        self.connections = self.spare_connections = min(len(share), 4 + _most_within(arrival_ns, READY_NS))

    def start(self, anchor_ns: int) -> None:
        """Send request i at *anchor_ns* plus its arrival time."""
        self._due_ns = self._due_ns + anchor_ns
        if len(self._due_ns):
            self._alarm.set(int(self._due_ns[0]))
        else:
            self._sender.end_sending(self._ending)

    def freed(self, exchange: Exchange) -> None:
        """Answers change nothing."""

    def answered(self, record: Record, token_ids: list[int]) -> None:
        """Nor does what is in them."""

    def close(self) -> None:
        """Ring no more."""
        self._alarm.close()

    def _ring(self) -> None:
        for _ in range(SENDS_AT_ONCE):
            if self._next >= len(self._due_ns):
                self._sender.end_sending(self._ending)
                return
            due = int(self._due_ns[self._next])
            if due > monotonic_ns():
                break
            self._next += 1
            if not self._sender.send(due):
                return
        if self._next < len(self._due_ns):
            self._alarm.set(int(self._due_ns[self._next]))
        else:
            self._sender.end_sending(self._ending)


class ClosedLoop:
    """Keeps so many requests in flight: the next one is sent when one ends."""

    spare_connections = 0

    def __init__(self, sender: Sends, share: Sequence[int], slots: int, duration_ns: int | None) -> None:
        self._sender = sender
        self._slots = slots
        self._duration_ns = duration_ns
        self._deadline: asyncio.TimerHandle | None = None
        self._closed = False
        self._alarm = Alarm(self._fill)
        self.planned = len(share) if duration_ns is None else None
        self.request_ids = share
        self.connections = min(slots, len(share))
        self.ahead = min(MAX_AHEAD, 64 + 2 * slots)

    def start(self, anchor_ns: int) -> None:
        """Fill every slot at *anchor_ns*."""
        if self._slots == 0:
            self._sender.end_sending("schedule")
            return
        self._alarm.set(anchor_ns)
        if self._duration_ns is not None:
            end_s = max(0.0, (anchor_ns + self._duration_ns - monotonic_ns()) / NS_PER_S)
            self._deadline = asyncio.get_running_loop().call_later(end_s, self._sender.end_sending, "duration")

    def freed(self, exchange: Exchange) -> None:
        """Its slot is free: at once, or after a pause when the request failed."""
        if exchange.end == "complete" and exchange.pieces[0].startswith((b"HTTP/1.1 200", b"HTTP/1.0 200")):
            self._fill_slot(exchange.end_ns)
        elif not self._closed:
            asyncio.get_running_loop().call_later(REST_S, lambda: self._fill_slot(monotonic_ns()))

    def answered(self, record: Record, token_ids: list[int]) -> None:
        """What is in an answer changes nothing."""

    def close(self) -> None:
        """Leave free slots free."""
        self._closed = True
        self._alarm.close()
        if self._deadline is not None:
            self._deadline.cancel()

    def _fill(self) -> None:
        at_ns = monotonic_ns()
        for _ in range(self._slots):
            self._fill_slot(at_ns)

    def _fill_slot(self, at_ns: int) -> None:
        if not self._closed and not self._sender.send(at_ns):
            self._sender.end_sending("schedule")


def _most_within(arrival_ns: NDArray[np.int64], span_ns: int) -> int:
    """The most arrivals that any window of *span_ns* that begins with one has in it."""
    if not len(arrival_ns):
        return 0
    ends = np.searchsorted(arrival_ns, arrival_ns + span_ns)
    return int(np.max(ends - np.arange(len(arrival_ns))))
