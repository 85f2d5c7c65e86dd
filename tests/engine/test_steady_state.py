"""The fluid that says where a simulation may begin."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from giq.engine.simulation import simulate
from giq.engine.steady_state import SteadyState
from giq.workload.schedule import Schedule, make_schedule
from giq.workload.warm_start import begun
from giq.workload.workload import ClosedLoad, OpenLoad, Stop
from tests.engine.engines import engine, work


def lengths() -> Schedule:
    """A sample of a workload's lengths."""
    return make_schedule(work(), ClosedLoad(concurrency=1), Stop(requests=400), seed=1)


@given(st.floats(0.01, 0.99))
def test_the_fewest_running_that_complete_a_rate(share: float) -> None:
    """So many complete the rate, one fewer does not."""
    state = SteadyState.of(engine(), lengths())
    rate = share * state.highest_rps
    running = state.running(rate)
    assert 1 <= running <= state.most_running
    assert state.rate_rps(running) >= rate
    assert running == 1 or state.rate_rps(running - 1) < rate


def test_more_than_can_be_completed_fills_the_engine() -> None:
    """Beyond the highest rate as many run as the sequences and the KV cache allow."""
    prompts, outputs = lengths().input_tokens.astype(float), lengths().output_tokens.astype(float)
    context = float(np.sum(outputs * (prompts + outputs / 2)) / np.sum(outputs))
    for spec, most in ((engine(max_num_seqs=50), 50), (engine(kv_blocks=2000), 2000 * 16 / context)):
        state = SteadyState.of(spec, lengths())
        assert state.running(10 * state.highest_rps) == state.most_running
        assert state.most_running == pytest.approx(most, rel=0.05)


def test_more_accelerators_complete_more() -> None:
    """Two and four GPUs complete more than one, though less than in proportion; a small one far less."""
    rates = [SteadyState.of(engine(tp=ranks), lengths()).highest_rps for ranks in (1, 2, 4)]
    assert rates[0] < rates[1] < rates[2] < 4 * rates[0]
    assert SteadyState.of(engine(accelerator="small"), lengths()).highest_rps < rates[0] / 3


def test_a_simulation_begun_there_stays_there() -> None:
    """The number in flight is about the fluid's from the start to the last arrival."""
    spec, rate = engine(accelerator="small"), 4.0
    running = SteadyState.of(spec, lengths()).running(rate)
    schedule = make_schedule(work(), OpenLoad(rate_rps=rate), Stop(requests=400), seed=1)
    run = simulate(spec, begun(schedule, running), begun=running)
    assert schedule.arrival_ns is not None
    quarter = int(schedule.arrival_ns[-1]) // 4
    for part in range(4):
        statistics = run.statistics(part * quarter, (part + 1) * quarter)
        assert statistics.running_mean == pytest.approx(running, rel=0.3)


@given(st.integers(0, 300))
def test_what_was_begun_is_in_the_middle_of_its_output(running: int) -> None:
    """Prompt and rest of the output are together as long as a request; the schedule behind is unchanged."""
    schedule = make_schedule(work(), OpenLoad(rate_rps=9.0), Stop(requests=100), seed=1)
    longer = begun(schedule, running)
    assert schedule.arrival_ns is not None
    assert longer.arrival_ns is not None
    assert len(longer) == len(schedule) + running
    assert (longer.arrival_ns[:running] == 0).all()
    assert np.array_equal(longer.arrival_ns[running:], schedule.arrival_ns)
    assert np.array_equal(longer.input_tokens[running:], schedule.input_tokens)
    assert np.array_equal(longer.output_tokens[running:], schedule.output_tokens)
    assert (longer.output_tokens > 0).all()
    whole = set((schedule.input_tokens + schedule.output_tokens).tolist())
    assert set((longer.input_tokens + longer.output_tokens)[:running].tolist()) <= whole
