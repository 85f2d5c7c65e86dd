"""A warm start is fixed by its seed, keeps the law's requests, and is gone after its own outputs."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from giq.catalog.use_cases import Lengths
from giq.workload import OpenLoad, Stop, Workload, make_schedule
from giq.workload.warm_start import WarmStart, warm_schedule

CHAT = Workload(
    input_tokens=Lengths(distribution="lognormal", mean=500, spread=0.8, maximum=4000),
    output_tokens=Lengths(distribution="uniform", mean=150, minimum=50, maximum=250),
)
LOAD = OpenLoad(rate_rps=5.0)


@given(st.integers(1, 200), st.integers(0, 1000), st.floats(5, 60))
def test_what_was_begun_does_not_depend_on_how_long_it_lasts(running: int, seed: int, seconds: float) -> None:
    """A longer point begins with the same requests at 0, and what follows 2 s later is the schedule without one."""
    short = warm_schedule(CHAT, LOAD, Stop(duration_s=seconds), seed, WarmStart(running, 2.0))
    longer = warm_schedule(CHAT, LOAD, Stop(duration_s=2 * seconds), seed, WarmStart(running, 2.0))
    cold = make_schedule(CHAT, LOAD, Stop(duration_s=seconds - 2.0), seed)

    assert short.arrival_ns is not None
    assert cold.arrival_ns is not None
    assert np.array_equal(short.output_tokens, longer.output_tokens[: len(short)])
    assert np.array_equal(short.input_tokens, longer.input_tokens[: len(short)])
    assert (short.arrival_ns[:running] == 0).all()
    assert np.array_equal(short.arrival_ns[running:] - 2_000_000_000, cold.arrival_ns)
    assert np.array_equal(short.output_tokens[running:], cold.output_tokens)


def test_long_outputs_are_met_more_often() -> None:
    """The mean rest of an output under way is E[x^2] / (2 E[x]) of the law (the inspection paradox), within 3 %."""
    outputs = make_schedule(CHAT, LOAD, Stop(requests=2000), 1).output_tokens.astype(float)
    rest = warm_schedule(CHAT, LOAD, Stop(requests=1), 1, WarmStart(20_000, 0.0)).output_tokens[:20_000]

    assert abs(rest.mean() / ((outputs**2).mean() / (2 * outputs.mean())) - 1) < 0.03
