"""What a short point's own chance did is taken out, as far as a stand-in tells it."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from giq.catalog.use_cases import Lengths
from giq.curve import Requests, Target, choose_window
from giq.curve.chance import Held, expected
from giq.curve.point import Expected
from giq.curve.stand_in import Limits, StandIn
from giq.units import NS_PER_S
from giq.workload import Arrival, OpenLoad, Stop, Workload, make_schedule
from tests.curve.conftest import columns

SERVER = StandIn(0.02, 1e-4, 1e-7, 4e-5, Limits(sequences=64))
WORKLOAD = Workload(
    input_tokens=Lengths(distribution="lognormal", mean=300, spread=0.7, minimum=4, maximum=1200),
    output_tokens=Lengths(distribution="lognormal", mean=100, spread=0.7, minimum=4, maximum=400),
)
LOAD = OpenLoad(rate_rps=14.0)
TARGET = Target("tpot", 0.05)


def answered(n: int, seed: int, workload: Workload = WORKLOAD) -> Requests:
    """*n* requests of the load, as a server of the stand-in's kind answers them."""
    schedule = make_schedule(workload, LOAD, Stop(requests=n), seed)
    assert schedule.arrival_ns is not None
    first, last = SERVER.answers(schedule.arrival_ns / NS_PER_S, schedule.input_tokens, schedule.output_tokens)
    as_ns = [np.rint(times * NS_PER_S).astype(np.int64) for times in (first, last)]
    made = columns(schedule.arrival_ns, as_ns[0], as_ns[1], 2)
    inputs, outputs = schedule.input_tokens.astype(np.int64), schedule.output_tokens.astype(np.int64)
    return dataclasses.replace(
        made, requested_input_tokens=inputs, requested_output_tokens=outputs, output_tokens=outputs
    )


def told(requests: Requests, workload: Workload = WORKLOAD, *targets: Target) -> tuple[Expected, ...]:
    """What is expected of the points' percentile in the long run."""
    window = choose_window(requests, LOAD)
    return expected(requests, Held(LOAD, window, workload, targets or (TARGET,)), Limits(sequences=64))


def p90(requests: Requests) -> float:
    """The 90th percentile of TPOT in the window."""
    inside = choose_window(requests, LOAD).holds(requests.scheduled_ns)
    each = (requests.last_token_ns - requests.first_token_ns) / np.maximum(requests.requested_output_tokens - 1, 1)
    return float(np.percentile(each[inside] / NS_PER_S, 90))


def test_short_points_tell_the_long_run() -> None:
    """Of 8 points of 500 requests, what is expected strays half as far from the long run as what was measured."""
    true = p90(answered(30_000, 99))
    points = [answered(500, seed) for seed in range(8)]
    corrected = [told(requests)[0] for requests in points]
    strayed = np.std([np.log(p90(requests) / true) for requests in points])
    left = np.sqrt(np.mean([np.log(one.value_s / true) ** 2 for one in corrected]))

    assert left < 0.5 * strayed
    assert sum(one.lo_s <= true <= one.hi_s for one in corrected) >= 6


def test_a_server_that_the_stand_in_does_not_follow_is_doubted() -> None:
    """Where latencies have nothing to do with the load, the interval holds what was measured."""
    requests = answered(500, 3)
    rng = np.random.default_rng(1)
    lasted = rng.lognormal(-3, 0.3, len(requests)) * requests.requested_output_tokens
    last = requests.first_token_ns + np.rint(lasted * NS_PER_S).astype(np.int64)
    own = dataclasses.replace(requests, last_token_ns=last, end_ns=last)

    for one in told(own):
        assert one.lo_s <= p90(own) <= one.hi_s


@pytest.mark.parametrize(
    "arrival",
    [Arrival(law="ramp", from_rps=1.0, to_rps=2.0), Arrival(law="trace", trace_id="x")],
)
def test_a_load_that_no_law_holds_tells_nothing(arrival: Arrival) -> None:
    """A ramp and a trace have no long run."""
    changed = Workload(input_tokens=WORKLOAD.input_tokens, output_tokens=WORKLOAD.output_tokens, arrival=arrival)

    assert told(answered(300, 1), changed) == ()


def test_few_requests_tell_nothing() -> None:
    """Where no interval can be made of what was measured, none is made of what is expected."""
    assert told(answered(60, 1)) == ()
