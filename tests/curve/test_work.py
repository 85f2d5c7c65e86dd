"""What the tokens of a window amount to, for a server of which it is known."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from giq.curve import Requests, Window
from giq.curve.work import kv_held, work_done
from tests.curve.conftest import columns

PROMPT_S, OUTPUT_S = 0.001, 0.01
MEANS = (100.0, 20.0)


def busy(n: int, seed: int) -> Requests:
    """*n* requests of exponential lengths, one after the other, without a pause: prompt first, then output."""
    rng = np.random.default_rng(seed)
    prompts = np.maximum(rng.exponential(MEANS[0], n).astype(np.int64), 1)
    outputs = np.maximum(rng.exponential(MEANS[1], n).astype(np.int64), 1)
    ends = np.cumsum(prompts * PROMPT_S + outputs * OUTPUT_S)
    firsts = ends - outputs * OUTPUT_S
    as_ns = [np.rint(times * 1e9).astype(np.int64) for times in (firsts - prompts * PROMPT_S, firsts, ends)]
    return dataclasses.replace(
        columns(as_ns[0], as_ns[1], as_ns[2], 2), requested_input_tokens=prompts, requested_output_tokens=outputs
    )


@pytest.mark.parametrize("seed", range(5))
def test_chance_in_the_lengths_does_not_count(seed: int) -> None:
    """From 400 requests whose own mean is off by 5 % the rate at the law's means is known to 1 %."""
    requests = busy(400, seed)
    window = Window(int(requests.end_ns[20]), int(requests.end_ns[-1]), True, "test")
    found = work_done(requests, window, MEANS)
    truth = 1 / (MEANS[0] * PROMPT_S + MEANS[1] * OUTPUT_S)

    assert found is not None
    assert found.rate.value == pytest.approx(truth, rel=0.01)
    assert found.prompt_share == pytest.approx(1 / 3, abs=0.05)


def test_few_requests_tell_nothing() -> None:
    """Below 40 requests there is no answer."""
    requests = busy(30, 0)

    assert work_done(requests, Window(0, int(requests.end_ns[-1]), True, "test"), MEANS) is None


def test_a_part_of_an_answer_holds_what_was_made_until_then() -> None:
    """A request with 100 prompt and 40 output tokens holds 135 on average over the last quarter of its decoding."""
    one = np.zeros(1, dtype=np.int64)
    requests = dataclasses.replace(
        columns(one, one, one + 40_000, 2), requested_input_tokens=one + 100, requested_output_tokens=one + 40
    )

    assert kv_held(requests, Window(30_000, 40_000, True, "test")) == pytest.approx(135)
    assert kv_held(requests, Window(30_000, 50_000, True, "test")) == pytest.approx(67.5)
    assert kv_held(requests, Window(40_000, 50_000, True, "test")) == 0
