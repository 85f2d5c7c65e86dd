"""Where the engine settles under a rate, from means alone, so that a simulation need not start empty."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from giq.engine.spec import EngineSpec
from giq.engine.step_time import StepTime, Work, step_time
from giq.workload.schedule import Schedule


@dataclass(frozen=True)
class SteadyState:
    """The engine as a fluid: each of `running` sequences gains a token a step, and those done are replaced at once.

    `input_mean`, `output_mean` are the workload's tokens a request; `context_mean` is the context of a running
    sequence, seen at any moment (long outputs are seen more often), `pairs_mean` the attention pairs of one
    prompt. `most_running` is what `max_num_seqs` and the KV cache allow.
    """

    times: StepTime
    input_mean: float
    output_mean: float
    context_mean: float
    pairs_mean: float
    most_running: int

    @classmethod
    def of(cls, spec: EngineSpec, lengths: Schedule) -> SteadyState:
        """That of *spec* for requests like those in *lengths*."""
        prompts, outputs = lengths.input_tokens.astype(float), lengths.output_tokens.astype(float)
        context = float(np.mean(outputs * (prompts + outputs / 2)) / np.mean(outputs))
        fitting = spec.memory.kv_blocks / max(1, spec.layout.blocks(round(context)))
        return cls(
            times=step_time(spec),
            input_mean=float(prompts.mean()),
            output_mean=float(outputs.mean()),
            context_mean=context,
            pairs_mean=float(np.mean(prompts * prompts) / 2),
            most_running=max(1, min(spec.max_num_seqs, int(fitting))),
        )

    def rate_rps(self, running: int) -> float:
        """Requests completed a second with so many running."""
        started = running / self.output_mean
        work = Work(
            tokens=round(running + started * self.input_mean),
            sequences=running,
            full_tokens=round(running * self.context_mean),
            local_tokens=0,
            full_pairs=round(started * self.pairs_mean),
        )
        return started / self.times.seconds(work)

    @property
    def highest_rps(self) -> float:
        """Requests completed a second with as many running as can."""
        return self.rate_rps(self.most_running)

    def running(self, rate_rps: float) -> int:
        """The fewest running with which that rate is completed; the most there can be where none is enough."""
        low, high = 0, self.most_running
        while low + 1 < high:
            middle = (low + high) // 2
            low, high = (low, middle) if self.rate_rps(middle) >= rate_rps else (middle, high)
        return high


def begun(schedule: Schedule, running: int) -> Schedule:
    """*schedule* in open loop, with *running* requests more that arrive at its start as if half-way through.

    Their lengths are those that a look at a running engine finds: a request is met in proportion to its output,
    anywhere in it; what it was given by then counts as prompt. They are warm-up, scheduled before everything else;
    the simulation is told their number, since their KV is there.
    """
    assert schedule.arrival_ns is not None  # noqa: S101 - open loop
    rng = np.random.default_rng([schedule.seed, running])
    outputs = schedule.output_tokens.astype(np.int64)
    chosen = rng.choice(len(outputs), size=running, p=outputs / outputs.sum())
    given = (rng.random(running) * outputs[chosen]).astype(np.int32)
    return replace(
        schedule,
        arrival_ns=np.concatenate([np.zeros(running, dtype=np.int64), schedule.arrival_ns]),
        input_tokens=_joined(schedule.input_tokens[chosen] + given, schedule.input_tokens),
        output_tokens=_joined(schedule.output_tokens[chosen] - given, schedule.output_tokens),
    )


def _joined(first: NDArray[np.int32], rest: NDArray[np.int32]) -> NDArray[np.int32]:
    return np.concatenate([first.astype(np.int32), rest])
