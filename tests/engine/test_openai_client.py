"""The `openai` Python client, unchanged, against the engine."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import aiohttp
import openai
import pytest

from giq.engine.http_server import EngineServer
from giq.engine.vocabulary import TOKEN_BYTES
from tests.engine.engines import engine
from tests.engine.serving import served

Ask = Callable[[openai.AsyncOpenAI], Awaitable[Any]]
MODEL = "dense-8b"


def asked(ask: Ask) -> Any:
    """What *ask* gets from a client of a fresh server."""

    async def work(server: EngineServer, _: aiohttp.ClientSession) -> Any:
        async with openai.AsyncOpenAI(base_url=f"{server.url}/v1", api_key="none", max_retries=0) as client:
            return await ask(client)

    return served(work, engine())


def test_models_are_listed() -> None:
    """Both names, with the context they are served with."""
    models = asked(lambda client: client.models.list()).data
    assert [model.id for model in models] == [MODEL, "org/Dense-8B"]
    assert models[0].max_model_len == 8192


def test_a_completion_has_text_usage_and_a_reason() -> None:
    """As many tokens as asked for, of four bytes each."""
    answer = asked(lambda client: client.completions.create(model=MODEL, prompt="one two three", max_tokens=7))
    assert len(answer.choices[0].text) == 7 * TOKEN_BYTES
    assert answer.choices[0].finish_reason == "length"
    assert (answer.usage.completion_tokens, answer.usage.prompt_tokens) == (7, 4)


def test_a_streamed_completion_is_the_same_text() -> None:
    """Chunk by chunk, the usage in the last where it is asked for."""

    async def ask(client: openai.AsyncOpenAI) -> tuple[str, str, Any]:
        question: dict[str, Any] = {"model": MODEL, "prompt": [1, 2, 3], "max_tokens": 9}
        whole = await client.completions.create(**question)
        stream = await client.completions.create(**question, stream=True, stream_options={"include_usage": True})
        chunks = [chunk async for chunk in stream]
        text = "".join(chunk.choices[0].text for chunk in chunks if chunk.choices)
        return whole.choices[0].text, text, chunks[-1].usage

    whole, streamed, usage = asked(ask)
    assert streamed == whole
    assert usage.completion_tokens == 9


def test_a_chat_is_answered_whole_and_in_a_stream() -> None:
    """The role comes first and without a token."""

    async def ask(client: openai.AsyncOpenAI) -> tuple[Any, list[Any]]:
        question: dict[str, Any] = {
            "model": MODEL,
            "messages": [{"role": "system", "content": "be brief"}, {"role": "user", "content": "hello"}],
            "max_completion_tokens": 5,
        }
        whole = await client.chat.completions.create(**question)
        stream = await client.chat.completions.create(**question, stream=True)
        return whole, [chunk async for chunk in stream]

    whole, chunks = asked(ask)
    assert chunks[0].choices[0].delta.role == "assistant"
    assert "".join(chunk.choices[0].delta.content for chunk in chunks) == whole.choices[0].message.content
    assert chunks[-1].choices[0].finish_reason == "length"


@pytest.mark.parametrize("stream", [False, True])
def test_a_stop_string_ends_the_answer_and_is_not_told(stream: bool) -> None:
    """The text before it, wherever in a token it begins; the tokens up to it are counted."""

    async def ask(client: openai.AsyncOpenAI) -> tuple[str, str, str, int]:
        question: dict[str, Any] = {"model": MODEL, "prompt": "a prompt", "max_tokens": 20}
        text = (await client.completions.create(**question)).choices[0].text
        stop = text[30:36]
        question |= {"stop": [stop, "never"]}
        if not stream:
            answer = await client.completions.create(**question)
            choice = answer.choices[0]
            return text[: text.find(stop)], choice.text, choice.finish_reason, answer.usage.completion_tokens
        question |= {"stream": True, "stream_options": {"include_usage": True}}
        chunks = [chunk async for chunk in await client.completions.create(**question)]
        told = "".join(chunk.choices[0].text for chunk in chunks if chunk.choices)
        return text[: text.find(stop)], told, chunks[-2].choices[0].finish_reason, chunks[-1].usage.completion_tokens

    before, told, reason, tokens = asked(ask)
    assert told == before
    assert reason == "stop"
    assert tokens == 9


def test_several_answers_and_several_prompts() -> None:
    """`n` answers to each prompt, numbered through."""
    answer = asked(lambda client: client.completions.create(model=MODEL, prompt=["one", "two"], n=2, max_tokens=3))
    assert [choice.index for choice in answer.choices] == [0, 1, 2, 3]
    assert answer.usage.completion_tokens == 12


def test_what_a_simulated_engine_cannot_know_is_refused() -> None:
    """Log probabilities and echo: a bad request that says why, as the client raises it."""
    for question in ({"logprobs": 1}, {"echo": True}):
        with pytest.raises(openai.BadRequestError, match="not answered"):
            asked(lambda client, more=question: client.completions.create(model=MODEL, prompt="x", **more))  # type: ignore[misc]
    with pytest.raises(openai.BadRequestError, match="no probabilities"):
        asked(
            lambda client: client.chat.completions.create(
                model=MODEL, messages=[{"role": "user", "content": "x"}], logprobs=True
            )
        )


def test_an_unknown_model_is_not_found() -> None:
    """The client raises what it raises for vLLM."""
    with pytest.raises(openai.NotFoundError, match="does not exist"):
        asked(lambda client: client.completions.create(model="nope", prompt="x"))
