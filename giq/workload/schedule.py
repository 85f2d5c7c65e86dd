"""The seeded schedule of one load point, computed before anything is sent."""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

from giq.errors import IncompatibleError, UsageError
from giq.units import NS_PER_S
from giq.workload.arrivals import MAX_REQUESTS, arrival_times
from giq.workload.lengths import draw_lengths
from giq.workload.trace import Trace
from giq.workload.workload import ClosedLoad, Load, OpenLoad, Stop, Workload

__all__ = ["MAX_REQUESTS", "Schedule", "make_schedule"]

_FASTEST_REQUEST_S = 0.001


class _Stream(IntEnum):
    """One random stream for each thing that is drawn, so that none changes with another."""

    ARRIVALS = 1
    INPUT_LENGTHS = 2
    OUTPUT_LENGTHS = 3


@dataclass(frozen=True, eq=False)
class Schedule:
    """What is sent in one load point: one entry per request, in order.

    `arrival_ns` (int64, from the point's start) is None in a closed loop, where times follow the answers.
    `input_tokens` and `output_tokens` are int32. `duration_ns` is None when only the number of requests
    ends the point. `seed` fixes all of it.
    """

    load: Load
    seed: int
    arrival_ns: NDArray[np.int64] | None
    input_tokens: NDArray[np.int32]
    output_tokens: NDArray[np.int32]
    duration_ns: int | None

    def __len__(self) -> int:
        return len(self.input_tokens)


def make_schedule(workload: Workload, load: Load, stop: Stop, seed: int, trace: Trace | None = None) -> Schedule:
    """The schedule of one load point; equal arguments give equal schedules.

    Request i has the same lengths at every rate and concurrency. A closed loop that only a duration ends gets
    as many requests as its slots could finish at 1 ms each, at most MAX_REQUESTS. A trace gives its own
    lengths; in open loop also its arrivals, stretched to the rate asked for (at `trace.rate_rps` as
    recorded) and not repeated; in a closed loop its lengths start again when they are used up.

    Raises:
        UsageError: nothing ends the point, it has no request or too many, the seed is negative, or the
            workload replays a trace and there is none.
        IncompatibleError: *trace* is not the one the workload names.
    """
    if seed < 0:
        raise UsageError(f"the seed {seed} is negative", hint="Give a seed of 0 or more.")
    _check_trace(workload, trace)
    arrivals = _arrivals(workload, load, stop, seed, trace) if isinstance(load, OpenLoad) else None
    count = len(arrivals) if arrivals is not None else _closed_count(load, stop)
    if not count:
        raise UsageError(f"no request falls into {stop.duration_s:g} s at {load}", hint="Give more time or requests.")
    return Schedule(
        load=load,
        seed=seed,
        arrival_ns=arrivals,
        input_tokens=_lengths(workload, trace, count, seed, _Stream.INPUT_LENGTHS),
        output_tokens=_lengths(workload, trace, count, seed, _Stream.OUTPUT_LENGTHS),
        duration_ns=None if stop.duration_s is None else round(stop.duration_s * NS_PER_S),
    )


def _check_trace(workload: Workload, trace: Trace | None) -> None:
    if workload.arrival.law != "trace":
        return
    if trace is None:
        raise UsageError("the workload replays a trace, and none is given", hint="Read it with read_trace.")
    if workload.arrival.trace_id != trace.trace_id:
        raise IncompatibleError("trace_id", workload.arrival.trace_id, trace.trace_id)


def _arrivals(workload: Workload, load: OpenLoad, stop: Stop, seed: int, trace: Trace | None) -> NDArray[np.int64]:
    if workload.arrival.law != "trace" or trace is None:
        return arrival_times(workload.arrival, load.rate_rps, stop, _rng(seed, _Stream.ARRIVALS))
    stretch = trace.rate_rps / load.rate_rps
    times = trace.arrival_ns if stretch == 1 else np.rint(trace.arrival_ns * stretch).astype(np.int64)
    end_ns = math.inf if stop.duration_s is None else round(stop.duration_s * NS_PER_S)
    return times[times < end_ns][: stop.requests]


def _closed_count(load: Load, stop: Stop) -> int:
    assert isinstance(load, ClosedLoad)  # noqa: S101 - an open load has arrivals
    if stop.requests is not None:
        count = stop.requests
    elif stop.duration_s is not None:
        count = min(MAX_REQUESTS, load.concurrency * math.ceil(stop.duration_s / _FASTEST_REQUEST_S))
    else:
        raise UsageError("nothing ends the load point", hint="Give a number of requests or a duration.")
    if count > MAX_REQUESTS:
        raise UsageError(f"{count:,} requests in one load point", hint=f"Give at most {MAX_REQUESTS:,}.")
    return count


def _lengths(workload: Workload, trace: Trace | None, count: int, seed: int, stream: _Stream) -> NDArray[np.int32]:
    is_input = stream is _Stream.INPUT_LENGTHS
    if workload.arrival.law == "trace" and trace is not None:
        return np.resize(trace.input_tokens if is_input else trace.output_tokens, count)
    return draw_lengths(workload.input_tokens if is_input else workload.output_tokens, count, _rng(seed, stream))


def _rng(seed: int, stream: _Stream) -> np.random.Generator:
    return np.random.default_rng([seed, int(stream)])
