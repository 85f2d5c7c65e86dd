"""The stand-in finds the times of a server of its own kind, and serves as continuous batching does."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from giq.curve import Requests
from giq.curve.stand_in import Limits, StandIn, fitted
from tests.curve.conftest import columns

SERVER = StandIn(0.02, 2e-5, 1e-7, 3e-5, Limits(sequences=64, step_tokens=2048))


def answered(server: StandIn, n: int, rate: float, seed: int = 0) -> Requests:
    """*n* requests of exponential lengths at *rate*, as *server* answers them."""
    rng = np.random.default_rng(seed)
    arrivals = np.cumsum(rng.exponential(1 / rate, n))
    inputs, outputs = (np.maximum(rng.exponential(mean, n), 8).astype(np.int32) for mean in (400, 100))
    first, last = server.answers(arrivals, inputs, outputs)
    as_ns = [np.rint(times * 1e9).astype(np.int64) for times in (arrivals, first, last)]
    made = columns(as_ns[0], as_ns[1], as_ns[2], 2)
    return dataclasses.replace(
        made, requested_input_tokens=inputs.astype(np.int64), requested_output_tokens=outputs.astype(np.int64)
    )


@pytest.mark.parametrize("seed", range(3))
def test_the_times_of_a_server_of_its_kind_are_found(seed: int) -> None:
    """From 600 of a server's answers: its step to 3 %, a prompt token to 15 %, and how long requests take to 1 %."""
    requests = answered(SERVER, 600, 8.0, seed)
    found = fitted(requests, SERVER.limits)

    assert found is not None
    assert found.step_s == pytest.approx(SERVER.step_s, rel=0.03)
    assert found.prompt_token_s == pytest.approx(SERVER.prompt_token_s, rel=0.15)
    again = answered(found, 600, 8.0, seed)
    lasted = [float((one.last_token_ns - one.first_token_ns).mean()) for one in (requests, again)]
    assert lasted[1] == pytest.approx(lasted[0], rel=0.01)


def test_one_request_takes_its_prompt_and_its_steps() -> None:
    """Alone, the first token comes after one step with the prompt, the last 9 steps later."""
    first, last = SERVER.answers(np.array([1.0]), np.array([100], dtype=np.int32), np.array([10], dtype=np.int32))

    assert first[0] == pytest.approx(1 + 0.02 + 100 * 3e-5, abs=1e-4)
    assert last[0] - first[0] == pytest.approx(9 * 0.02, rel=0.01)


@given(st.lists(st.tuples(st.floats(0, 0.2), st.integers(1, 3000), st.integers(1, 200)), min_size=1, max_size=60))
def test_every_request_is_served_in_order(asked: list[tuple[float, int, int]]) -> None:
    """Whatever is asked of a small cache, all is answered: no last token before the first, none before its arrival."""
    tight = dataclasses.replace(SERVER, limits=Limits(sequences=8, step_tokens=512, kv_tokens=4000.0))
    arrivals = np.cumsum([gap for gap, _, _ in asked])
    inputs, outputs = (np.array([one[place] for one in asked], dtype=np.int32) for place in (1, 2))
    first, last = tight.answers(arrivals, inputs, outputs)

    assert (first > arrivals).all()
    assert (last >= first + (outputs - 1) * SERVER.step_s * 0.999).all()


def test_a_full_cache_keeps_requests_waiting() -> None:
    """With room for two prompts the third waits for the first to end."""
    tight = dataclasses.replace(SERVER, limits=Limits(kv_tokens=2300.0))
    lengths = np.full(3, 1000, dtype=np.int32), np.full(3, 50, dtype=np.int32)
    first, last = tight.answers(np.zeros(3), *lengths)

    assert first[2] > last[0] > first[1]


def test_few_requests_tell_nothing() -> None:
    """Below 40 requests there is no stand-in."""
    assert fitted(answered(SERVER, 30, 8.0), SERVER.limits) is None
