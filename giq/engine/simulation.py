"""The engine in virtual time: a schedule in, the records a client would have made out."""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from giq.curve.requests import Requests
from giq.curve.server_statistics import ServerStatistics
from giq.engine.recording import Recording
from giq.engine.scheduler import Limits, Plan, Scheduler
from giq.engine.sequence import Sequence
from giq.engine.spec import EngineSpec
from giq.engine.step_time import step_time
from giq.units import NS_PER_S
from giq.workload.schedule import Schedule
from giq.workload.workload import ClosedLoad


@dataclass(frozen=True, eq=False)
class Simulation:
    """What one load point did: its requests, the time of every step's end (ns), and the server's own state."""

    requests: Requests
    step_ns: NDArray[np.int64]
    preemptions: int
    recording: Recording

    def statistics(self, start_ns: int, end_ns: int) -> ServerStatistics:
        """The server's state over a window, weighted by time."""
        return self.recording.statistics(start_ns / NS_PER_S, end_ns / NS_PER_S)


def simulate(spec: EngineSpec, schedule: Schedule, begun: int = 0) -> Simulation:
    """Serve all of *schedule* and let it drain: the same spec and schedule give the same records.

    The first *begun* requests find the KV of their prompt (all but its last token) in the cache. A request whose
    prompt and output exceed the served context is refused at once, as vLLM does.
    """
    run = _Run(spec, schedule, begun)
    run.drive()
    step_ns = run.recording.step_ns()
    return Simulation(
        requests=run.recording.requests(schedule, step_ns),
        step_ns=step_ns,
        preemptions=run.scheduler.preemptions,
        recording=run.recording,
    )


class _Run:
    """The loop over events: arrivals, prompts, tokens that end something; plain decoding between them is skipped."""

    def __init__(self, spec: EngineSpec, schedule: Schedule, begun: int) -> None:
        self.scheduler = Scheduler(Limits.of(spec))
        self.recording = Recording(len(schedule), spec.memory.kv_blocks)
        self._times = step_time(spec)
        self._decode: dict[int, tuple[float, float, float]] = {}
        self._begun = begun
        self._overhead = spec.calibration.request_s
        self._context = spec.max_model_len
        self._prompts = schedule.input_tokens.tolist()
        self._outputs = schedule.output_tokens.tolist()
        self._closed = isinstance(schedule.load, ClosedLoad)
        self._until = math.inf if schedule.duration_ns is None else schedule.duration_ns / NS_PER_S
        self._arriving: deque[tuple[float, int]] = deque()  # when the scheduler sees it, request
        self._next = 0
        self._clock = 0.0
        self._send_first(schedule)

    def drive(self) -> None:
        """Run until everything that is sent has been answered."""
        scheduler, arriving = self.scheduler, self._arriving
        while True:
            while arriving and arriving[0][0] <= self._clock:
                due, number = arriving.popleft()
                scheduler.add(self._sequence(number), due)
            if scheduler.idle:
                if not arriving:
                    return
                self._clock = arriving[0][0]
                continue
            plan = scheduler.plan(self._clock)
            self.recording.segments += plan.preempted
            if plan.chunks or (plan.preempted and plan.decoding):
                self._run_steps(plan, 1, self._times.seconds(scheduler.work(plan)), 0.0)
            elif not plan.preempted:
                self._decode_on(plan)

    def _sequence(self, number: int) -> Sequence:
        prompt = self._prompts[number]
        return Sequence(number, prompt, self._outputs[number], cached=prompt - 1 if number < self._begun else 0)

    def _decode_on(self, plan: Plan) -> None:
        """Skip to the next event: nothing but decoding happens until then."""
        count, batch = plan.decoding, self.scheduler.decoding
        terms = self._decode.get(count)
        if terms is None:
            terms = self._decode[count] = self._times.decode(count)
        even, full_s, local_s = terms
        first = even + full_s * batch.full_tokens + local_s * batch.local_tokens
        growth = full_s * count + local_s * batch.growing
        steps = self.scheduler.horizon()
        if steps > 1 and self._arriving and not self.scheduler.waiting:
            steps = min(steps, steps_until(self._arriving[0][0] - self._clock, first, growth))
        self._run_steps(plan, steps, first, growth)

    def _run_steps(self, plan: Plan, steps: int, first: float, growth: float) -> None:
        """*steps* steps, the first of *first* seconds and each *growth* seconds longer than the one before."""
        scheduler = self.scheduler
        began, free = self._clock, scheduler.free_blocks
        self._clock = now = began + steps * (first + growth * (steps - 1) / 2)
        done = scheduler.advance(plan, steps, now)
        self.recording.runs.append((began, steps, first, growth, free, scheduler.fullest))
        for _, segment in done:
            self.recording.segments.append(segment)
            if self._closed:
                self._send_next(now)

    def _send_first(self, schedule: Schedule) -> None:
        if isinstance(schedule.load, ClosedLoad):
            for _ in range(min(schedule.load.concurrency, len(schedule))):
                self._send_next(0.0)
        elif schedule.arrival_ns is not None:
            for arrival in (schedule.arrival_ns / NS_PER_S).tolist():
                self._send(arrival)

    def _send_next(self, now: float) -> None:
        """A slot fell free: the next request that is not refused takes it."""
        while self._next < len(self._prompts) and now < self._until and not self._send(now):
            pass

    def _send(self, now: float) -> bool:
        """Send the next request of the schedule; whether it was accepted."""
        number = self._next
        self._next += 1
        accepted: bool = self._prompts[number] + self._outputs[number] <= self._context
        self.recording.sent.append((now, accepted))
        if accepted:
            self._arriving.append((now + self._overhead, number))
        return accepted


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
