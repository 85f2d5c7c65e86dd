"""The engine on the wall clock: the same schedulers and step times, driven by the event loop's timers."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable
from dataclasses import dataclass
from heapq import heappop, heappush
from time import monotonic

from giq.engine.content import Content
from giq.engine.counters import Counters
from giq.engine.pace import pace
from giq.engine.pool import choose
from giq.engine.scheduler import Limits, Plan, Scheduler
from giq.engine.sequence import Segment, Sequence
from giq.engine.spec import EngineSpec

LEAD_S = 3e-3
"""So long before a step's end answers are told to be complete: writing that and reading the next request take as long,
and whoever asks again at once does so at the step's end, as is predicted, where there is no network."""

OnTokens = Callable[[int, int], None]
"""Called with the places (from 0) of the first token that was just generated, and of the first that was not yet."""


@dataclass(frozen=True)
class Question:
    """What is to be generated: *output* tokens after *prompt* tokens, whose blocks are known by *content*."""

    prompt: int
    output: int
    finish_reason: str
    content: Content | None = None


@dataclass(slots=True, eq=False)
class Job:
    """One answer being generated, and who is told of its tokens; times are of the monotonic clock.

    `core` has it now (None: it is on its way to one); `cached` tokens of its prompt were in the prefix cache.
    """

    number: int
    question: Question
    on_tokens: OnTokens
    submitted_at: float
    sequence: Sequence
    core: RealTimeCore | None = None
    cached: int = 0
    first_at: float = 0.0
    last_at: float = 0.0
    given: int = 0
    given_up: bool = False


@dataclass(frozen=True, slots=True)
class _News:
    """What a step brought for *job*: it has *given* tokens now, and its last *stay* if it is done."""

    job: Job
    given: int
    stay: Segment | None

    @property
    def ends_early(self) -> bool:
        """Whether it is told before the step's end: not where the last token is the first, whose time is a TTFT."""
        return self.stay is not None and self.job.given > 0


class RealTimeCore:
    """One engine core. Steps begin when the one before was due to end, not when the loop got round to it.

    For the scheduler a step is over `LEAD_S` before it is for the clock, less where requests reach it sooner, so that
    none is missed; the next step is planned then.
    """

    def __init__(self, spec: EngineSpec, engine: RealTimeEngine) -> None:
        self.scheduler = Scheduler(Limits.of(spec))
        self.counters = Counters(spec.max_model_len)
        self._times = pace(spec)
        self._engine = engine
        self._jobs: dict[int, Job] = {}
        self._leaving: list[Job] = []
        self._timer: asyncio.TimerHandle | None = None
        self._telling: asyncio.TimerHandle | None = None
        self._lead_s = min(LEAD_S, spec.calibration.request_s)
        self._stream_s = spec.calibration.stream_s
        self._ahead = spec.calibration.plans_ahead
        self._step_s = 0.0  # the length of the step under way

    @property
    def backlog_s(self) -> float:
        """How much later than into an idle engine a request that is sent now gets in; as `Core.backlog_s`."""
        if self.scheduler.idle:
            return 0.0
        return self._stream_s * self.scheduler.decoding.count + (self._step_s if self._ahead else 0.0)

    def add(self, job: Job, now: float) -> None:
        """*job* arrives *now*; `wake` must follow."""
        job.core = self
        self._jobs[job.number] = job
        self.scheduler.add(job.sequence, now)

    def wake(self, now: float) -> None:
        """Begin a step where none is under way."""
        if self._timer is None:
            self._begin(now)

    def abort(self, job: Job) -> None:
        """Give *job* up at the end of the step that is under way, as vLLM does."""
        if job.number in self._jobs:
            self._leaving.append(job)

    def close(self) -> None:
        """Stop; nothing is told any more."""
        for timer in (self._timer, self._telling):
            if timer is not None:
                timer.cancel()

    def _begin(self, now: float) -> None:
        """Plan the step that begins *now* and wake at its end."""
        self._timer = None
        while not self.scheduler.idle:
            plan = self.scheduler.plan(now)
            if plan.chunks or plan.decoding:
                self._step_s = self._times.seconds(self.scheduler.work(plan))
                due = now + self._step_s
                before = min(self._lead_s, self._step_s / 2)
                self._timer = _call_at(due - before, self._turn, plan, due)
                return

    def _turn(self, plan: Plan, due: float) -> None:
        """The step is over at *due*: those who are done or given up leave, and the next one is planned."""
        emitting = self.scheduler.emitting(plan)
        stays = {sequence.number: stay for sequence, stay in self.scheduler.advance(plan, 1, due)}
        news = [
            _News(self._jobs[sequence.number], sequence.given(self.scheduler.step), stays.get(sequence.number))
            for sequence in emitting
        ]
        for number in stays:
            del self._jobs[number]
        self._tell([item for item in news if item.ends_early], due)
        self._telling = _call_at(due, self._tell_others, [item for item in news if not item.ends_early], due)
        self._leave()
        self._engine.enter(due)
        self._begin(due)

    def _tell_others(self, news: list[_News], due: float) -> None:
        """The step is over for the clock too; those whose first token this is are told first."""
        self._engine.lag_s = max(self._engine.lag_s, monotonic() - due)
        self._tell(sorted(news, key=_answered_before), due)

    def _tell(self, news: list[_News], due: float) -> None:
        for item in news:
            self._engine.emitted(item.job, item.given, due)
            if item.stay is not None:
                self._engine.done(item.job, item.stay, due)

    def _leave(self) -> None:
        for job in self._leaving:
            if self._jobs.pop(job.number, None) is not None:
                self.scheduler.abort(job.sequence)
        self._leaving.clear()


def _answered_before(news: _News) -> bool:
    return news.job.given > 0


def _call_at(due: float, function: Callable[..., None], *arguments: object) -> asyncio.TimerHandle:
    """*function* is called at *due*, of the monotonic clock, or at once if that is over."""
    return asyncio.get_running_loop().call_later(due - monotonic(), function, *arguments)


class RealTimeEngine:
    """The cores of a deployment unit, the front end before them, and the link between their pools.

    `lag_s` is how late the loop was at worst: beyond a step's length the machine cannot keep up. Delays do not add up.
    """

    def __init__(self, spec: EngineSpec) -> None:
        last = spec.decode_pool or spec
        self.lag_s = 0.0
        self.cores = [RealTimeCore(last, self) for _ in range(last.cores)]
        self.prefill = [] if spec.decode_pool is None else [RealTimeCore(spec, self) for _ in range(spec.cores)]
        self._routers = {True: spec.router, False: last.router}
        self._turns = {True: 0, False: 0}
        self._spec = spec
        self._loop = asyncio.get_running_loop()
        self._ready = 0.0  # when the front end is through with the prompts before: it takes one at a time
        self._coming: list[tuple[float, int, Job]] = []  # when a core sees them
        self._timer: asyncio.TimerHandle | None = None
        self._wakes_at = math.inf
        self._next = 0

    @property
    def idle(self) -> bool:
        """Whether nothing runs, waits or is on its way."""
        return not self._coming and all(core.scheduler.idle for core in (*self.prefill, *self.cores))

    def submit(self, question: Question, on_tokens: OnTokens, received: float) -> Job:
        """Answer *question*, of a request *received* at that monotonic time.

        The scheduler sees it after the request's own cost, of which receiving it is a part.
        """
        calibration = self._spec.calibration
        backlog = (self.prefill or self.cores)[0].backlog_s
        output = 1 if self.prefill else question.output
        sequence = Sequence(self._next, question.prompt, output, content=question.content)
        received = min(received, monotonic())
        job = Job(self._next, question, on_tokens, received, sequence)
        self._next += 1
        self._ready = max(received, self._ready) + question.prompt * calibration.prompt_token_s
        self._send_on(self._ready + calibration.request_s + backlog, job)
        return job

    def abort(self, job: Job) -> None:
        """Give *job* up (nothing if it is done)."""
        job.given_up = True
        if job.core is not None:
            job.core.abort(job)

    def close(self) -> None:
        """Stop; nothing is told any more."""
        for core in (*self.prefill, *self.cores):
            core.close()
        if self._timer is not None:
            self._timer.cancel()

    def enter(self, now: float) -> None:
        """Give the cores everyone who reaches them by *now*."""
        woken: list[tuple[RealTimeCore, float]] = []
        while self._coming and self._coming[0][0] <= now:
            due, _, job = heappop(self._coming)
            if not job.given_up:
                woken.append((self._arrive(job, due), due))
        for core, due in woken:
            core.wake(due)

    def emitted(self, job: Job, given: int, now: float) -> None:
        """*job* has *given* tokens by *now*."""
        if job.core is None or job.core in self.prefill:
            return
        counters = job.core.counters
        if job.given:
            counters.gap(now - job.last_at, given - job.given)
        else:
            job.first_at = now
            job.cached = max(job.cached, job.sequence.hit)
            counters.first_token(job.question.prompt, now - job.submitted_at)
        before, job.given, job.last_at = job.given, given, now
        job.on_tokens(before, given)

    def done(self, job: Job, stay: Segment, now: float) -> None:
        """*job* got its last token of this pool: it goes on to the next, or is complete."""
        core, question = job.core, job.question
        if core in self.prefill:
            job.core, job.cached = None, stay.hit
            ready = question.prompt - 1
            job.sequence = Sequence(job.number, question.prompt, question.output, ready=ready, content=question.content)
            self._send_on(now + question.prompt * self._spec.transfer_token_s, job)
        elif core is not None:
            times = (job.submitted_at, stay.admitted_at, job.first_at, now)
            core.counters.finished(question.finish_reason, (question.prompt, question.output), times)

    def _arrive(self, job: Job, now: float) -> RealTimeCore:
        """*job* reaches a core of the pool that is next for it."""
        first = bool(self.prefill) and not job.sequence.ready
        core = choose(self.prefill if first else self.cores, self._routers[first], self._turns[first])
        self._turns[first] += 1
        core.add(job, now)
        return core

    def _send_on(self, due: float, job: Job) -> None:
        """*job* reaches a core at that time; wake then."""
        heappush(self._coming, (due, job.number, job))
        if due < self._wakes_at:
            self._set_timer()

    def _set_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer, self._wakes_at = None, math.inf
        if self._coming:
            self._wakes_at = self._coming[0][0]
            self._timer = self._loop.call_later(self._wakes_at - monotonic(), self._wake, self._wakes_at)

    def _wake(self, due: float) -> None:
        self.enter(due)
        self._set_timer()
