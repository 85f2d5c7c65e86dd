"""Open-loop schedules that begin on a server already at work, so that a load point need not wait until it fills."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from giq.documents import Entry, NonNegative, PositiveInt
from giq.units import NS_PER_S
from giq.workload.schedule import Schedule, make_schedule
from giq.workload.workload import ClosedLoad, OpenLoad, Stop, Workload

_SAMPLE = 2000
_LEAST_S = 1e-3


def begun(schedule: Schedule, running: int, like: Schedule | None = None) -> Schedule:
    """*schedule* in open loop, with *running* requests more that arrive at its start as if half-way through.

    Their lengths, drawn from those in *like* (from its own where None), are those that a look at a running engine
    finds: a request is met in proportion to its output, anywhere in it; what it was given by then counts as prompt.
    They are warm-up, scheduled before everything else.
    A simulation may be told their number, so that it has their KV; a live server must compute their prompts first.
    """
    assert schedule.arrival_ns is not None  # noqa: S101 - open loop
    rng = np.random.default_rng([schedule.seed, running])
    like = schedule if like is None else like
    outputs = like.output_tokens.astype(np.int64)
    chosen = rng.choice(len(outputs), size=running, p=outputs / outputs.sum())
    given = (rng.random(running) * outputs[chosen]).astype(np.int32)
    parent = schedule.parent
    return replace(
        schedule,
        arrival_ns=np.concatenate([np.zeros(running, dtype=np.int64), schedule.arrival_ns]),
        input_tokens=np.concatenate([(like.input_tokens[chosen] + given).astype(np.int32), schedule.input_tokens]),
        output_tokens=np.concatenate([like.output_tokens[chosen] - given, schedule.output_tokens]),
        prefix_group=_joined(like.prefix_group, schedule.prefix_group, chosen),
        prefix_tokens=_joined(like.prefix_tokens, schedule.prefix_tokens, chosen),
        session_id=None if parent is None else np.concatenate([-1 - np.arange(running), schedule.session_id]),
        turn=None if parent is None else np.concatenate([np.ones(running, dtype=np.int16), schedule.turn]),
        parent=None
        if parent is None
        else np.concatenate([np.full(running, -1), np.where(parent < 0, -1, parent + running)]),
        think_ns=None if parent is None else np.concatenate([np.zeros(running, dtype=np.int64), schedule.think_ns]),
    )


class WarmStart(Entry, frozen=True):
    """How an open load begins on an idle server: with `running` requests at once, and all others `after_s` later.

    A server must first compute the prompts of those; what arrived meanwhile would find a backlog that is none of
    the load's, and that a server close to saturation would be long in working off.
    """

    running: PositiveInt
    after_s: NonNegative


def warm_schedule(workload: Workload, load: OpenLoad, stop: Stop, seed: int, warm: WarmStart) -> Schedule:
    """The schedule of an open load with a warm start, which does not depend on *stop*; a duration includes it.

    Raises:
        UsageError, IncompatibleError: as `make_schedule`, and for a workload that replays a trace.
    """
    if stop.duration_s is not None:
        stop = Stop(duration_s=max(stop.duration_s - warm.after_s, _LEAST_S), requests=stop.requests)
    like = make_schedule(workload, ClosedLoad(concurrency=1), Stop(requests=_SAMPLE), seed)
    cold = make_schedule(workload, load, stop, seed)
    assert cold.arrival_ns is not None  # noqa: S101 - open loop
    duration_ns = None if cold.duration_ns is None else cold.duration_ns + round(warm.after_s * NS_PER_S)
    later = replace(cold, arrival_ns=cold.arrival_ns + round(warm.after_s * NS_PER_S), duration_ns=duration_ns)
    return begun(later, warm.running, like)


def _joined(
    like: NDArray[np.int32] | None, column: NDArray[np.int32] | None, chosen: NDArray[np.int64]
) -> NDArray[np.int32] | None:
    return None if column is None or like is None else np.concatenate([like[chosen], column])
