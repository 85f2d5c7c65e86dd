"""What is done between two turns of the event loop: requests made ahead of time, answers decoded afterwards.

Both come in slices so short that sending and stamping stay on time, unless so many answers wait that memory would
run short.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Generator, Sequence
from time import monotonic_ns

from giq.curve.requests import Record
from giq.load.connection import Exchange
from giq.load.decoder import Answer, Decoded, decoding
from giq.load.job import LoadJob
from giq.load.placing import placed
from giq.load.request_bytes import Request, RequestWriter

SLICE_NS = 300_000

PATIENT_BYTES = 96 * 1024 * 1024
"""Each byte of answers that wait beyond these makes a slice a nanosecond longer: a client that cannot keep up decodes
at the cost of exact times (it is overloaded then, and says so), and its memory stays bounded. A thousand answers of 200
tokens that end together are fewer."""

ANSWER_BYTES, PIECE_BYTES = 1_024, 96
"""What an answer, and each piece of it, takes in memory beside its bytes, roughly."""

MAX_AHEAD_BYTES = 64 * 1024 * 1024


class Ahead:
    """The requests of one worker's share, in order, the next `most` of them made before they are needed."""

    def __init__(self, job: LoadJob, request_ids: Sequence[int], most: int) -> None:
        self._writer = RequestWriter(job)
        self._ids = request_ids
        self._most = most
        self._made: deque[Request] = deque()
        self._bytes = 0
        self._next = 0

    @property
    def lacks(self) -> bool:
        """Whether more should be made."""
        enough = len(self._made) >= self._most or self._bytes >= MAX_AHEAD_BYTES
        return not enough and self._next < len(self._ids)

    def make(self) -> None:
        """Make the next one."""
        request = self._writer.request(self._ids[self._next])
        self._next += 1
        self._made.append(request)
        self._bytes += len(request.data)

    def take(self) -> Request | None:
        """The next request, made on the spot if it must be; None after the last."""
        if not self._made:
            if self._next >= len(self._ids):
                return None
            self.make()
        request = self._made.popleft()
        self._bytes -= len(request.data)
        return request


class SpareTime:
    """Does the work that can wait; every record goes to *on_record*, with the answer's tokens where they are told."""

    def __init__(self, job: LoadJob, ahead: Ahead, on_record: Callable[[Record, list[int]], None]) -> None:
        self._job = job
        self._ahead = ahead
        self._on_record = on_record
        self._waiting: deque[tuple[Exchange, int]] = deque()
        self._current: Generator[None, None, Decoded] | None = None
        self._backlog = 0
        self._work = asyncio.Event()
        self._idle = asyncio.Event()

    def decode(self, exchange: Exchange) -> None:
        """Decode an answer when there is time."""
        size = _size(exchange)
        self._waiting.append((exchange, size))
        self._backlog += size
        self.wake()

    def wake(self) -> None:
        """There may be something to do."""
        self._idle.clear()
        self._work.set()

    async def run(self) -> None:
        """Work whenever there is something to do, for ever."""
        while True:
            self._slice()
            if self._current is None and not self._waiting and not self._ahead.lacks:
                self._work.clear()
                self._idle.set()
                await self._work.wait()
            else:
                await asyncio.sleep(0)

    def is_busy(self) -> bool:
        """Whether something waits to be done."""
        return not self._idle.is_set()

    async def until_idle(self) -> None:
        """Wait until all that waits is done."""
        await self._idle.wait()

    def _slice(self) -> None:
        """Make a request, decode a step of an answer, and so on by turns: neither keeps the other waiting."""
        until = monotonic_ns() + SLICE_NS + max(0, self._backlog - PATIENT_BYTES)
        while monotonic_ns() < until:
            makes = self._ahead.lacks
            if makes:
                self._ahead.make()
            if not self._decode_step() and not makes:
                return

    def _decode_step(self) -> bool:
        """One step of decoding; False when nothing waits."""
        if self._current is None:
            if not self._waiting:
                return False
            exchange, size = self._waiting.popleft()
            self._backlog -= size
            self._current = decoding(self._answer(exchange))
        try:
            next(self._current)
        except StopIteration as stopped:
            self._current = None
            record, token_ids = stopped.value
            self._on_record(placed(record, self._job.schedule), token_ids)
        return True

    def _answer(self, exchange: Exchange) -> Answer:
        job, request = self._job, exchange.request
        return Answer(
            run_id=job.run_id,
            point_id=job.point_id,
            request_id=request.request_id,
            worker_id=job.worker_id,
            zero_ns=job.zero_ns,
            scheduled_ns=exchange.scheduled_ns,
            sent_ns=exchange.sent_ns,
            end_ns=exchange.end_ns,
            end=exchange.end or "cancelled",
            detail=exchange.detail,
            connect_ns=exchange.connect_ns,
            reused=exchange.reused,
            attempts=exchange.attempts,
            input_tokens=request.input_tokens,
            output_tokens=request.output_tokens,
            stamps=exchange.stamps,
            pieces=exchange.pieces,
        )


def _size(exchange: Exchange) -> int:
    """Roughly what an answer takes in memory, in bytes."""
    pieces = exchange.pieces
    return ANSWER_BYTES + PIECE_BYTES * len(pieces) + sum(map(len, pieces))
