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
from giq.workload.conversation import draw_pauses
from giq.workload.lengths import draw_lengths
from giq.workload.sessions import Sessions, cut_sessions, draw_turns, mean_turns
from giq.workload.shared_prefix import draw_groups
from giq.workload.trace import Trace
from giq.workload.workload import ClosedLoad, Load, OpenLoad, Stop, Workload

__all__ = ["FOLLOWS", "MAX_REQUESTS", "Schedule", "make_schedule"]

FOLLOWS = -1
"""Stands in `Schedule.arrival_ns` for the time of a request that follows an answer."""

_FASTEST_REQUEST_S = 0.001


class _Stream(IntEnum):
    """One random stream for each thing that is drawn, so that none changes with another."""

    ARRIVALS = 1
    INPUT_LENGTHS = 2
    OUTPUT_LENGTHS = 3
    TURNS = 4
    PAUSES = 5
    PREFIXES = 6


@dataclass(frozen=True, eq=False)
class Schedule:
    """What is sent in one load point: one entry per request, in order.

    `arrival_ns` (int64, from the point's start) is None in a closed loop, where times follow the answers.
    `input_tokens` (the whole prompt, history and prefix included, where every answer has the length asked for) and
    `output_tokens` are int32. `duration_ns` is None when only the number of requests ends the point. `seed` fixes
    all of it.

    Shared prefixes (else None): the prompt of request i begins with `prefix_tokens[i]` (int32) tokens of the prefix
    `prefix_group[i]` (int32), and is its own from there on.

    Conversations (else None): the requests of a session are neighbours, in the order of their turns. `session_id`
    (int64) counts from 0, `turn` (int16) from 1; `parent` (int64) is the index of the request whose answer request
    i follows, -1 for a first turn; `think_ns` (int64, 0 for a first turn) is the pause from that answer's end to
    when request i falls due. In open loop `arrival_ns` is then known of first turns, and FOLLOWS for all others;
    in a closed loop so many sessions are kept alive, and the next one begins when one has ended.
    """

    load: Load
    seed: int
    arrival_ns: NDArray[np.int64] | None
    input_tokens: NDArray[np.int32]
    output_tokens: NDArray[np.int32]
    duration_ns: int | None
    prefix_group: NDArray[np.int32] | None = None
    prefix_tokens: NDArray[np.int32] | None = None
    session_id: NDArray[np.int64] | None = None
    turn: NDArray[np.int16] | None = None
    parent: NDArray[np.int64] | None = None
    think_ns: NDArray[np.int64] | None = None

    def __len__(self) -> int:
        return len(self.input_tokens)


def make_schedule(workload: Workload, load: Load, stop: Stop, seed: int, trace: Trace | None = None) -> Schedule:
    """The schedule of one load point; equal arguments give equal schedules.

    Request i has the same lengths at every rate and concurrency. A closed loop that only a duration ends gets
    as many requests as its slots could finish at 1 ms each, at most MAX_REQUESTS. A trace gives its own
    lengths; in open loop also its arrivals, stretched to the rate asked for (at `trace.rate_rps` as
    recorded) and not repeated; in a closed loop its lengths start again when they are used up.

    The rate of an open load counts requests: sessions arrive at the rate / the mean number of turns. A number of
    requests may cut the last session short.

    Raises:
        UsageError: nothing ends the point, it has no request or too many, the seed is negative, the workload
            replays a trace and there is none, or a trace is to be replayed in conversations.
        IncompatibleError: *trace* is not the one the workload names.
    """
    if seed < 0:
        raise UsageError(f"the seed {seed} is negative", hint="Give a seed of 0 or more.")
    _check_trace(workload, trace)
    draw = _Draw(workload, load, stop, seed, trace)
    sessions, arrivals = draw.requests()
    count = _count(sessions, arrivals, load, stop)
    if not count:
        raise UsageError(f"no request falls into {stop.duration_s:g} s at {load}", hint="Give more time or requests.")
    outputs = draw.lengths(count, _Stream.OUTPUT_LENGTHS)
    inputs = draw.lengths(count, _Stream.INPUT_LENGTHS)
    group, shared = draw.prefixes(inputs, sessions)
    return Schedule(
        load=load,
        seed=seed,
        arrival_ns=arrivals,
        input_tokens=inputs if sessions is None else sessions.prompts(_own(inputs, shared, sessions), outputs),
        output_tokens=outputs,
        duration_ns=None if stop.duration_s is None else round(stop.duration_s * NS_PER_S),
        prefix_group=group,
        prefix_tokens=shared,
        session_id=None if sessions is None else sessions.session_id,
        turn=None if sessions is None else sessions.turn,
        parent=None if sessions is None else sessions.parent,
        think_ns=None if sessions is None else draw.pauses(sessions),
    )


@dataclass(frozen=True)
class _Draw:
    """Draws what one load point is made of, each thing from its own stream."""

    workload: Workload
    load: Load
    stop: Stop
    seed: int
    trace: Trace | None

    def requests(self) -> tuple[Sessions | None, NDArray[np.int64] | None]:
        """The sessions (None: no conversations) and the arrivals of an open load (None: a closed one)."""
        workload, load, stop = self.workload, self.load, self.stop
        if workload.conversation is None:
            return None, self._arrivals(load.rate_rps, stop) if isinstance(load, OpenLoad) else None
        if isinstance(load, ClosedLoad):
            most = _closed_count(load, stop)
            return Sessions.of(self._turns(most, most)), None
        most = MAX_REQUESTS + 1
        if stop.requests is not None:
            most = min(most, stop.requests)
            stop = Stop(requests=len(self._turns(most, most)), duration_s=stop.duration_s)
        first = self._arrivals(load.rate_rps / mean_turns(workload.conversation), stop)
        turns = self._turns(len(first), most)
        if turns.sum() > MAX_REQUESTS:
            raise UsageError(f"over {MAX_REQUESTS:,} requests in one load point", hint="Give fewer, or less time.")
        sessions = Sessions.of(turns)
        arrivals = np.full(len(sessions.parent), FOLLOWS, dtype=np.int64)
        arrivals[sessions.first] = first[: len(turns)]
        return sessions, arrivals

    def _turns(self, sessions: int, most: int) -> NDArray[np.int64]:
        """The turns of at most so many sessions, together *most* at most."""
        assert self.workload.conversation is not None  # noqa: S101 - asked only for conversations
        return cut_sessions(draw_turns(self.workload.conversation, sessions, self._rng(_Stream.TURNS)), most)

    def _arrivals(self, rate_rps: float, stop: Stop) -> NDArray[np.int64]:
        trace = self.trace
        if self.workload.arrival.law != "trace" or trace is None:
            return arrival_times(self.workload.arrival, rate_rps, stop, self._rng(_Stream.ARRIVALS))
        stretch = trace.rate_rps / rate_rps
        times = trace.arrival_ns if stretch == 1 else np.rint(trace.arrival_ns * stretch).astype(np.int64)
        end_ns = math.inf if stop.duration_s is None else round(stop.duration_s * NS_PER_S)
        return times[times < end_ns][: stop.requests]

    def lengths(self, count: int, stream: _Stream) -> NDArray[np.int32]:
        """Input or output lengths as drawn."""
        workload, trace = self.workload, self.trace
        is_input = stream is _Stream.INPUT_LENGTHS
        if workload.arrival.law == "trace" and trace is not None:
            return np.resize(trace.input_tokens if is_input else trace.output_tokens, count)
        return draw_lengths(workload.input_tokens if is_input else workload.output_tokens, count, self._rng(stream))

    def prefixes(
        self, inputs: NDArray[np.int32], sessions: Sessions | None
    ) -> tuple[NDArray[np.int32] | None, NDArray[np.int32] | None]:
        """The prefix of each prompt and how much of it: all, but one token of a prompt is always its own."""
        prefix = self.workload.shared_prefix
        if prefix is None:
            return None, None
        group = draw_groups(prefix, len(inputs), self._rng(_Stream.PREFIXES))
        tokens = np.minimum(inputs - 1, prefix.tokens).astype(np.int32)
        if sessions is not None:
            first = np.flatnonzero(sessions.first)[sessions.session_id]
            group, tokens = group[first], tokens[first]
        return group, tokens

    def pauses(self, sessions: Sessions) -> NDArray[np.int64]:
        """The pause before each request."""
        assert self.workload.conversation is not None  # noqa: S101 - there are sessions
        drawn = draw_pauses(self.workload.conversation.think, len(sessions.parent), self._rng(_Stream.PAUSES))
        return np.where(sessions.first, 0, drawn)

    def _rng(self, stream: _Stream) -> np.random.Generator:
        return np.random.default_rng([self.seed, int(stream)])


def _check_trace(workload: Workload, trace: Trace | None) -> None:
    if workload.arrival.law != "trace":
        return
    if workload.conversation is not None:
        raise UsageError("a trace has its own requests, not conversations", hint="Leave the turns or the trace out.")
    if trace is None:
        raise UsageError("the workload replays a trace, and none is given", hint="Read it with read_trace.")
    if workload.arrival.trace_id != trace.trace_id:
        raise IncompatibleError("trace_id", workload.arrival.trace_id, trace.trace_id)


def _count(sessions: Sessions | None, arrivals: NDArray[np.int64] | None, load: Load, stop: Stop) -> int:
    if sessions is not None:
        return len(sessions.parent)
    return len(arrivals) if arrivals is not None else _closed_count(load, stop)


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


def _own(inputs: NDArray[np.int32], shared: NDArray[np.int32] | None, sessions: Sessions) -> NDArray[np.int64]:
    """What each turn adds to its session's prompt: a first turn all of it, a later one what is not the prefix."""
    own = inputs.astype(np.int64)
    if shared is None:
        return own
    return np.where(sessions.first, own, np.maximum(own - shared, 1))
