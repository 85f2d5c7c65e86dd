"""Several engine cores: replicas, data parallel ranks, and pools for prefill and decoding."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import aiohttp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from giq.engine.http_server import EngineServer
from giq.engine.pace import ADAPTER_SHARE
from giq.engine.simulation import simulate
from giq.engine.spec import EngineSpec
from giq.engine.steady_state import SteadyState
from giq.workload.schedule import Schedule, make_schedule
from giq.workload.workload import ClosedLoad, Load, OpenLoad, Stop
from tests.engine.engines import engine, split, unit, work
from tests.engine.serving import events, served

SHAPES: dict[str, Callable[[], EngineSpec]] = {
    "two replicas": lambda: unit(replicas=2),
    "data parallel": lambda: unit(dp=3, accelerators_per_host=3),
    "mixture over ranks": lambda: unit(model="mixture-20b", dp=2, ep=2, accelerators_per_host=2),
    "tensor and pipeline": lambda: unit(tp=2, pp=2, accelerators_per_host=4),
    "two hosts": lambda: unit(tp=2, hosts=2),
    "slice of hosts": lambda: unit(accelerator="tensor", tp=4, accelerators_per_host=2, hosts=2),
    "adapters": lambda: unit(adapters=8),
    "prefill and decode": lambda: split(),
    "three prefills": lambda: split(prefills=3),
    "full cache": lambda: unit(dp=2, accelerators_per_host=2, engine_args={"num_gpu_blocks_override": 200}),
    "split, full cache": lambda: split({"num_gpu_blocks_override": 200}),
}


def closed(requests: int = 50, concurrency: int = 12, seed: int = 1) -> Schedule:
    """A closed loop."""
    return make_schedule(work(), ClosedLoad(concurrency=concurrency), Stop(requests=requests), seed)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("load", [ClosedLoad(concurrency=12), OpenLoad(rate_rps=30.0)], ids=["closed", "open"])
def test_every_request_gets_its_tokens_whatever_the_shape(shape: str, load: Load) -> None:
    """The tokens asked for, in order, with gaps that add up; twice the same records; the cache ends empty."""
    schedule = make_schedule(work(), load, Stop(requests=50), seed=4)
    run, again = (simulate(SHAPES[shape](), schedule) for _ in range(2))
    requests = run.requests
    assert np.array_equal(requests.output_tokens, schedule.output_tokens)
    assert np.array_equal(np.diff(requests.gap_offsets), requests.output_tokens - 1)
    assert (requests.first_token_ns > requests.sent_ns).all()
    for index in range(len(requests)):
        gaps = requests.gaps_ns[requests.gap_offsets[index] : requests.gap_offsets[index + 1]]
        assert gaps.sum() == requests.last_token_ns[index] - requests.first_token_ns[index]
        assert (gaps > 0).all()
    assert np.array_equal(requests.end_ns, again.requests.end_ns)
    end = int(requests.end_ns.max())
    assert run.statistics(end + 1, end + 2).kv_usage_max == 0.0


@given(st.integers(1, 60), st.integers(0, 99))
@settings(max_examples=15, deadline=None)
def test_two_replicas_in_turn_are_two_servers(requests: int, seed: int) -> None:
    """In open loop each gets every second request and serves it as it would alone."""
    schedule = make_schedule(work(), OpenLoad(rate_rps=20.0), Stop(requests=2 * requests), seed)
    spec = unit(replicas=2)
    free = unit()
    assert schedule.arrival_ns is not None
    run = simulate(spec, schedule).requests
    for turn in range(2):
        alone = Schedule(
            schedule.load,
            seed,
            schedule.arrival_ns[turn::2],
            schedule.input_tokens[turn::2],
            schedule.output_tokens[turn::2],
            None,
        )
        if spec.calibration.prompt_token_s == 0.0:
            assert np.abs(run.end_ns[turn::2] - simulate(free, alone).requests.end_ns).max() <= 2
    assert len(run) == 2 * requests


def test_twice_the_cores_serve_twice_the_requests() -> None:
    """At saturation throughput doubles, whatever shares the load out."""
    single = simulate(unit(), closed(200, 32)).requests.end_ns.max()
    for spec in (
        unit(replicas=2),
        unit(dp=2, accelerators_per_host=2),
        unit(replicas=2, router="least-loaded"),
        unit(dp=2, accelerators_per_host=2, router="round-robin"),
    ):
        double = simulate(spec, closed(400, 64)).requests.end_ns.max()
        assert double == pytest.approx(single, rel=0.15)
        assert SteadyState.of(spec, closed()).highest_rps == pytest.approx(
            2 * SteadyState.of(unit(), closed()).highest_rps, rel=0.02
        )


def test_one_at_a_time_through_two_pools_is_the_closed_form() -> None:
    """TTFT is the prompt's alone, its KV's way over the link, and one step of decoding; then it decodes as ever."""
    whole, parted = simulate(engine(), closed(10, 1)).requests, split({"kv_transfer_gb_s": 2})
    requests = simulate(parted, closed(10, 1)).requests
    kv_bytes = 2 * 32 * 8 * 128 * 2.0
    assert parted.transfer_token_s == pytest.approx(kv_bytes / 2e9)
    moved = (requests.first_token_ns - requests.sent_ns) - (whole.first_token_ns - whole.sent_ns)
    link = closed(10, 1).input_tokens * parted.transfer_token_s * 1e9
    step = moved - link
    assert (step > 4e6).all()
    assert (step < 9e6).all()
    tpot = (requests.last_token_ns - requests.first_token_ns) / (whole.last_token_ns - whole.first_token_ns)
    assert tpot == pytest.approx(1.0, rel=0.01)


def test_prompts_of_others_do_not_disturb_decoding_in_a_pool_of_its_own() -> None:
    """The slowest gaps between tokens are far shorter than where both share the accelerator."""
    schedule = make_schedule(work(2048, 64), ClosedLoad(concurrency=8), Stop(requests=60), seed=1)
    together, apart = (
        np.quantile(simulate(spec, schedule).requests.gaps_ns, 0.99) for spec in (engine(), split(prefills=2))
    )
    assert apart < together / 2


def test_adapters_cost_their_share() -> None:
    """Every step is longer by it."""
    plain, adapted = (simulate(spec, closed()).requests for spec in (unit(), unit(adapters=4)))
    gaps = adapted.gaps_ns.mean() / plain.gaps_ns.mean()
    assert gaps == pytest.approx(1 + ADAPTER_SHARE, rel=0.03)


def test_ranks_on_two_hosts_talk_over_the_slower_link() -> None:
    """Two GPUs of one host are faster than one of each of two, on TPUs they are as fast."""
    near, far = unit(tp=2, accelerators_per_host=2), unit(tp=2, hosts=2)
    assert ended(far) > ended(near)
    near = unit(accelerator="tensor", tp=4, accelerators_per_host=4)
    far = unit(accelerator="tensor", tp=4, accelerators_per_host=2, hosts=2)
    assert ended(far) == ended(near)


def ended(spec: EngineSpec) -> int:
    """When a closed loop has been served, in ns."""
    return int(simulate(spec, closed()).requests.end_ns.max())


@pytest.mark.parametrize("shape", ["two replicas", "prefill and decode"])
def test_over_http_several_cores_answer(shape: str) -> None:
    """All tokens of all requests, metrics of every core, and nothing left behind."""

    async def ask_all(server: EngineServer, session: aiohttp.ClientSession) -> tuple[list[int], str]:
        async def ask(number: int) -> int:
            body = {"prompt": [number] * 50, "max_tokens": 20, "ignore_eos": True, "stream": True}
            async with session.post(server.url + "/v1/completions", json=body) as answer:
                return sum('"index":0' in event for event in events(await answer.text()))

        counts = await asyncio.gather(*map(ask, range(6)))
        async with session.get(server.url + "/metrics") as answer:
            page = await answer.text()
        assert server.engine.idle
        return list(counts), page

    counts, page = served(ask_all, SHAPES[shape]())
    assert counts == [20] * 6
    for engine_index in "01":
        assert f'vllm:num_requests_running{{engine="{engine_index}"' in page
    done = [line for line in page.splitlines() if line.startswith("vllm:request_success_total") and "length" in line]
    assert sum(float(line.split()[-1]) for line in done) == 6
