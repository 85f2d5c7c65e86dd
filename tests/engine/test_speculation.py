"""Speculative decoding: how many tokens a step gives, what it costs, and that nothing is lost."""

from __future__ import annotations

import json

import aiohttp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from giq.engine.http_server import EngineServer
from giq.engine.simulation import simulate
from giq.engine.speculation import Speculation, parse_speculation
from giq.workload.schedule import make_schedule
from giq.workload.workload import ClosedLoad, Stop
from tests.engine.engines import engine, unit, work
from tests.engine.serving import events, served


@given(st.integers(1, 6), st.floats(0, 1), st.integers(1, 300), st.integers(0, 99))
def test_steps_give_all_tokens(tokens: int, acceptance: float, wanted: int, seed: int) -> None:
    """Between one and k + 1 a step, together as many as asked for, the same with the same seed."""
    speculation = Speculation("eagle3", tokens, acceptance, 0.0)
    gains = speculation.gains(wanted, (seed,))
    assert gains.sum() == wanted
    assert gains.min() >= 1
    assert gains.max() <= tokens + 1
    assert np.array_equal(gains, speculation.gains(wanted, (seed,)))


@pytest.mark.parametrize("acceptance", [0.0, 0.5, 0.8, 1.0])
def test_the_mean_is_that_of_the_acceptance_rate(acceptance: float) -> None:
    """(1 - a^(k+1)) / (1 - a) tokens a step."""
    speculation = Speculation("eagle3", 4, acceptance, 0.0)
    gains = speculation.gains(40_000, (1,))
    assert gains.mean() == pytest.approx(speculation.mean_tokens, rel=0.03)
    assert speculation.mean_tokens == pytest.approx(5.0 if acceptance == 1 else (1 - acceptance**5) / (1 - acceptance))


def test_it_is_read_from_words() -> None:
    """Parts in any order; method and drafter have defaults."""
    assert parse_speculation("acceptance=0.6, tokens=2") == Speculation("draft", 2, 0.6, 0.0)
    assert parse_speculation("method=mtp,tokens=1,acceptance=0.9,drafter=0.1") == Speculation("mtp", 1, 0.9, 0.1)


@given(
    tokens=st.integers(1, 5),
    acceptance=st.sampled_from([0.0, 0.4, 0.9, 1.0]),
    kv_blocks=st.sampled_from([200, 4000]),
    model=st.sampled_from(["dense-8b", "mixture-20b"]),
    concurrency=st.integers(1, 24),
)
@settings(max_examples=25, deadline=None)
def test_tokens_blocks_and_times_are_conserved(
    tokens: int, acceptance: float, kv_blocks: int, model: str, concurrency: int
) -> None:
    """Every request gets its tokens in chunks of at most k + 1, whose gaps add up; the cache ends empty."""
    spec = unit(
        speculative=f"tokens={tokens},acceptance={acceptance}",
        model=model,
        engine_args={"num_gpu_blocks_override": kv_blocks},
    )
    schedule = make_schedule(work(), ClosedLoad(concurrency=concurrency), Stop(requests=40), seed=tokens)
    run = simulate(spec, schedule)
    requests = run.requests
    assert np.array_equal(requests.output_tokens, schedule.output_tokens)
    assert requests.chunk_tokens.max() <= tokens + 1
    chunks = np.add.reduceat(requests.chunk_tokens, requests.chunk_offsets[:-1])
    assert np.array_equal(chunks, requests.output_tokens)
    assert np.array_equal(np.diff(requests.chunk_offsets), np.diff(requests.gap_offsets) + 1)
    for index in range(len(requests)):
        gaps = requests.gaps_ns[requests.gap_offsets[index] : requests.gap_offsets[index + 1]]
        assert gaps.sum() == requests.last_token_ns[index] - requests.first_token_ns[index]
    assert run.recordings[0].runs[-1][5] <= kv_blocks
    assert run.statistics(int(requests.end_ns.max()) + 1, int(requests.end_ns.max()) + 2).kv_usage_max == 0.0


def test_nothing_accepted_is_slower_and_everything_accepted_faster() -> None:
    """Verification costs, acceptance pays: at one request nearly by the tokens a step gives."""
    schedule = make_schedule(work(64, 256), ClosedLoad(concurrency=1), Stop(requests=5), seed=1)

    def tpot(spec: object) -> float:
        requests = simulate(spec, schedule).requests  # type: ignore[arg-type]
        return float(np.mean((requests.last_token_ns - requests.first_token_ns) / (requests.output_tokens - 1)))

    plain = tpot(engine())
    none, all_of_them, drafted = (
        tpot(unit(speculative=words))
        for words in ("tokens=3,acceptance=0", "tokens=3,acceptance=1", "tokens=3,acceptance=1,drafter=0.5")
    )
    assert plain <= none < 1.2 * plain
    assert plain / 4 < all_of_them < plain / 3.3
    assert drafted == pytest.approx(1.5 * all_of_them, rel=0.01)


def test_over_http_a_chunk_carries_the_tokens_of_a_step() -> None:
    """Chunks of up to four tokens whose counts add up."""

    async def ask(server: EngineServer, session: aiohttp.ClientSession) -> str:
        body = {"prompt": [5] * 40, "max_tokens": 41, "ignore_eos": True, "stream": True, "return_token_ids": True}
        async with session.post(server.url + "/v1/completions", json=body) as answer:
            return await answer.text()

    told = events(served(ask, unit(speculative="tokens=3,acceptance=1")))
    counts = [len(json.loads(event)["choices"][0]["token_ids"]) for event in told[:-1]]
    assert counts == [1, *[4] * 10]
