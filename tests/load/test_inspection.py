"""What is found out about a server before any load, and how one that cannot be used is refused."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from typing import Any

import pytest

from giq.curve.requests import Record
from giq.errors import ServerError
from giq.load.client import run_load
from giq.load.endpoint import Api, Endpoint, Secret
from giq.load.identity import FULL_FORM
from giq.load.inspection import ServerIdentity, inspect
from tests.load.exact_server import METRIC_NAMES, Behaviour, ExactServer
from tests.load.jobs import Heard, closed, job, on_loop


def inspected(
    url: Callable[[ExactServer], str] = lambda exact: exact.url, api: Api = "completions", **server: Any
) -> tuple[ServerIdentity, ExactServer]:
    """What is found out about an exact server made with these options."""

    async def work() -> tuple[ServerIdentity, ExactServer]:
        async with ExactServer(**server) as exact:
            return await inspect(Endpoint(url(exact), api=api)), exact

    return on_loop(work)


def test_a_vllm_is_recognised() -> None:
    """Version, model, context, metrics, token ids, full form and an idle server are all found, with two requests."""
    found, exact = inspected()

    assert (found.server, found.version, found.model, found.max_model_len) == ("vllm", "0.32.0", "exact-model", 4096)
    assert found.models == ("exact-model",)
    assert found.metrics
    assert found.metric_names == METRIC_NAMES
    assert found.busy == 0
    assert found.simulated is None
    assert found.accepts_token_ids
    assert found.alphabet is not None
    assert len(found.alphabet) > 500
    assert found.fields == FULL_FORM
    assert not found.tells_token_ids
    assert 0 < found.rtt_s < 0.1
    assert len(exact.seen) == 2


@pytest.mark.parametrize("path", ["", "/", "/v1", "/v1/"])
def test_the_address_may_end_in_v1(path: str) -> None:
    """People give the address with and without the version; both mean the same server."""
    assert inspected(lambda exact: exact.url + path)[0].model == "exact-model"


@pytest.mark.parametrize(
    ("announced", "expected"),
    [
        ({"version": {"version": "0.32.0", "giq_engine": {"accelerator": "nvidia-l4"}}}, {"accelerator": "nvidia-l4"}),
        ({"server_header": "giq-engine/0.1.0"}, {"version": "0.1.0"}),
        ({"extra_metrics": 'giq_engine_info{version="0.1.0"} 1.0\n'}, {}),
    ],
)
def test_the_simulated_engine_is_recognised_by_any_of_its_signs(announced: Any, expected: Any) -> None:
    """The version, the header or the metric alone is enough to know that nothing is measured here."""
    assert inspected(**announced)[0].simulated == expected


@pytest.mark.parametrize(
    ("refused", "kept"),
    [
        ({"cache_salt"}, FULL_FORM - {"cache_salt"}),
        ({"continuous_usage_stats", "cache_salt"}, FULL_FORM - {"continuous_usage_stats", "cache_salt"}),
        ({"min_tokens"}, {"ignore_eos", "seed", "stream_options"}),
        ({"min_tokens", "ignore_eos", "stream_options", "cache_salt", "seed"}, set()),
    ],
)
def test_a_server_that_refuses_fields_gets_fewer(refused: set[str], kept: set[str]) -> None:
    """What the server answers with a refusal is left out, and as much as it takes is kept."""
    assert inspected(refused_fields=frozenset(refused))[0].fields == kept


def test_token_ids_are_asked_for_where_usage_of_each_chunk_is_not_told() -> None:
    """A server with usage at the end only is also asked for token ids; this one does not give them, so no more."""
    found, exact = inspected(behave=lambda seen, number: Behaviour(usage="end"))

    assert exact.seen[-1].body["return_token_ids"] is True
    assert found.fields == FULL_FORM


def test_a_server_that_tells_its_answers_token_ids_is_known() -> None:
    """It is asked for them where a conversation needs them; where chunks tell their usage, not in every request."""
    found, _ = inspected(tells_ids=True)
    assert found.tells_token_ids
    assert "return_token_ids" not in found.fields

    ended, _ = inspected(tells_ids=True, behave=lambda seen, number: Behaviour(usage="end"))
    assert ended.tells_token_ids
    assert "return_token_ids" in ended.fields


@pytest.mark.parametrize(("api", "overhead"), [("completions", 0), ("chat", 2)])
def test_servers_of_text_get_words_of_one_token(api: Api, overhead: int) -> None:
    """Without token ids, prompts are made of words, with what the server adds to them taken into account."""

    async def work() -> tuple[ServerIdentity, list[Record]]:
        async with ExactServer(takes_ids=False) as exact:
            endpoint = Endpoint(exact.url, api=api)
            found = await inspect(endpoint)
            heard = Heard()
            await run_load(job(exact, closed(1, 3, input_tokens=9), endpoint=endpoint, identity=found), heard.hooks)
            return found, heard.records

    found, records = on_loop(work)
    assert not found.accepts_token_ids
    assert found.alphabet is None
    assert len(found.words) > 100
    assert found.overhead_tokens == overhead
    assert [record.input_tokens for record in records] == [9, 9, 9]
    assert {record.outcome for record in records} == {"ok"}


def test_a_server_without_tokenizer_gets_ids_if_it_takes_them() -> None:
    """Without /tokenize the ids are guessed among those that every large vocabulary has."""
    found, _ = inspected(with_tokenizer=False)

    assert found.accepts_token_ids
    assert found.alphabet is not None
    assert (found.alphabet.min(), found.alphabet.max()) == (300, 1299)


def test_an_id_refused_in_the_stream_is_a_refusal() -> None:
    """VLLM refuses an unknown id with status 200 and an error event: then the prompt is text."""
    refusal = (
        b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n"
        b'data: {"error": {"message": "out of vocabulary", "type": "BadRequestError", "code": 400}}\n\ndata: [DONE]\n\n'
    )
    found, _ = inspected(
        with_tokenizer=False,
        behave=lambda seen, number: Behaviour(raw=refusal if isinstance(seen.body["prompt"], list) else None),
    )
    assert not found.accepts_token_ids


def test_a_server_without_metrics_is_inspected_all_the_same() -> None:
    """A gateway has no counters: that is information, not an error."""
    found, _ = inspected(with_metrics=False)
    assert (found.metrics, found.metric_names, found.busy) == (False, None, None)


def test_a_busy_server_says_so() -> None:
    """Requests that are running or waiting before ours are counted."""
    found, _ = inspected(extra_metrics='vllm:num_requests_waiting{engine="1"} 3.0\n')
    assert found.busy == 3


def refused(endpoint: Callable[[ExactServer], Endpoint], **server: Any) -> ServerError:
    """The error that inspecting a server ends with."""

    async def work() -> None:
        async with ExactServer(**server) as exact:
            await inspect(endpoint(exact))

    with pytest.raises(ServerError) as raised:
        on_loop(work)
    return raised.value


def test_a_model_that_is_not_served_is_refused_with_those_that_are() -> None:
    """The message lists what is served; without a choice among several it asks for one."""
    unknown = refused(lambda exact: Endpoint(exact.url, model="llama"), models=("a/b", "c"))
    assert "'llama' is not served" in str(unknown)
    assert "a/b, c" in str(unknown)
    assert "--model" in str(refused(lambda exact: Endpoint(exact.url), models=("a/b", "c")))


def test_a_key_that_is_wanted_or_wrong_is_told_without_showing_it() -> None:
    """The words differ with and without a key, and never hold it."""
    without = refused(lambda exact: Endpoint(exact.url), key="sk-right")
    assert "GIQ_API_KEY" in str(without)
    wrong = refused(lambda exact: Endpoint(exact.url, api_key=Secret("sk-wrong")), key="sk-right")
    assert "sk-wrong" not in str(wrong) + repr(wrong)


def test_nobody_there_is_told_plainly() -> None:
    """A port that nobody listens on is a ServerError with the address and what to do."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{taken.getsockname()[1]}"
        with pytest.raises(ServerError, match=url) as raised:
            on_loop(lambda: inspect(Endpoint(url)))
    assert "no server answers" in str(raised.value)


@pytest.mark.parametrize(
    "reply", [b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello", b"HTTP/1.1 404 No\r\nContent-Length: 0\r\n\r\n",
              b"HTTP/1.1 307 Go\r\nLocation: http://x/\r\nContent-Length: 0\r\n\r\n",
              b'HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 12\r\n\r\n{"data": []}',
              b"SSH-2.0-OpenSSH_9.6\r\n"],
)  # fmt: skip
def test_what_is_no_such_server_is_told_plainly(reply: bytes) -> None:
    """A web page, an empty list, a redirect, something else altogether: a ServerError each, no traceback."""

    async def work() -> None:
        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.readuntil(b"\r\n\r\n")
            writer.write(reply)
            writer.close()

        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        try:
            await inspect(Endpoint(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"))
        finally:
            server.close()

    with pytest.raises(ServerError):
        on_loop(work)


@pytest.mark.parametrize("behaviour", [Behaviour(reply=(500, {})), Behaviour(cut_after=1), Behaviour(raw=b"")])
def test_a_server_that_cannot_generate_is_refused(behaviour: Behaviour) -> None:
    """A server that fails on a tiny request would fail under load."""
    error = refused(lambda exact: Endpoint(exact.url), behave=lambda seen, number: behaviour)
    assert "tiny request" in str(error)


def test_a_server_that_refuses_every_form_is_refused() -> None:
    """An embedding model, say, answers nothing: the message says so."""
    reply = (400, {"error": {"type": "BadRequestError"}})
    error = refused(lambda exact: Endpoint(exact.url), behave=lambda seen, number: Behaviour(reply=reply))
    assert "even the plainest request" in str(error)
