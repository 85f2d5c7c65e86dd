"""What a closed loop would complete in the long run is told by a few of its turns."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from giq.catalog.use_cases import Lengths
from giq.curve import Requests
from giq.curve.completions import Turns, completions
from giq.curve.stand_in import Limits, StandIn
from giq.units import NS_PER_S
from giq.workload import ClosedLoad, Stop, Workload, make_schedule
from tests.curve.conftest import columns

LIMITS = Limits(sequences=256, kv_tokens=40_000)
SERVER = StandIn(0.02, 1e-4, 1e-7, 4e-5, LIMITS)
WORKLOAD = Workload(
    input_tokens=Lengths(distribution="lognormal", mean=160, spread=0.9, minimum=4, maximum=2048),
    output_tokens=Lengths(distribution="lognormal", mean=200, spread=0.9, minimum=4, maximum=2048),
)
SLOTS = 128


def answered(n: int, seed: int) -> Requests:
    """*n* requests, 128 in flight, as a server of the stand-in's kind answers them: its KV cache holds about 100."""
    schedule = make_schedule(WORKLOAD, ClosedLoad(concurrency=SLOTS), Stop(requests=n), seed)
    first, last = SERVER.answers_in_turn(SLOTS, schedule.input_tokens, schedule.output_tokens)
    sent = np.concatenate([np.zeros(min(SLOTS, n)), np.sort(last)])[:n]
    sent_ns, first_ns, last_ns = (np.rint(times * NS_PER_S).astype(np.int64) for times in (sent, first, last))
    inputs, outputs = schedule.input_tokens.astype(np.int64), schedule.output_tokens.astype(np.int64)
    return dataclasses.replace(
        columns(sent_ns, first_ns, last_ns, 2),
        requested_input_tokens=inputs,
        requested_output_tokens=outputs,
        output_tokens=outputs,
    )


def in_the_long_run(requests: Requests) -> float:
    """Completions a second while all slots are taken, after four turns."""
    ends = np.sort(requests.end_ns) / NS_PER_S
    last = len(ends) - SLOTS
    return (last - 4 * SLOTS) / float(ends[last] - ends[4 * SLOTS])


def test_three_turns_tell_the_long_run() -> None:
    """Of 6 loops of three turns, long requests are too young in each: what is told strays less than half as far."""
    true = in_the_long_run(answered(30_000, 99))
    loops = [answered(3 * SLOTS, seed) for seed in range(6)]
    told = [completions(requests, Turns(SLOTS, WORKLOAD), LIMITS) for requests in loops]
    counted = [2 * SLOTS / float(np.sort(requests.end_ns)[2 * SLOTS - 1] / NS_PER_S) for requests in loops]

    strayed = np.sqrt(np.mean([np.log(one / true) ** 2 for one in counted]))
    left = np.sqrt(np.mean([np.log(one.value / true) ** 2 for one in told if one is not None]))
    assert None not in told
    assert left < 0.5 * strayed
    assert sum(bool(one and one.lo and one.hi and one.lo <= true <= one.hi) for one in told) >= 5


@pytest.mark.parametrize("n", [30, SLOTS + 5])
def test_less_than_a_turn_tells_nothing(n: int) -> None:
    """Where hardly a slot was used twice there is no answer."""
    assert completions(answered(n, 1), Turns(SLOTS, WORKLOAD), LIMITS) is None


def test_a_request_that_failed_leaves_no_answer() -> None:
    """What a failed request did to the server is not known."""
    requests = answered(3 * SLOTS, 1)
    outcome = requests.outcome.copy()
    outcome[7] += 1

    assert completions(dataclasses.replace(requests, outcome=outcome), Turns(SLOTS, WORKLOAD), LIMITS) is None
