"""The engine on the wall clock: the same scheduler and step times, driven by the event loop's timer."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from time import monotonic

from giq.engine.counters import Counters
from giq.engine.scheduler import Limits, Plan, Scheduler
from giq.engine.sequence import Sequence
from giq.engine.spec import EngineSpec
from giq.engine.step_time import step_time

OnToken = Callable[[int], None]
"""Called with the place (from 0) of the token that was just generated."""


@dataclass(slots=True, eq=False)
class Job:
    """One answer being generated, and who is told of its tokens; times are of the monotonic clock."""

    sequence: Sequence
    on_token: OnToken
    finish_reason: str
    submitted_at: float
    last_at: float = 0.0
    given: int = 0
    given_up: bool = False


class RealTimeEngine:
    """Steps begin when the one before was due to end, not when the loop got round to it, so delays do not add up.

    `lag_s` is how late the loop was at worst: beyond a step's length the machine cannot keep up.
    """

    def __init__(self, spec: EngineSpec) -> None:
        self.scheduler = Scheduler(Limits.of(spec))
        self.counters = Counters()
        self.lag_s = 0.0
        self._times = step_time(spec)
        self._overhead = spec.calibration.request_s
        self._loop = asyncio.get_running_loop()
        self._entering: deque[Job] = deque()  # their own cost is not spent yet; in the order of its end
        self._jobs: dict[int, Job] = {}
        self._leaving: list[Job] = []
        self._timer: asyncio.TimerHandle | None = None
        self._next = 0

    def submit(self, prompt: int, output: int, finish_reason: str, on_token: OnToken, received: float) -> Job:
        """Generate *output* tokens after *prompt* tokens for a request *received* at that monotonic time.

        The scheduler sees it after the request's own cost, of which receiving it is a part.
        """
        now = monotonic()
        job = Job(Sequence(self._next, prompt, output), on_token, finish_reason, min(received, now))
        self._next += 1
        self._entering.append(job)
        if self._timer is None:
            self._begin(now)
        return job

    def abort(self, job: Job) -> None:
        """Give *job* up (nothing if it is done): at the end of the step that is under way, as in vLLM."""
        job.given_up = True
        if job.sequence.number in self._jobs:
            self._leaving.append(job)

    def close(self) -> None:
        """Stop; nothing is told any more."""
        if self._timer is not None:
            self._timer.cancel()

    def _enter(self, now: float) -> None:
        """Give the scheduler everyone whose own cost is spent by *now*."""
        while self._entering and self._entering[0].submitted_at + self._overhead <= now:
            job = self._entering.popleft()
            if not job.given_up:
                self._jobs[job.sequence.number] = job
                self.scheduler.add(job.sequence, job.submitted_at + self._overhead)

    def _begin(self, now: float) -> None:
        """Plan the step that begins *now* and wake at its end; without work wake when some comes."""
        self._timer = None
        self._enter(now)
        if self.scheduler.idle and self._entering:
            due = self._entering[0].submitted_at + self._overhead
            self._timer = self._loop.call_later(due - monotonic(), self._begin, due)
        while not self.scheduler.idle:
            plan = self.scheduler.plan(now)
            if plan.chunks or plan.decoding:
                due = now + self._times.seconds(self.scheduler.work(plan))
                self._timer = self._loop.call_later(due - monotonic(), self._finish, plan, due)
                return

    def _finish(self, plan: Plan, due: float) -> None:
        """The step is over: tell every sequence that got a token, let those who are done or given up leave."""
        self.lag_s = max(self.lag_s, monotonic() - due)
        emitting = self.scheduler.emitting(plan)
        done = self.scheduler.advance(plan, 1, due)
        for sequence in emitting:
            self._emit(self._jobs[sequence.number], due)
        for sequence, stay in done:
            job = self._jobs.pop(sequence.number)
            self.counters.finished(job.finish_reason, due - job.submitted_at, stay.admitted_at - job.submitted_at)
        self._leave()
        self._begin(due)

    def _emit(self, job: Job, now: float) -> None:
        place = job.given
        job.given = place + 1
        if place:
            self.counters.gap(now - job.last_at)
        else:
            self.counters.first_token(job.sequence.prompt, now - job.submitted_at)
        job.last_at = now
        job.on_token(place)

    def _leave(self) -> None:
        for job in self._leaving:
            if self._jobs.pop(job.sequence.number, None) is not None:
                self.scheduler.abort(job.sequence)
        self._leaving.clear()
