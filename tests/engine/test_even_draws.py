"""Even draws: the workload's means and rate to a hair, in the order that was drawn."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from giq.engine.even_draws import even
from giq.units import NS_PER_S
from giq.workload.schedule import make_schedule
from giq.workload.shared_prefix import SharedPrefix
from giq.workload.workload import ClosedLoad, OpenLoad, Stop, Workload
from tests.engine.engines import work

SAMPLE = 4096


@settings(max_examples=20, deadline=None)
@given(requests=st.integers(50, 600), seed=st.integers(0, 99), rate=st.floats(0.1, 100))
def test_lengths_and_rate_are_those_of_the_law(requests: int, seed: int, rate: float) -> None:
    """Mean lengths within 3 % of a large sample's, exactly the rate asked for, and longer stays longer."""
    asked = work()
    sample = make_schedule(asked, ClosedLoad(concurrency=1), Stop(requests=SAMPLE), seed)
    drawn = make_schedule(asked, OpenLoad(rate_rps=rate), Stop(requests=requests), seed)
    found = even(drawn, sample)
    for before, after, all_of_it in (
        (drawn.input_tokens, found.input_tokens, sample.input_tokens),
        (drawn.output_tokens, found.output_tokens, sample.output_tokens),
    ):
        assert abs(after.mean() / all_of_it.mean() - 1) < 0.03
        order = np.argsort(before, kind="stable")
        assert (np.diff(after[order]) >= 0).all()
    assert found.arrival_ns is not None
    assert drawn.arrival_ns is not None
    assert abs(found.arrival_ns[-1] / NS_PER_S - requests / rate) < 1e-6
    assert (np.argsort(found.arrival_ns, kind="stable") == np.argsort(drawn.arrival_ns, kind="stable")).all()


def test_lengths_that_hang_together_stay_as_drawn() -> None:
    """Requests that share prefixes are left alone."""
    asked = Workload(
        input_tokens=work().input_tokens,
        output_tokens=work().output_tokens,
        shared_prefix=SharedPrefix(tokens=64, groups=2),
    )
    drawn = make_schedule(asked, OpenLoad(rate_rps=3.0), Stop(requests=100), seed=1)
    assert even(drawn, drawn) is drawn
