"""One engine core in virtual time: its scheduler, its clock, and the steps it is about to run."""

from __future__ import annotations

import math

from giq.engine.pace import pace
from giq.engine.recording import CoreRecording
from giq.engine.scheduler import Limits, Plan, Scheduler
from giq.engine.sequence import Segment, Sequence
from giq.engine.spec import EngineSpec
from giq.engine.step_time import Work


class Core:
    """Runs steps one after the other; steps of plain decoding are taken together until something happens.

    `due` is when what it does now ends (infinite: it is idle). Repeat at that time: `finish`, then `begin`.
    A request that arrives before ends the steps that are taken together.
    """

    def __init__(self, spec: EngineSpec) -> None:
        self.scheduler = Scheduler(Limits.of(spec))
        self.recording = CoreRecording(spec.memory.kv_blocks, spec.prefix_caching)
        self.due = math.inf
        self._times = pace(spec)
        self._width = 1 if spec.speculation is None else spec.speculation.tokens + 1
        self._decode: dict[int, tuple[float, float, float]] = {}
        self._plan: Plan | None = None
        self._began = self._first = self._growth = 0.0
        self._steps = 0
        self._stream_s = spec.calibration.stream_s
        self._ahead = spec.calibration.plans_ahead
        self._last_s = 0.0  # the length of the step before

    def backlog_s(self, now: float) -> float:
        """How much later than into an idle engine a request that is sent *now* gets in.

        The front end is busy with the tokens of those that run; and where the next step is planned while one runs
        (vLLM's asynchronous scheduling) a request is seen a step late.
        """
        if self.scheduler.idle:
            return 0.0
        streams = self._stream_s * self.scheduler.decoding.count
        if not self._ahead:
            return streams
        if self._plan is None:
            return streams + self._last_s
        place = min(self._steps, steps_until(now - self._began, self._first, self._growth))
        return streams + self._first + self._growth * (place - 1)

    def add(self, sequence: Sequence, now: float) -> None:
        """*sequence* arrives *now*."""
        waited = bool(self.scheduler.waiting)
        self.scheduler.add(sequence, now)
        if self._plan is None:
            self.due = min(self.due, now)
        elif self._steps > 1 and not waited:
            self._steps = min(self._steps, steps_until(now - self._began, self._first, self._growth))
            self.due = self._end()

    def finish(self) -> list[tuple[Sequence, Segment]]:
        """The steps are over: who is done, with its last stay."""
        plan = self._plan
        if plan is None:
            return []
        self._plan = None
        scheduler, free = self.scheduler, self.scheduler.free_blocks
        done = scheduler.advance(plan, self._steps, self.due)
        recording = self.recording
        recording.runs.append((self._began, self._steps, self._first, self._growth, free, scheduler.fullest))
        self._last_s = self._first + self._growth * (self._steps - 1)
        if done:
            recording.segments += [segment for _, segment in done]
        return done

    def begin(self, now: float) -> None:
        """Plan the next steps and set out on them; idle where there is nothing to do."""
        scheduler = self.scheduler
        while scheduler.running or scheduler.waiting:
            plan = scheduler.plan(now)
            self.recording.segments += plan.preempted
            if plan.chunks or (plan.preempted and plan.decoding):
                self._set_out(plan, now, 1, self._times.seconds(scheduler.work(plan)), 0.0)
                return
            if not plan.preempted:
                self._decode_on(plan, now)
                return
        self.due = math.inf
        self._last_s = 0.0

    def _decode_on(self, plan: Plan, now: float) -> None:
        """Skip to the next event: nothing but decoding happens until then."""
        count, batch = plan.decoding, self.scheduler.decoding
        terms = self._decode.get(count)
        if terms is None:
            terms = self._decode[count] = self._decode_terms(count)
        even, full_s, local_s = terms
        first = even + full_s * batch.full_tokens + local_s * batch.local_tokens
        growth = full_s * count + local_s * batch.growing
        self._set_out(plan, now, self.scheduler.horizon(), first, growth)

    def _decode_terms(self, count: int) -> tuple[float, float, float]:
        """Of *count* sequences decoding alone: seconds of a step without KV, and per token of full and local KV."""
        even, full_s, local_s = self._times.decode(count)
        if self._width > 1:
            even = self._times.seconds(Work(count * self._width, count * self._width, 0, 0))
        return even, full_s, local_s

    def _set_out(self, plan: Plan, now: float, steps: int, first: float, growth: float) -> None:
        """*steps* steps, the first of *first* seconds and each *growth* seconds longer than the one before."""
        self._plan, self._steps = plan, steps
        self._began, self._first, self._growth = now, first, growth
        self.due = now + first if steps == 1 else self._end()

    def _end(self) -> float:
        return self._began + self._steps * (self._first + self._growth * (self._steps - 1) / 2)


def steps_until(seconds: float, first: float, growth: float) -> int:
    """The fewest steps (at least one) that take *seconds*, the first *first* long and each *growth* longer."""
    if seconds <= first:
        return 1
    if growth <= 0.0:
        return math.ceil(seconds / first)
    half = first - growth / 2
    steps = max(1, math.ceil((math.sqrt(half * half + 2 * growth * seconds) - half) / growth))
    # the root is rounded: take the step that does reach it
    while steps > 1 and (steps - 1) * (first + growth * (steps - 2) / 2) >= seconds:
        steps -= 1
    while steps * (first + growth * (steps - 1) / 2) < seconds:
        steps += 1
    return steps
