"""The engine over HTTP on loopback: its metrics, its times, and how it ends."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
import time
from typing import Any

import aiohttp
import numpy as np
import pytest
from prometheus_client.parser import text_string_to_metric_families

from giq.engine.http_server import EngineServer
from giq.engine.simulation import simulate
from giq.errors import ServerError
from giq.workload.schedule import Schedule
from giq.workload.workload import OpenLoad
from tests.engine.engines import engine
from tests.engine.serving import ROOT, served


async def scraped(server: EngineServer, session: aiohttp.ClientSession) -> dict[tuple[str, str], float]:
    """The samples of `/metrics` by name and the label that tells them apart."""
    async with session.get(server.url + "/metrics") as answer:
        text = await answer.text()
    samples = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            samples[sample.name, sample.labels.get("finished_reason") or sample.labels.get("le", "")] = sample.value
    return samples


def test_metrics_count_what_was_done() -> None:
    """Under vLLM's names: requests by reason, tokens, and histograms that add up."""

    async def work(server: EngineServer, session: aiohttp.ClientSession) -> dict[tuple[str, str], float]:
        async def ask(prompt: int) -> None:
            body = {"prompt": [5] * prompt, "max_tokens": 10, "ignore_eos": True, "stream": True}
            async with session.post(server.url + "/v1/completions", json=body) as answer:
                await answer.read()

        await asyncio.gather(*(ask(20 + number) for number in range(8)))
        return await scraped(server, session)

    samples = served(work)
    assert samples["vllm:request_success_total", "length"] == 8
    assert samples["vllm:request_success_total", "abort"] == 0
    assert samples["vllm:prompt_tokens_total", ""] == sum(20 + number for number in range(8))
    assert samples["vllm:prefix_cache_queries_total", ""] == samples["vllm:prompt_tokens_total", ""]
    assert samples["vllm:generation_tokens_total", ""] == 80
    assert samples["vllm:inter_token_latency_seconds_count", ""] == 72
    assert samples["vllm:time_to_first_token_seconds_count", ""] == 8
    assert samples["vllm:time_to_first_token_seconds_bucket", "+Inf"] == 8
    assert samples["vllm:time_to_first_token_seconds_bucket", "0.005"] == 0
    assert samples["vllm:e2e_request_latency_seconds_count", ""] == 8
    assert 0 < samples["vllm:time_to_first_token_seconds_sum", ""] < samples["vllm:e2e_request_latency_seconds_sum", ""]
    assert samples["vllm:num_requests_running", ""] == samples["vllm:num_requests_waiting", ""] == 0
    assert samples["vllm:kv_cache_usage_perc", ""] == 0
    assert samples["giq_engine_info", ""] == 1


def test_metric_names_are_those_of_the_version() -> None:
    """Every sample of ours under `vllm:` is in the page recorded from vLLM 0.32, with the same labels."""
    recorded = (ROOT / "tests" / "vllm" / "samples" / "metrics.txt").read_text()

    async def work(server: EngineServer, session: aiohttp.ClientSession) -> str:
        async with session.get(server.url + "/metrics") as answer:
            return await answer.text()

    def names(text: str) -> set[tuple[str, tuple[str, ...]]]:
        families = text_string_to_metric_families(text)
        return {(sample.name, tuple(sorted(sample.labels))) for family in families for sample in family.samples}

    ours = {item for item in names(served(work)) if item[0].startswith("vllm:")}
    assert len(ours) > 20
    assert ours <= names(recorded)


def test_a_client_that_hangs_up_frees_its_place() -> None:
    """Whether it waits or is being answered: its blocks and its place are free soon, and no reason counts it."""

    async def work(server: EngineServer, session: aiohttp.ClientSession) -> dict[tuple[str, str], float]:
        body = {"prompt": [5] * 100, "max_tokens": 5000, "ignore_eos": True, "stream": True}
        answers = [await session.post(server.url + "/v1/completions", json=body) for _ in range(3)]
        await answers[0].content.readany()
        for _ in range(100):  # each gets in after its own cost
            during = await scraped(server, session)
            if during["vllm:num_requests_waiting", ""]:
                break
        assert during["vllm:num_requests_running", ""] == 2
        assert during["vllm:num_requests_waiting", ""] == 1
        assert during["vllm:kv_cache_usage_perc", ""] > 0
        for answer in answers:
            answer.close()
        for _ in range(100):
            await asyncio.sleep(0.02)
            if server.engine.idle:
                break
        return await scraped(server, session)

    samples = served(work, engine(max_num_seqs=2))
    assert samples["vllm:num_requests_running", ""] == samples["vllm:num_requests_waiting", ""] == 0
    assert samples["vllm:kv_cache_usage_perc", ""] == 0
    assert {samples["vllm:request_success_total", reason] for reason in ("length", "stop", "abort")} == {0}
    assert samples["vllm:generation_tokens_total", ""] > 0


async def streamed_times(server: EngineServer, session: aiohttp.ClientSession, body: dict[str, Any]) -> list[float]:
    """When the request was sent and when each of its tokens came."""
    clock = asyncio.get_running_loop().time
    times = [clock()]
    async with session.post(server.url + "/v1/completions", json=body) as answer:
        async for line in answer.content:
            times += [clock()] * line.count(b'"index":0')
    return times


def test_real_time_is_virtual_time() -> None:
    """Sixteen requests at once: TTFT and TPOT on the wall clock are those of the simulation."""
    spec = engine(accelerator="big", max_num_seqs=12)
    prompts, outputs = [400 + 50 * number for number in range(16)], [30 + number for number in range(16)]
    schedule = Schedule(
        load=OpenLoad(rate_rps=1.0),
        seed=0,
        arrival_ns=np.zeros(16, dtype=np.int64),
        input_tokens=np.array(prompts, dtype=np.int32),
        output_tokens=np.array(outputs, dtype=np.int32),
        duration_ns=None,
    )
    expected = simulate(spec, schedule).requests

    async def work(server: EngineServer, session: aiohttp.ClientSession) -> tuple[list[list[float]], float]:
        bodies = [
            {"prompt": [number] * prompt, "max_tokens": output, "ignore_eos": True, "stream": True}
            for number, (prompt, output) in enumerate(zip(prompts, outputs, strict=True))
        ]
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(streamed_times(server, session, body)) for body in bodies]
        return [task.result() for task in tasks], server.engine.lag_s

    for _ in range(4):  # on a machine too busy to keep any clock: again
        found, lag = served(work, spec)
        if lag < 0.02:
            break
    assert [len(times) - 1 for times in found] == outputs
    tpot = [(times[-1] - times[1]) / (len(times) - 2) for times in found]
    virtual = (expected.last_token_ns - expected.first_token_ns) / 1e9 / (expected.output_tokens - 1)
    assert np.median(tpot) == pytest.approx(float(np.median(virtual)), rel=0.2)
    latest = max(times[-1] for times in found) - min(times[0] for times in found)
    assert latest == pytest.approx(expected.end_ns.max() / 1e9, rel=0.15)
    first = sorted(times[1] - times[0] for times in found)
    wanted = np.sort((expected.first_token_ns - expected.sent_ns) / 1e9)
    assert np.median(first) == pytest.approx(float(np.median(wanted)), rel=0.3, abs=0.02)


def test_delays_do_not_add_up() -> None:
    """A loop that is blocked for a while catches up: the whole answer takes as long as planned."""
    spec = engine()
    body = {"prompt": [5] * 50, "max_tokens": 60, "ignore_eos": True, "stream": True}

    async def work(server: EngineServer, session: aiohttp.ClientSession) -> tuple[list[float], float]:
        loop = asyncio.get_running_loop()
        for delay in (0.1, 0.2):
            # the loop itself is to be blocked: that is what is tested
            loop.call_later(delay, time.sleep, 0.04)
        return await streamed_times(server, session, body), server.engine.lag_s

    times, lag = served(work, spec)
    assert 0.02 < lag < 1
    per_token = 6.6e-3
    assert times[-1] - times[1] == pytest.approx(59 * per_token, rel=0.15)


def test_a_taken_port_is_a_clear_error() -> None:
    """The message has the address and what to do."""

    async def run() -> None:
        async with EngineServer(engine(), "127.0.0.1", 0) as server:
            port = int(server.url.rpartition(":")[2])
            with pytest.raises(ServerError, match=f"cannot listen on 127.0.0.1:{port}"):
                async with EngineServer(engine(), "127.0.0.1", port):
                    pass

    asyncio.run(run())


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signals_end_it_in_good_order(number: signal.Signals) -> None:
    """It tells its URL when it is ready, and a signal ends it with exit code 0 and nothing on stderr."""
    script = (
        "from functools import partial; from giq.engine.http_server import run_server; "
        "from tests.engine.engines import engine; "
        "run_server(engine(), '127.0.0.1', 0, partial(print, flush=True))"
    )
    with subprocess.Popen(
        [sys.executable, "-c", script], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        url = process.stdout.readline()
        assert url.startswith("http://127.0.0.1:")
        process.send_signal(number)
        _, errors = process.communicate(timeout=20)
    assert (process.returncode, errors) == (0, "")
