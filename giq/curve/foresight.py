"""Where a target would be missed in open loop, as far as a closed loop's own requests let it be foreseen."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from giq.curve.completions import Turns
from giq.curve.heard import METRICS, Heard, percentile
from giq.curve.latencies import latencies
from giq.curve.point import Foreseen
from giq.curve.requests import Requests
from giq.curve.stand_in import Floats, Lengths, Limits, StandIn, fitted
from giq.curve.targets import Target
from giq.units import NS_PER_S
from giq.workload.schedule import make_schedule
from giq.workload.workload import OpenLoad, Stop, Workload

_REQUESTS = 6_000
_COUNTED = slice(_REQUESTS // 5, -_REQUESTS // 10)
_SLOTS = 1024
_SEED = 20_260_002
_LOWEST, _HIGHEST = 0.02, 0.99
_NEAR = 0.02


def foreseen(requests: Requests, turns: Turns, targets: Sequence[Target], limits: Limits) -> tuple[Foreseen, ...]:
    """The rate up to which each of *targets* would be met in open loop; none where nothing tells, or none would do.

    A stand-in fitted to these very requests, which were sent in turn, is asked at one rate after the other; it is
    corrected by how far its answers to the closed loop itself were off: TPOT by the ratio of the percentiles, what is
    waited for by the difference of the medians. It was fitted at one concurrency, so the farther from there the rate
    lies the worse it is known: on the cases of tests/truth nine of ten lie within a factor of two.
    """
    asked = [target for target in targets if target.metric in METRICS]
    stand_in = fitted(requests, limits) if asked else None
    if stand_in is None:
        return ()
    order = np.lexsort((requests.request_id, requests.sent_ns))
    inputs, outputs = requests.requested_input_tokens[order], requests.requested_output_tokens[order]
    first, last = stand_in.answers_in_turn(turns.slots, inputs, outputs)
    sent = np.concatenate([np.zeros(min(turns.slots, len(last))), np.sort(last)])[: len(last)]
    like, told, open_loop = Heard(sent, first, last, outputs), latencies(requests), _OpenLoop(stand_in, turns)
    found = []
    for target in asked:
        measured = getattr(told, target.judged("closed"))[order]
        limit = _limit(target, measured[np.isfinite(measured)], like)
        rate = None if limit is None else open_loop.highest(target, limit)
        if rate is not None:
            found.append(Foreseen(target=target.key, rate_rps=rate))
    return tuple(found)


def _limit(target: Target, measured: Floats, like: Heard) -> float | None:
    """What the stand-in may have at most, in s, where the server may have the target's; None where nothing tells."""
    if not len(measured):
        return None
    if target.metric == "tpot":
        seen = percentile(measured, target)
        return target.seconds * percentile(like.values(target), target) / seen if seen > 0 else None
    return target.seconds - max(float(np.median(measured)) - float(np.median(like.values(target))), 0.0)


class _OpenLoop:
    """A stand-in under one schedule, stretched to one rate or the other."""

    def __init__(self, stand_in: StandIn, turns: Turns) -> None:
        self._stand_in = stand_in
        self._at_one, self._inputs, self._outputs = _drawn(turns.workload)
        ends = np.sort(stand_in.answers_in_turn(_SLOTS, self._inputs, self._outputs)[1])
        first, last = len(ends) // 3, 2 * len(ends) // 3
        self._most = (last - first) / float(ends[last] - ends[first])

    def highest(self, target: Target, limit: float) -> float | None:
        """The highest rate at which *target*'s percentile is at most *limit* seconds; None where it is at none."""
        low, high = _LOWEST * self._most, _HIGHEST * self._most
        if self._at(low, target) > limit:
            return None
        if self._at(high, target) <= limit:
            return high
        while high > low * (1 + _NEAR):
            middle = math.sqrt(low * high)
            low, high = (middle, high) if self._at(middle, target) <= limit else (low, middle)
        return math.sqrt(low * high)

    def _at(self, rate: float, target: Target) -> float:
        sent = self._at_one / rate
        first, last = self._stand_in.answers(sent, self._inputs, self._outputs)
        return percentile(Heard(sent, first, last, self._outputs).part(_COUNTED).values(target), target)


def _drawn(workload: Workload) -> tuple[Floats, Lengths, Lengths]:
    """Arrivals at exactly one request a second of the law, in s, and their lengths."""
    schedule = make_schedule(workload, OpenLoad(rate_rps=1.0), Stop(requests=_REQUESTS), _SEED)
    assert schedule.arrival_ns is not None  # noqa: S101 - open loop
    arrived = schedule.arrival_ns / NS_PER_S
    return arrived * (_REQUESTS / arrived[-1]), schedule.input_tokens, schedule.output_tokens
