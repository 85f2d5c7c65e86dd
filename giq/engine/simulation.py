"""The engine in virtual time: a schedule in, the records a client would have made out."""

from __future__ import annotations

from dataclasses import dataclass
from heapq import heappop, heappush

import numpy as np
from numpy.typing import NDArray

from giq.curve.requests import Requests
from giq.curve.server_statistics import ServerStatistics
from giq.engine.content import Content, SharedContent
from giq.engine.core import Core
from giq.engine.pool import Pool
from giq.engine.recording import CoreRecording, Sent, all_step_ns, requests_of, statistics_of
from giq.engine.sequence import Sequence
from giq.engine.spec import EngineSpec
from giq.engine.traffic import Traffic
from giq.units import NS_PER_S
from giq.workload.schedule import Schedule


@dataclass(frozen=True, eq=False)
class Simulation:
    """What one load point did: its requests, when every step ended (ns, core after core), and the server's state.

    The cores in `recordings` are those whose tokens the client gets; `prefill` are those of a pool that only computes
    prompts.
    """

    requests: Requests
    step_ns: NDArray[np.int64]
    preemptions: int
    recordings: tuple[CoreRecording, ...]
    prefill: tuple[CoreRecording, ...] = ()

    def statistics(self, start_ns: int, end_ns: int) -> ServerStatistics:
        """The server's state over a window, weighted by time."""
        return statistics_of(self.recordings, self.prefill, start_ns / NS_PER_S, end_ns / NS_PER_S)


def simulate(spec: EngineSpec, schedule: Schedule, begun: int = 0) -> Simulation:
    """Serve all of *schedule* and let it drain: the same spec and schedule give the same records.

    The first *begun* requests find the KV of their prompt (all but its last token) in the cache. A request whose
    prompt and output exceed the served context is refused at once, as vLLM does.
    """
    run = _Run(spec, schedule, begun)
    run.drive()
    recordings = tuple(core.recording for core in run.last.cores)
    step_ns = all_step_ns(recordings)
    return Simulation(
        requests=requests_of(recordings, run.sent, schedule, step_ns),
        step_ns=step_ns,
        preemptions=sum(core.scheduler.preemptions for core in run.cores),
        recordings=recordings,
        prefill=tuple(core.recording for core in run.cores if core not in run.last.cores),
    )


class _Run:
    """The loop over events: requests that fall due, that reach a core, and steps that end.

    Where prefill and decoding have pools of their own, a request goes through both: the first computes its prompt, the
    second gets the KV over the link, computes the last token of the prompt again and answers.
    """

    def __init__(self, spec: EngineSpec, schedule: Schedule, begun: int) -> None:
        first = Pool(spec)
        self.last = first if spec.decode_pool is None else Pool(spec.decode_pool)
        self._first = first
        self.cores: list[Core] = first.cores if self.last is first else first.cores + self.last.cores
        self.sent: list[Sent] = []
        self._split = self.last is not first
        self._transfer_s = spec.transfer_token_s
        self._traffic = Traffic(schedule)
        self._begun = begun
        self._request_s, self._prompt_token_s = spec.calibration.request_s, spec.calibration.prompt_token_s
        self._ready = 0.0  # when the front end is through with the prompts sent before: it takes one at a time
        self._context = spec.max_model_len
        self._prompts = schedule.input_tokens.tolist()
        self._outputs = schedule.output_tokens.tolist()
        self._contents = _contents(schedule, spec.layout.block_size) if spec.prefix_caching else None
        self._arriving: list[tuple[float, int, bool]] = []  # when a core sees it, request, with the KV of its prompt

    def drive(self) -> None:
        """Run until everything that is sent has been answered."""
        traffic, arriving, cores = self._traffic, self._arriving, self.cores
        only = cores[0] if len(cores) == 1 else None
        while True:
            core = only or min(cores, key=_due)
            arrival = arriving[0][0] if arriving else _NEVER
            if traffic.due <= arrival and traffic.due <= core.due:
                if traffic.due == _NEVER:
                    return
                at, number = traffic.pop()
                if not self._send(at, number):
                    self._follow(number, at, accepted=False)
            elif arrival <= core.due:
                self._deliver()
            else:
                self._step(core, core.due)

    def _step(self, core: Core, now: float) -> None:
        """The steps of *core* are over: it sets out on the next ones, and answers go out.

        In this order, since what a client sends when it has an answer comes while the core is at its next step.
        """
        arriving = self._arriving
        hands_over = self._split and core in self._first.cores
        done = core.finish()
        while arriving and arriving[0][0] <= now:
            self._deliver()
        core.begin(now)
        for sequence, _ in done:
            if hands_over:
                heappush(arriving, (now + sequence.prompt * self._transfer_s, sequence.number, True))
            else:
                self._follow(sequence.number, now)

    def _follow(self, number: int, now: float, accepted: bool = True) -> None:
        """What the client sends now that it has that answer, or was refused."""
        following = self._traffic.answered(number, now, accepted)
        while following is not None and not self._send(now, following):
            following = self._traffic.answered(following, now, accepted=False)

    def _send(self, now: float, number: int) -> bool:
        """The client sends that request; the front end passes it on, or refuses it: whether it was accepted."""
        prompt = self._prompts[number]
        accepted: bool = prompt + self._outputs[number] <= self._context
        self.sent.append((number, now, accepted))
        if accepted:
            begun = number < self._begun
            self._ready = max(now, self._ready) + (0 if begun else prompt * self._prompt_token_s)
            backlog = self._first.cores[0].backlog_s(now)  # that of one core: under load all have the same
            heappush(self._arriving, (self._ready + self._request_s + backlog, number, begun))
        return accepted

    def _deliver(self) -> None:
        """The next arrival reaches its pool."""
        at, number, has_kv = heappop(self._arriving)
        prompt = self._prompts[number]
        content = None if self._contents is None else self._contents[number]
        if self._split and not has_kv:
            self._first.add(Sequence(number, prompt, 1, content=content), at)
        else:
            ready = prompt - 1 if has_kv else 0
            self.last.add(Sequence(number, prompt, self._outputs[number], ready=ready, content=content), at)


_NEVER = float("inf")


def _due(core: Core) -> float:
    return core.due


def _contents(schedule: Schedule, block_size: int) -> list[Content | None] | None:
    """What each request's blocks share with others; None where nothing is shared."""
    if schedule.prefix_tokens is None and schedule.session_id is None:
        return None
    count = len(schedule)
    groups = [0] * count if schedule.prefix_group is None else schedule.prefix_group.tolist()
    shared = [0] * count if schedule.prefix_tokens is None else (schedule.prefix_tokens // block_size).tolist()
    sessions = [None] * count if schedule.session_id is None else schedule.session_id.tolist()
    return [SharedContent(*facts) for facts in zip(groups, shared, sessions, strict=True)]
