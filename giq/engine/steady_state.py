"""Where the engine settles under a rate, from means alone, so that a simulation need not start empty."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from giq.engine.pace import pace
from giq.engine.spec import EngineSpec
from giq.engine.step_time import StepTime, Work
from giq.workload.schedule import Schedule


@dataclass(frozen=True)
class SteadyState:
    """The engine as a fluid: each of `running` sequences gains tokens in a step, and those done are replaced at once.

    `input_mean` (what the prefix cache does not hold), `output_mean` are the workload's tokens a request;
    `context_mean` is the context of a running sequence, seen at any moment (long outputs are seen more often),
    `pairs_mean` the attention pairs of one prompt. `most_running` is what `max_num_seqs` and the KV cache of all
    `cores` allow; a step gives a sequence `gain` of the `width` tokens that it computes. `most_prompts_rps` is what
    a pool that only computes prompts lets through (infinite: there is none).
    """

    times: StepTime
    input_mean: float
    output_mean: float
    context_mean: float
    pairs_mean: float
    most_running: int
    cores: int = 1
    gain: float = 1.0
    width: int = 1
    most_prompts_rps: float = math.inf

    @classmethod
    def of(cls, spec: EngineSpec, lengths: Schedule) -> SteadyState:
        """That of *spec* for requests like those in *lengths*."""
        prompts, outputs = lengths.input_tokens.astype(float), lengths.output_tokens.astype(float)
        fresh = prompts - (_found(lengths) if spec.prefix_caching else 0.0)
        pairs = float(np.mean(fresh * (prompts - fresh / 2)))
        pool = spec.decode_pool or spec
        context = float(np.mean(outputs * (prompts + outputs / 2)) / np.mean(outputs))
        fitting = pool.memory.kv_blocks / max(1, pool.layout.blocks(round(context)))
        split = spec.decode_pool is not None
        return cls(
            times=pace(pool),
            input_mean=1.0 if split else float(fresh.mean()),
            output_mean=float(outputs.mean()),
            context_mean=context,
            pairs_mean=0.0 if split else pairs,
            most_running=pool.cores * max(1, min(pool.max_num_seqs, int(fitting))),
            cores=pool.cores,
            gain=1.0 if pool.speculation is None else pool.speculation.mean_tokens,
            width=1 if pool.speculation is None else pool.speculation.tokens + 1,
            most_prompts_rps=_prompts_rps(spec, float(fresh.mean()), pairs) if split else math.inf,
        )

    def step(self, running: int) -> Work:
        """What a step of one core computes with so many running on all of them."""
        on_one = running / self.cores
        started = self._started(running)
        return Work(
            tokens=round(on_one * self.width + started * self.input_mean),
            sequences=max(1, round(on_one * self.width)),
            full_tokens=round(on_one * self.context_mean),
            local_tokens=0,
            full_pairs=round(started * self.pairs_mean),
        )

    def rate_rps(self, running: int) -> float:
        """Requests completed a second with so many running."""
        completed = self.cores * self._started(running) / self.times.seconds(self.step(running))
        return min(self.most_prompts_rps, completed)

    def prompt_share(self, running: int) -> float:
        """The share of a step's time that goes into prompts, with so many running."""
        step, on_one = self.step(running), round(running / self.cores * self.width)
        without = step._replace(tokens=on_one, full_pairs=0)
        return 1.0 - self.times.seconds(without) / self.times.seconds(step)

    def _started(self, running: int) -> float:
        """Requests that one core takes up in a step."""
        return self.gain * running / self.cores / self.output_mean

    @property
    def highest_rps(self) -> float:
        """Requests completed a second with as many running as can."""
        return self.rate_rps(self.most_running)

    def running(self, rate_rps: float) -> int:
        """The fewest running with which that rate is completed; the most there can be where none is enough."""
        rate_rps = min(rate_rps, 0.999 * self.most_prompts_rps)  # what prompts hold back never runs
        low, high = 0, self.most_running
        while low + 1 < high:
            middle = (low + high) // 2
            low, high = (low, middle) if self.rate_rps(middle) >= rate_rps else (middle, high)
        return high


def _found(lengths: Schedule) -> NDArray[np.float64]:
    """Prompt tokens of each request that others sent before it: its prefix, or all that its conversation had."""
    found = np.zeros(len(lengths))
    if lengths.prefix_tokens is not None:
        found += lengths.prefix_tokens
    if lengths.parent is not None:
        parents = np.maximum(lengths.parent, 0)
        history = lengths.input_tokens[parents] + lengths.output_tokens[parents]
        found = np.where(lengths.parent >= 0, np.minimum(history, lengths.input_tokens - 1), found)
    return found


def _prompts_rps(spec: EngineSpec, tokens: float, pairs: float) -> float:
    """Prompts computed a second by all cores of *spec* when their steps are full."""
    full = max(1.0, spec.max_num_batched_tokens / tokens)
    work = Work(round(full * tokens), math.ceil(full), 0, 0, round(full * pairs))
    return spec.cores * full / pace(spec).seconds(work)
