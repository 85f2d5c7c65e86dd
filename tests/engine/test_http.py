"""The engine over HTTP on loopback: vLLM's bytes, its errors, its metrics, and the right times."""

from __future__ import annotations

import asyncio
import json
import re
import signal
import subprocess
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, TypeVar

import aiohttp
import numpy as np
import pytest
from prometheus_client.parser import text_string_to_metric_families

from giq import __version__
from giq.catalog import ServingConfiguration
from giq.documents import decode_json
from giq.engine.http_server import EngineServer
from giq.engine.simulation import simulate
from giq.engine.spec import EngineSpec
from giq.errors import ServerError
from giq.workload.schedule import Schedule
from giq.workload.workload import OpenLoad
from tests.engine.engines import config, engine

T = TypeVar("T")
ROOT = Path(__file__).parents[2]
SAMPLE = ROOT / "tests" / "vllm" / "samples" / "completion_stream.bin"
USAGE = {"include_usage": True, "continuous_usage_stats": True}
Work = Callable[[EngineServer, aiohttp.ClientSession], Awaitable[T]]


def served(work: Work[T], spec: EngineSpec | None = None) -> T:
    """Start a server, let *work* talk to it, and stop it."""

    async def run() -> T:
        async with EngineServer(spec or engine(), "127.0.0.1", 0) as server, aiohttp.ClientSession() as session:
            return await work(server, session)

    return asyncio.run(run())


def posted(path: str, *bodies: dict[str, Any], spec: EngineSpec | None = None) -> list[tuple[int, str]]:
    """Status and text of the answers to *bodies*, one after the other."""

    async def work(server: EngineServer, session: aiohttp.ClientSession) -> list[tuple[int, str]]:
        answers = []
        for body in bodies:
            async with session.post(server.url + path, json=body) as answer:
                answers.append((answer.status, await answer.text()))
        return answers

    return served(work, spec)


def events(text: str) -> list[str]:
    """The data of each server-sent event; nothing else may be in *text*."""
    parts = text.split("\n\n")
    assert parts.pop() == ""
    assert all(part.startswith("data: ") for part in parts)
    return [part.removeprefix("data: ") for part in parts]


def chunks(body: bytes) -> list[str]:
    """The chunks of a body in HTTP's chunked encoding, which must end as it should."""
    found: list[str] = []
    while True:
        size, _, body = body.partition(b"\r\n")
        length = int(size, 16)
        assert body[length : length + 2] == b"\r\n"
        if not length:
            assert body == b"\r\n"
            return found
        found.append(body[:length].decode())
        body = body[length + 2 :]


def skeleton(event: str) -> str:
    """*event* without the values that differ from request to request."""
    event = re.sub(r'"(id|model|text|system_fingerprint)":"(?:[^"\\]|\\.)*"', r'"\1":"_"', event)
    event = re.sub(r'"created":\d+', '"created":0', event)
    return re.sub(r"\[\d+(,\d+)*\]", lambda found: f"[{found[0].count(',') + 1} ids]", event)


async def raw_post(server: EngineServer, body: dict[str, Any]) -> tuple[bytes, bytes]:
    """Head and body of one answer as they come off the socket."""
    host, port = server.url.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    data = json.dumps(body).encode()
    writer.write(b"POST /v1/completions HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n")
    writer.write(b"Connection: close\r\nContent-Length: %d\r\n\r\n%b" % (len(data), data))
    answer = await reader.read()
    writer.close()
    await writer.wait_closed()
    head, _, rest = answer.partition(b"\r\n\r\n")
    return head, rest


def test_a_stream_has_the_bytes_of_a_real_vllm() -> None:
    """Chunk by chunk the same as a recorded answer of vLLM 0.32, but for ids, texts and times."""
    body = {
        "prompt": list(range(6, 22)),
        "max_tokens": 12,
        "min_tokens": 12,
        "ignore_eos": True,
        "stream": True,
        "stream_options": USAGE,
        "return_token_ids": True,
    }
    head, answer = served(lambda server, _: raw_post(server, body))
    assert head.startswith(b"HTTP/1.1 200 OK")
    assert b"text/event-stream; charset=utf-8" in head
    assert b"transfer-encoding: chunked" in head.lower()
    recorded = chunks(SAMPLE.read_bytes())
    assert [skeleton(chunk) for chunk in chunks(answer)] == [skeleton(chunk) for chunk in recorded]


def test_a_stream_without_usage_has_none() -> None:
    """No usage in any event, token ids null, and the last token's event has the fingerprint."""
    [(_, text)] = posted("/v1/completions", {"prompt": "some text", "max_tokens": 3, "stream": True})
    *tokens, done = events(text)
    assert done == "[DONE]"
    assert len(tokens) == 3
    assert all('"usage"' not in token and '"token_ids":null' in token for token in tokens)
    assert [json.loads(token).get("system_fingerprint") is None for token in tokens] == [True, True, False]


def test_a_chat_stream_begins_with_the_role() -> None:
    """The first event has the role and no token, the next ones text, the last the reason; then usage."""
    body = {"messages": [{"role": "user", "content": "hello"}], "max_tokens": 4, "stream": True}
    [(_, text)] = posted("/v1/chat/completions", {**body, "stream_options": USAGE})
    role, *tokens, counted, done = events(text)
    assert done == "[DONE]"
    assert skeleton(role).startswith(
        '{"id":"_","object":"chat.completion.chunk","created":0,"model":"_","choices":[{"index":0,'
        '"delta":{"role":"assistant","content":""},"logprobs":null,"finish_reason":null}],"usage":{'
    )
    assert json.loads(role)["usage"]["completion_tokens"] == 0
    parts = [json.loads(token) for token in tokens]
    assert [part["choices"][0]["finish_reason"] for part in parts] == [None, None, None, "length"]
    assert [part["usage"]["completion_tokens"] for part in parts] == [1, 2, 3, 4]
    assert all(part["choices"][0]["delta"]["content"] for part in parts)
    assert json.loads(counted)["choices"] == []


def test_whole_answers() -> None:
    """Not streamed: text, usage, and the same tokens that a stream of the same prompt has."""
    body = {"prompt": [7, 8, 9], "max_tokens": 5, "ignore_eos": True, "return_token_ids": True}
    [(status, text), (_, streamed)] = posted("/v1/completions", body, {**body, "stream": True})
    answer = json.loads(text)
    assert status == 200
    assert answer["object"] == "text_completion"
    assert answer["usage"] == {
        "prompt_tokens": 3,
        "total_tokens": 8,
        "completion_tokens": 5,
        "prompt_tokens_details": None,
    }
    pieces = [json.loads(event)["choices"][0] for event in events(streamed)[:-1]]
    assert answer["choices"][0]["text"] == "".join(piece["text"] for piece in pieces)
    assert answer["choices"][0]["token_ids"] == [piece["token_ids"][0] for piece in pieces]


def test_several_prompts_are_several_choices() -> None:
    """A list of prompts, and `n` answers to each; usage is of all."""
    body = {"prompt": [[1, 2], [3, 4, 5]], "n": 2, "max_tokens": 3, "ignore_eos": True}
    streamed = {**body, "stream": True, "stream_options": {"include_usage": True}}
    [(_, whole), (_, text)] = posted("/v1/completions", body, streamed)
    answer = json.loads(whole)
    assert [choice["index"] for choice in answer["choices"]] == [0, 1, 2, 3]
    assert answer["usage"]["completion_tokens"] == 12
    *tokens, counted, _ = events(text)
    given = [json.loads(token)["choices"][0]["index"] for token in tokens]
    assert sorted(given) == sorted([0, 1, 2, 3] * 3)
    assert json.loads(counted)["usage"]["total_tokens"] == 12 + 10


def test_an_answer_may_end_of_its_own_accord() -> None:
    """Without `ignore_eos` the model stops somewhere, not before `min_tokens`; chat may fill the context."""
    ask = {"messages": [{"role": "user", "content": "hi"}]}
    spec = engine(max_num_seqs=16, accelerator="big", tp=8)
    [(_, free), (_, least)] = posted("/v1/chat/completions", ask, {**ask, "min_tokens": 600}, spec=spec)
    stopped, forced = json.loads(free), json.loads(least)
    assert stopped["choices"][0]["finish_reason"] == "stop"
    assert 32 <= stopped["usage"]["completion_tokens"] < 512
    assert forced["usage"]["completion_tokens"] == 600


@pytest.mark.parametrize(
    ("body", "status", "kind", "words"),
    [
        ({"prompt": "x", "model": "nope"}, 404, "NotFoundError", "The model `nope` does not exist. Valid aliases: "),
        ({"prompt": [1] * 8193}, 400, "BadRequestError", "maximum context length is 8192 tokens"),
        ({"prompt": [1] * 8192}, 400, "BadRequestError", "max_tokens must be at least 1, got 0."),
        ({"prompt": [1] * 8000, "max_tokens": 200, "min_tokens": 200}, 400, "BadRequestError", "max_tokens=192, got 2"),
        ({"prompt": [1], "max_tokens": 0}, 400, "BadRequestError", "max_tokens must be at least 1, got 0."),
        ({"prompt": [1], "max_tokens": "4"}, 400, "BadRequestError", "max_tokens must be a whole number"),
        ({"prompt": ""}, 400, "BadRequestError", "non-empty"),
        ({}, 400, "BadRequestError", "non-empty"),
        ({"prompt": [128256]}, 400, "BadRequestError", "Token id 128256 is out of vocabulary"),
        ({"prompt": "x", "stream_options": {"include_usage": True}}, 400, "BadRequestError", "`stream=True`"),
    ],
)
def test_refusals_are_those_of_vllm(body: dict[str, Any], status: int, kind: str, words: str) -> None:
    """Status, type and message in vLLM's error object."""
    [(found, text)] = posted("/v1/completions", body)
    error = json.loads(text)["error"]
    assert (found, error["code"], error["type"]) == (status, status, kind)
    assert words in error["message"]
    assert "param" in error


def test_what_is_longer_than_the_context_is_cut() -> None:
    """As in vLLM: too many `max_tokens` without `min_tokens` are cut in silence to what the context has left."""
    [(status, text)] = posted("/v1/completions", {"prompt": [1] * 8190, "max_tokens": 200, "ignore_eos": True})
    assert status == 200
    assert json.loads(text)["usage"]["completion_tokens"] == 2


def test_an_unknown_id_in_a_stream_is_an_error_event() -> None:
    """The status was sent before the ids are looked at."""
    [(status, text)] = posted("/v1/completions", {"prompt": [128256], "stream": True})
    assert status == 200
    error, done = events(text)
    assert error.startswith('{"error": {"message": "Token id 128256 is out of vocabulary", "type": "BadRequestError"')
    assert done == "[DONE]"


def test_wrong_paths_methods_and_bodies() -> None:
    """The framework's own errors have `detail`; a body that is no JSON object is a bad request."""

    async def work(server: EngineServer, session: aiohttp.ClientSession) -> list[tuple[int, Any]]:
        answers = []
        for method, path, data in (
            ("GET", "/nope", b""),
            ("GET", "/v1/completions", b""),
            ("POST", "/v1/completions", b"[1"),
            ("POST", "/detokenize", b'{"tokens":[-1]}'),
        ):
            async with session.request(method, server.url + path, data=data) as answer:
                answers.append((answer.status, json.loads(await answer.text())))
        return answers

    missing, method, broken, negative = served(work)
    assert missing == (404, {"detail": "Not Found"})
    assert method == (405, {"detail": "Method Not Allowed"})
    assert broken[0] == negative[0] == 400
    assert "not a JSON object" in broken[1]["error"]["message"]


def test_it_announces_itself() -> None:
    """Server header, version, models and health; the configuration is told whole, so that it can be recognised."""

    async def work(server: EngineServer, session: aiohttp.ClientSession) -> list[tuple[str, str]]:
        answers = []
        for path in ("/version", "/v1/models", "/health"):
            async with session.get(server.url + path) as answer:
                assert answer.status == 200
                answers.append((answer.headers["Server"], await answer.text()))
        return answers

    version, models, health = served(work)
    assert {header for header, _ in (version, models, health)} == {f"giq-engine/{__version__}"}
    told = json.loads(version[1])
    assert told["version"] == "0.32.0"
    assert told["giq_engine"]["calibration_id"] == "prior-gpu-1"
    announced = decode_json(json.dumps(told["giq_engine"]["config"]), ServingConfiguration, "/version")
    assert announced == config()
    cards = json.loads(models[1])["data"]
    assert [card["id"] for card in cards] == ["dense-8b", "org/Dense-8B"]
    assert cards[0]["max_model_len"] == 8192
    assert health[1] == ""


def test_text_and_tokens_agree() -> None:
    """`/tokenize` of generated text gives the tokens, `/detokenize` of tokens the text; four bytes each."""

    async def work(server: EngineServer, session: aiohttp.ClientSession) -> None:
        async def post(path: str, body: dict[str, Any]) -> dict[str, Any]:
            async with session.post(server.url + path, json=body) as answer:
                found: dict[str, Any] = json.loads(await answer.text())
                return found

        body = {"prompt": "twelve bytes", "max_tokens": 6, "ignore_eos": True, "return_token_ids": True}
        answer = await post("/v1/completions", body)
        choice = answer["choices"][0]
        assert answer["usage"]["prompt_tokens"] == 3
        tokens = await post("/tokenize", {"prompt": choice["text"], "return_token_strs": True})
        assert tokens["tokens"] == choice["token_ids"]
        assert tokens["count"] == 6
        assert "".join(tokens["token_strs"]) == choice["text"]
        assert (await post("/detokenize", {"tokens": tokens["tokens"]}))["prompt"] == choice["text"]
        chat = await post("/tokenize", {"messages": [{"role": "user", "content": [{"type": "text", "text": "abcd"}]}]})
        assert chat["max_model_len"] == 8192

    served(work)


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
        during = await scraped(server, session)
        assert during["vllm:num_requests_running", ""] == 2
        assert during["vllm:num_requests_waiting", ""] == 1
        assert during["vllm:kv_cache_usage_perc", ""] > 0
        for answer in answers:
            answer.close()
        for _ in range(100):
            await asyncio.sleep(0.02)
            if server.engine.scheduler.idle:
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

    async def work(server: EngineServer, session: aiohttp.ClientSession) -> list[list[float]]:
        bodies = [
            {"prompt": [5] * prompt, "max_tokens": output, "ignore_eos": True, "stream": True}
            for prompt, output in zip(prompts, outputs, strict=True)
        ]
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(streamed_times(server, session, body)) for body in bodies]
        return [task.result() for task in tasks]

    found = served(work, spec)
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
            loop.call_later(delay, lambda: __import__("time").sleep(0.04))
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
