"""The packaged exact server as a process of its own: on time, honest about its lateness, and no model server."""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import json
import subprocess
import sys
from collections.abc import Iterator

import pytest

from giq.errors import ServerError
from giq.load.endpoint import Endpoint
from giq.load.exact_process import Truth, exact_process
from giq.load.exact_server import Lateness
from giq.load.inspection import inspect
from tests.load.jobs import on_loop


@contextlib.contextmanager
def served(*words: str) -> Iterator[tuple[http.client.HTTPConnection, subprocess.Popen[str]]]:
    """The server, with a connection to it."""
    command = [sys.executable, "-m", "giq.load.exact_server", "--share-core", *words]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        host = process.stdout.readline().strip().removeprefix("http://")
        connection = http.client.HTTPConnection(host, timeout=20)
        try:
            yield connection, process
        finally:
            connection.close()
            process.terminate()


def ask(connection: http.client.HTTPConnection, tokens: int, prefix: str = "") -> list[dict[str, object]]:
    """The events of one completion."""
    body = {"model": "giq-exact", "prompt": [5, 6, 7], "max_tokens": tokens, "stream": True}
    connection.request("POST", f"{prefix}/v1/completions", json.dumps(body))
    lines = connection.getresponse().read().decode().strip().split("\n\n")
    assert lines[-1] == "data: [DONE]"
    return [json.loads(line.removeprefix("data: ")) for line in lines[:-1]]


def test_it_sends_what_is_asked_for_and_counts_as_vllm_does() -> None:
    """As many tokens as asked for, the usage so far in each chunk, and the reason in the last."""
    with served("--first", "5ms", "--gap", "1ms") as (connection, _):
        for tokens in (1, 7):
            events = ask(connection, tokens)
            counts = [event["usage"] for event in events]
            assert counts == [
                {"prompt_tokens": 3, "total_tokens": 3 + n, "completion_tokens": n} for n in range(1, tokens + 1)
            ]
            reasons = [event["choices"][0]["finish_reason"] for event in events]  # type: ignore[index]
            assert reasons == [None] * (tokens - 1) + ["length"]


def test_no_token_is_early_and_a_late_one_delays_no_other() -> None:
    """Every token is written at or after its own time from the request's arrival, and the lateness told is that."""

    async def work() -> Truth:
        async with exact_process(None) as server:
            reader, writer = await asyncio.open_connection("127.0.0.1", int(server.url.rpartition(":")[2]))
            body = json.dumps({"prompt": list(range(20)), "max_tokens": 50, "stream": True})
            head = f"POST /30ms/4ms/v1/completions HTTP/1.1\r\nContent-Length: {len(body)}\r\n\r\n"
            writer.write((head + body).encode())
            await reader.readuntil(b"0\r\n\r\n")
            writer.close()
            return await server.truth()

    truth = on_loop(work)
    (answer,) = truth.requests
    late = [
        written - answer.arrived_ns - (30 + 4 * number) * 1_000_000 for number, written in enumerate(answer.written_ns)
    ]
    assert answer.key == tuple(range(8))
    assert len(late) == truth.lateness.tokens == 50
    assert min(late) >= 0
    assert truth.lateness.late_max_s == pytest.approx(max(late) / 1e9)
    assert truth.lateness.late_p50_s * 1e9 == pytest.approx(sorted(late)[24], abs=20_000)


def test_its_lateness_is_told_when_it_stops() -> None:
    """GET /lateness, and the last line of stdout after SIGTERM, hold tokens and percentiles."""
    with served("--first", "1ms", "--gap", "1ms") as (connection, process):
        ask(connection, 20)
        connection.request("GET", "/lateness")
        told = json.loads(connection.getresponse().read())
        process.terminate()
        last = json.loads(process.communicate(timeout=20)[0].splitlines()[-1])
    assert told == last
    assert told["tokens"] == 20
    assert 0 <= told["late_p50_s"] <= told["late_p99_s"] <= told["late_max_s"]


def test_it_ends_with_who_started_it() -> None:
    """With --until-eof the server ends when the pipe from its parent is closed, however that ended."""
    with served("--until-eof") as (_, process):
        assert process.stdin is not None
        process.stdin.close()
        assert process.wait(20) == 0


@pytest.mark.parametrize(
    ("method", "path", "body", "status"),
    [
        ("GET", "/nothing", "", 404),
        ("GET", "/writes", "", 404),
        ("POST", "/v1/completions", "{", 400),
        ("POST", "/v1/completions", '{"prompt": [1], "max_tokens": 3}', 400),
        ("POST", "/v1/completions", '{"stream": true}', 400),
        ("POST", "/soon/later/v1/completions", '{"stream": true, "prompt": "a b"}', 400),
    ],
)
def test_what_it_does_not_do_it_refuses(method: str, path: str, body: str, status: int) -> None:
    """Malformed, unstreamed and unknown requests get an error, and the connection goes on."""
    with served("--first", "1ms", "--gap", "1ms") as (connection, _):
        connection.request(method, path, body)
        reply = connection.getresponse()
        assert (reply.status, "error" in json.loads(reply.read())) == (status, True)
        assert len(ask(connection, 2)) == 2


def test_it_is_never_taken_for_a_model_server() -> None:
    """Whoever is about to profile it is told what it is."""
    with served() as (connection, _):
        url = f"http://{connection.host}:{connection.port}"
        with pytest.raises(ServerError, match="exact server"):
            on_loop(lambda: inspect(Endpoint(url)))


def test_lateness_is_never_told_too_small() -> None:
    """A percentile is the upper edge of its bucket, and no more than the worst."""
    lateness = Lateness()
    for late_us in (0, 5, 15, 999, 2_000_000):
        lateness.note(late_us * 1000)
    assert lateness.told() == {"tokens": 5, "late_p50_s": 2e-5, "late_p99_s": 2.0, "late_max_s": 2.0}
