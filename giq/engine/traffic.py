"""What is sent when in virtual time: arrivals, slots that fall free, and turns of conversations."""

from __future__ import annotations

import math
from heapq import heappop, heappush

from giq.units import NS_PER_S
from giq.workload.schedule import Schedule
from giq.workload.workload import ClosedLoad


class Traffic:
    """The requests of a schedule as they fall due: at `due` the next one does, `pop` tells which.

    In open loop a request is due at its arrival, in a closed loop when a slot falls free; a later turn of a
    conversation its pause after the answer before, unless the load point is over by then. A conversation one of
    whose requests is refused ends there.
    """

    def __init__(self, schedule: Schedule) -> None:
        self._count = len(schedule)
        self._until = math.inf if schedule.duration_ns is None else schedule.duration_ns / NS_PER_S
        self._closed = isinstance(schedule.load, ClosedLoad)
        self._follows: list[bool] | None = None
        if schedule.parent is not None and schedule.think_ns is not None:
            self._follows = (schedule.parent >= 0).tolist()
            self._pauses: list[float] = (schedule.think_ns / NS_PER_S).tolist()
        self._next = 0
        self._waiting: list[tuple[float, int]] = []
        if isinstance(schedule.load, ClosedLoad):
            slots = (self._taken(0.0) for _ in range(min(schedule.load.concurrency, self._count)))
            self._waiting = [(0.0, number) for number in slots if number is not None]
        elif schedule.arrival_ns is not None:
            arrivals = (schedule.arrival_ns / NS_PER_S).tolist()
            self._waiting = sorted(
                (at, number) for number, at in enumerate(arrivals) if at >= 0.0
            )  # not those that follow
        self.due = self._waiting[0][0] if self._waiting else math.inf

    def pop(self) -> tuple[float, int]:
        """The next request: when it is sent, and its number."""
        found = heappop(self._waiting)
        self.due = self._waiting[0][0] if self._waiting else math.inf
        return found

    def answered(self, number: int, now: float, accepted: bool = True) -> int | None:
        """The answer to that request is complete, or it was refused: which request is sent at once, if any."""
        follows = self._follows
        if follows is not None and accepted and number + 1 < self._count and follows[number + 1]:
            later = now + self._pauses[number + 1]
            if later < self._until:
                heappush(self._waiting, (later, number + 1))
                self.due = self._waiting[0][0]
            return None
        return self._taken(now) if self._closed else None

    def _taken(self, now: float) -> int | None:
        """The request, the first of its conversation, that takes a slot that fell free *now*; None: no more is sent."""
        if self._follows is not None:
            while self._next < self._count and self._follows[self._next]:
                self._next += 1
        if self._next >= self._count or now >= self._until:
            return None
        self._next += 1
        return self._next - 1
