"""Conversations: first turns are sent by an open or closed loop, later ones when the answer was thought over."""

from __future__ import annotations

import asyncio
import heapq
import math
from collections.abc import Callable
from time import monotonic_ns

import numpy as np
from numpy.typing import NDArray

from giq.curve.requests import Record
from giq.load.connection import Exchange
from giq.load.job import Ending, LoadJob
from giq.load.pacing import Alarm
from giq.load.request_bytes import Request, RequestWriter
from giq.load.sends import SENDS_AT_ONCE, Loop, Sends
from giq.units import NS_PER_S


class Conversations:
    """A loop over sessions: `opening` decides when one begins, and hears of its end as if it were one request.

    A later turn falls due when the answer before it has ended and its pause is over. A session ends with its last
    turn, or with one that failed. A duration ends all sending; else it ends when every session has.
    """

    def __init__(self, sender: Sends, job: LoadJob, opening: Callable[[Sends, NDArray[np.int64]], Loop]) -> None:
        schedule = job.schedule
        assert schedule.session_id is not None and schedule.parent is not None  # noqa: S101, PT018 - there are sessions
        assert schedule.think_ns is not None  # noqa: S101
        ours = np.flatnonzero(schedule.session_id % job.workers == job.worker_id)
        self._sender = sender
        self._writer = RequestWriter(job)
        self._parent = schedule.parent
        self._think_ns = schedule.think_ns
        self._duration_ns = schedule.duration_ns
        self._deadline: asyncio.TimerHandle | None = None
        self._alarm = Alarm(self._ring)
        self._due: list[tuple[int, int, Request]] = []
        self._answered: dict[int, Exchange] = {}
        self._alive = 0
        self._all_begun = self._closed = False
        self._opening = opening(self, ours[schedule.parent[ours] < 0])
        self.request_ids = self._opening.request_ids
        self.ahead = self._opening.ahead
        turns = math.ceil(len(ours) / max(1, len(self.request_ids)))
        self.spare_connections = turns * self._opening.spare_connections  # none in a closed loop
        self.connections = max(self._opening.connections, self.spare_connections)
        self.planned = None if self._opening.planned is None else len(ours)

    def start(self, anchor_ns: int) -> None:
        """Begin sessions from *anchor_ns* on."""
        if self._duration_ns is not None:
            wait_s = (anchor_ns + self._duration_ns - monotonic_ns()) / NS_PER_S
            self._deadline = asyncio.get_running_loop().call_later(wait_s, self._sender.end_sending, "duration")
        self._opening.start(anchor_ns)

    def send(self, scheduled_ns: int, request: Request | None = None) -> bool:
        """Begin a session, for the opening loop."""
        sent = self._sender.send(scheduled_ns, request)
        self._alive += sent
        return sent

    def end_sending(self, ending: Ending) -> None:
        """No more sessions begin, says the opening loop: sending is over when the last one is."""
        self._all_begun = True
        self._end_with_the_last()

    def freed(self, exchange: Exchange) -> None:
        """An answer ended: its session too when it was the last, else as soon as the answer is decoded or failed."""
        if self._next(exchange.request.request_id) is None:
            self._session_over(exchange)
        else:
            self._answered[exchange.request.request_id] = exchange

    def answered(self, record: Record, token_ids: list[int]) -> None:
        """An answer was decoded: the next turn of its session is made, and falls due after the pause."""
        exchange = self._answered.pop(record.request_id, None)
        if exchange is None or self._closed:
            return
        following = self._next(record.request_id)
        if record.outcome != "ok" or following is None:
            self._session_over(exchange)
            return
        request = self._writer.next_turn(following, exchange.request, token_ids)
        heapq.heappush(self._due, (exchange.end_ns + int(self._think_ns[following]), following, request))
        self._alarm.set(self._due[0][0])

    def close(self) -> None:
        """Send no more turns."""
        self._closed = True
        self._opening.close()
        self._alarm.close()
        if self._deadline is not None:
            self._deadline.cancel()

    def _ring(self) -> None:
        for _ in range(SENDS_AT_ONCE):
            if not self._due or self._due[0][0] > monotonic_ns():
                break
            due_ns, _, request = heapq.heappop(self._due)
            if not self._sender.send(due_ns, request):
                return
        if self._due:
            self._alarm.set(self._due[0][0])

    def _next(self, request_id: int) -> int | None:
        """The turn after this one; None for the last of its session."""
        following = request_id + 1
        return following if following < len(self._parent) and self._parent[following] == request_id else None

    def _session_over(self, exchange: Exchange) -> None:
        self._alive -= 1
        self._opening.freed(exchange)
        self._end_with_the_last()

    def _end_with_the_last(self) -> None:
        if self._all_begun and self._alive == 0:
            self._sender.end_sending("schedule")
