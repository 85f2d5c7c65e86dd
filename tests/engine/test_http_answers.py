"""The engine's answers over HTTP on loopback: vLLM's bytes and vLLM's errors."""

from __future__ import annotations

import json
from typing import Any

import aiohttp
import pytest

from giq import __version__
from giq.catalog import ServingConfiguration
from giq.documents import decode_json
from giq.engine.http_server import EngineServer
from tests.engine.engines import config, engine
from tests.engine.serving import SAMPLE, USAGE, chunks, events, posted, raw_post, served, skeleton


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
    assert told["giq_engine"]["calibration_id"] == engine().calibration.calibration_id
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
