"""What a server would complete in the long run: a short closed loop's own rate, without its cold start and its luck."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from giq.curve.intervals import student_quantile
from giq.curve.point import Estimate
from giq.curve.requests import Requests
from giq.curve.stand_in import Floats, Lengths, Limits, StandIn, fitted
from giq.curve.work import served
from giq.units import NS_PER_S
from giq.workload.schedule import make_schedule
from giq.workload.workload import ClosedLoad, Stop, Workload

_LONG_RUN, _OF_LAW = 16_000, 10
_SEED = 20_260_001
_SETTLING, _DRAINING = 4, 2
"""Turns of all slots at the beginning and at the end of a long run that do not count."""
_BLOCKS = 10
_FEWEST = 40
_DOUBT = 0.5
"""Of what the stand-in is too fast or too slow so much may be otherwise in the long run: it is not the server."""
_LONG_ERROR = 0.01
_FARTHEST = 0.25
"""A stand-in that is so much faster or slower is not like the server, and tells nothing."""


@dataclass(frozen=True)
class Turns:
    """A closed loop: how many slots, and the law from which its requests were drawn."""

    slots: int
    workload: Workload


def completions(requests: Requests, turns: Turns, limits: Limits) -> Estimate | None:
    """Requests/s that a closed loop completes in the long run, with its 90 % interval; None where nothing tells.

    A loop of a few turns begins on an empty server: the requests that run are younger than they will be, and the few
    long ones, which hold the KV cache longest, are many or few by chance. A stand-in fitted to these very requests
    answers the same requests in the same order, and then many of the law; what it completes in the long run is
    corrected by how much faster or slower than it the server was (a control variate, as in `giq.curve.chance`).
    """
    known = len(requests) - turns.slots  # from then on slots stay empty
    if known < _BLOCKS or len(requests) < _FEWEST or not served(requests).all():
        return None
    stand_in = fitted(requests, limits)
    if stand_in is None:
        return None
    order = np.lexsort((requests.request_id, requests.sent_ns))
    inputs, outputs = requests.requested_input_tokens[order], requests.requested_output_tokens[order]
    began = requests.sent_ns.min()
    first, last = ((of[order] - began) / NS_PER_S for of in (requests.first_token_ns, requests.last_token_ns))
    share = stand_in.prompt_share(float(inputs.mean()), float(outputs.mean()))
    like_first, like_last = stand_in.answers_in_turn(turns.slots, inputs, outputs)
    seen_s, like_s = (float(np.sort(ends)[known]) for ends in (last, like_last))
    edges = np.linspace(0.0, seen_s, _BLOCKS + 1)
    apart = _apart(_progress(first, last, share, edges), _progress(like_first, like_last, share, edges))
    off = math.log(like_s / seen_s)
    return None if apart is None or abs(off) > _FARTHEST else _corrected(_long_run(stand_in, turns), off, apart)


def _progress(first: Floats, last: Floats, share: float, edges: Floats) -> Floats:
    """How many requests' work was done up to each of *edges*: a prompt's share of it at once, an output's evenly."""
    lasted = np.maximum(last - first, 1e-9)
    done = [
        share * (first <= edge).sum() + (1 - share) * np.clip((edge - first) / lasted, 0, 1).sum() for edge in edges
    ]
    return np.array(done)


def _apart(seen: Floats, like: Floats) -> Floats | None:
    """How much more the server did than the stand-in in each stretch, as a logarithm; None where one did nothing."""
    with np.errstate(divide="ignore", invalid="ignore"):
        apart: Floats = np.log(np.diff(seen) / np.diff(like))
    return apart if np.isfinite(apart).all() else None


def _corrected(long_rps: float, off: float, apart: Floats) -> Estimate:
    """The stand-in's rate in the long run, times what the server completed over what it did (*off*: its logarithm)."""
    spread = float(np.std(apart, ddof=1)) / math.sqrt(len(apart))
    width = student_quantile(0.95, len(apart) - 1) * math.hypot(spread, _DOUBT * off, _LONG_ERROR)
    value = long_rps * math.exp(off)
    return Estimate(value=value, lo=value * math.exp(-width), hi=value * math.exp(width))


def _long_run(stand_in: StandIn, turns: Turns) -> float:
    """Requests/s that the stand-in completes once it has settled."""
    inputs, outputs = _law(turns)
    ends = np.sort(stand_in.answers_in_turn(turns.slots, inputs, outputs)[1])
    first, last = _SETTLING * turns.slots, len(ends) - _DRAINING * turns.slots
    return (last - first) / float(ends[last] - ends[first])


def _law(turns: Turns) -> tuple[Lengths, Lengths]:
    """Lengths almost exactly as the law has them: each tenth of many drawn, in the order of what they hold how long."""
    drawn = make_schedule(turns.workload, ClosedLoad(concurrency=1), Stop(requests=_OF_LAW * _LONG_RUN), _SEED)
    outputs = drawn.output_tokens.astype(np.float64)
    chosen = np.argsort(outputs * (drawn.input_tokens + outputs / 2), kind="stable")[_OF_LAW // 2 :: _OF_LAW]
    chosen = np.random.default_rng(_SEED).permutation(chosen)
    return drawn.input_tokens[chosen], drawn.output_tokens[chosen]
