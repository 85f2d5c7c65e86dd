"""A few cases of the truth table, small enough for every day: `python -m tests.truth` has them all."""

from __future__ import annotations

import numpy as np
import pytest

from giq.workload.workload import OpenLoad, Stop
from tests.truth.cases import Case, make_case, run
from tests.truth.judgement import wilson
from tests.truth.runner import search


def share_of_limit(case: Case, rate: float) -> float:
    """The largest of the targets' percentiles over their limits, of 5,000 requests at *rate*."""
    found = run(case.spec, case.workload, OpenLoad(rate_rps=rate), Stop(requests=5000), 77).requests
    late = slice(1000, 4500)
    first = (found.first_token_ns - found.scheduled_ns)[late] / 1e9
    each = (found.last_token_ns - found.first_token_ns)[late] / 1e9 / np.maximum(found.output_tokens[late] - 1, 1)
    values = {"ttft": first, "tpot": each}
    return max(float(np.percentile(values[t.metric], t.percent)) / t.seconds for t in case.targets)


@pytest.mark.parametrize("number", [10])
def test_the_capacity_found_is_where_the_target_begins_to_be_missed(number: int) -> None:
    """A tenth below the capacity that the search names a long run meets the targets, a tenth above it misses one."""
    case = make_case(number)
    found = search(case, seed=number)

    assert found.capacity.rate is not None
    assert share_of_limit(case, 0.9 * found.capacity.rate.value) < 1
    assert share_of_limit(case, 1.1 * found.capacity.rate.value) > 1


@pytest.mark.parametrize("number", [10, 16])
def test_a_budget_is_kept_with_its_drains(number: int) -> None:
    """Whatever the server, 200 s of budget are not exceeded, calibration and idle time included."""
    assert search(make_case(number), seed=1, budget_s=200.0).cost_s <= 200.0


def test_a_search_repeats_itself() -> None:
    """Two searches with one seed are the same."""
    case = make_case(16)

    assert search(case, seed=3, budget_s=100.0) == search(case, seed=3, budget_s=100.0)


def test_wilsons_interval() -> None:
    """380 of 400 is 95 %, and may be 92.4 % to 96.7 %."""
    low, high = wilson(380, 400)

    assert (low, high) == pytest.approx((0.924, 0.967), abs=0.001)
