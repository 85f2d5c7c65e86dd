"""What a client of the OpenAI API asks for, checked as vLLM does."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, TypeVar
from zlib import crc32

from giq.engine.vocabulary import TOKEN_BYTES, Vocabulary

S = TypeVar("S", str, int)

COMPLETION_TOKENS = 16
"""`max_tokens` of a completion that names none (a chat answer may fill the context)."""


class ApiError(Exception):
    """A refusal in vLLM's own form."""

    def __init__(self, status: int, message: str, param: str | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.body = {
            "error": {
                "message": message,
                "type": "NotFoundError" if status == 404 else "BadRequestError",
                "param": param,
                "code": status,
            }
        }


@dataclass(frozen=True)
class Choice:
    """One answer to be generated: its prompt, how many tokens it gets, and why it ends.

    Its tokens are drawn from `seed`. `stop_reason` is the stop string or token that ended it; of its text only the
    first `shown` bytes are told (None: all), since a stop string is not.
    """

    prompt: list[int]
    seed: int
    output: int
    finish_reason: str
    stop_reason: str | int | None = None
    shown: int | None = None


@dataclass(frozen=True)
class ApiRequest:
    """One request to `/v1/completions` or `/v1/chat/completions`."""

    chat: bool
    model: str
    choices: tuple[Choice, ...]
    stream: bool
    include_usage: bool
    continuous_usage: bool
    return_token_ids: bool
    cache_salt: str | None = None

    @property
    def prompt_tokens(self) -> int:
        """Tokens of all prompts (one that is answered several times counts once for each answer)."""
        return sum(len(choice.prompt) for choice in self.choices)


@dataclass(frozen=True)
class Served:
    """What the server offers: model names (the first is the default), context, vocabulary.

    `tells_cached`: the usage tells how much of the prompt was in the prefix cache (`--enable-prompt-tokens-details`).
    """

    names: tuple[str, ...]
    max_model_len: int
    vocabulary: Vocabulary
    tells_cached: bool = False


def parse_request(body: Mapping[str, Any], served: Served, chat: bool) -> ApiRequest:
    """The request in the JSON object *body*; unknown fields are ignored.

    Raises:
        ApiError: with vLLM's status and words.
    """
    _refuse_unanswerable(body, chat)
    options = body.get("stream_options") or {}
    stream = bool(body.get("stream"))
    if options and not stream:
        raise ApiError(400, "Stream options can only be defined when `stream=True`.", "stream_options")
    prompts = [_chat_prompt(body, served)] if chat else _prompts(body, served)
    answers = _whole(body, "n") or 1
    return ApiRequest(
        chat=chat,
        model=_model(body, served),
        choices=tuple(_choice(body, prompt, served, chat) for prompt in prompts for _ in range(answers)),
        stream=stream,
        include_usage=bool(options.get("include_usage")),
        continuous_usage=bool(options.get("include_usage") and options.get("continuous_usage_stats")),
        return_token_ids=bool(body.get("return_token_ids")),
        cache_salt=_cache_salt(body),
    )


def _refuse_unanswerable(body: Mapping[str, Any], chat: bool) -> None:
    """What only a real model could tell."""
    for name in ("logprobs", "prompt_logprobs", "top_logprobs"):
        asked = body.get(name)
        if asked is not None and asked is not False and (name != "top_logprobs" or asked):
            raise ApiError(400, f"{name} is not answered: a simulated engine has no probabilities.", name)
    if body.get("echo") and not chat:
        raise ApiError(400, "echo is not answered by the simulated engine.", "echo")


def _cache_salt(body: Mapping[str, Any]) -> str | None:
    salt = body.get("cache_salt")
    if salt is not None and (not isinstance(salt, str) or not salt):
        raise ApiError(400, "Parameter 'cache_salt' must be a non-empty string if provided.", "cache_salt")
    return salt


def _model(body: Mapping[str, Any], served: Served) -> str:
    wanted = body.get("model") or served.names[0]
    if wanted not in served.names:
        valid = ", ".join(served.names)
        raise ApiError(404, f"The model `{wanted}` does not exist. Valid aliases: {valid}.", "model")
    return str(wanted)


def _prompts(body: Mapping[str, Any], served: Served) -> list[list[int]]:
    prompt = body.get("prompt")
    if isinstance(prompt, str) and prompt:
        return [served.vocabulary.tokenize(prompt)]
    if not isinstance(prompt, list) or not prompt:
        raise ApiError(400, "Either prompt or prompt_embeds must be provided and non-empty.", "prompt")
    if all(type(item) is int for item in prompt):
        return [_known(prompt, served)]
    return [prompt for item in prompt for prompt in _prompts({"prompt": item}, served)]


def _chat_prompt(body: Mapping[str, Any], served: Served) -> list[int]:
    messages = body.get("messages")
    if not isinstance(messages, list) or not messages:
        raise ApiError(400, "messages must be a non-empty list", "messages")
    return chat_tokens(messages, served.vocabulary)


def chat_tokens(messages: list[Any], vocabulary: Vocabulary) -> list[int]:
    """The prompt that a chat's messages make: each role and its text, then the assistant's turn.

    Each part is tokenised on its own, so that an answer given back as history has the tokens it was made of.

    Raises:
        ApiError: a message is no object.
    """
    if not all(isinstance(message, dict) for message in messages):
        raise ApiError(400, "each of messages must be an object", "messages")
    tokens: list[int] = []
    for message in messages:
        tokens += vocabulary.tokenize(f"<|{message.get('role', 'user')}|>")
        tokens += vocabulary.tokenize(_content(message.get("content")))
    return tokens + vocabulary.tokenize("<|assistant|>")


def _content(content: Any) -> str:
    """The text of one message, given as it is or in parts."""
    if isinstance(content, list):
        return "".join(str(part.get("text", "")) for part in content if isinstance(part, dict))
    return "" if content is None else str(content)


def _known(prompt: list[int], served: Served) -> list[int]:
    if min(prompt) < 0 or max(prompt) >= served.vocabulary.size:
        token = next(item for item in prompt if not 0 <= item < served.vocabulary.size)
        raise ApiError(400, f"Token id {token} is out of vocabulary")
    return prompt


def _choice(body: Mapping[str, Any], prompt: list[int], served: Served, chat: bool) -> Choice:
    room = served.max_model_len - len(prompt)
    if room < 0:
        raise ApiError(
            400,
            f"This model's maximum context length is {served.max_model_len} tokens. However, your prompt contains"
            f" at least {len(prompt)} input tokens, which exceeds this limit even without any output tokens."
            " Please reduce the length of the input prompt.",
            "input_tokens",
        )
    wanted = _whole(body, "max_completion_tokens") if chat else None
    wanted = _whole(body, "max_tokens") if wanted is None else wanted
    if wanted is None:
        wanted = room if chat else COMPLETION_TOKENS
    limit = min(wanted, room)  # vLLM cuts what does not fit in silence
    least = _whole(body, "min_tokens") or 0
    if limit < 1:
        raise ApiError(400, f"max_tokens must be at least 1, got {limit}.", "max_tokens")
    if least > limit:
        raise ApiError(400, f"min_tokens must be less than or equal to max_tokens={limit}, got {least}.")
    seed = crc32(repr(prompt).encode())
    output = limit if body.get("ignore_eos") else min(limit, max(least, _natural_length(seed)))
    choice = Choice(prompt, seed, output, "length" if output == limit else "stop")
    return _stopped(choice, _stops(body, "stop", str), _stops(body, "stop_token_ids", int), least, served.vocabulary)


def _stops(body: Mapping[str, Any], name: str, kind: type[S]) -> list[S]:
    """The stop strings, or tokens, of *body*."""
    value = body.get(name)
    found = [value] if isinstance(value, kind) else value or []
    if not isinstance(found, list) or not all(isinstance(item, kind) and item != "" for item in found):
        raise ApiError(400, f"{name} must be a list of {kind.__name__}, none of them empty.", name)
    return found


def _stopped(choice: Choice, texts: list[str], tokens: list[int], least: int, vocabulary: Vocabulary) -> Choice:
    """*choice*, ended by whichever stop string or token comes first after *least* tokens."""
    if not texts and not tokens:
        return choice
    text = ""
    for place in range(choice.output):
        token = vocabulary.output(choice.seed, place)
        text += vocabulary.text(token)
        if place + 1 < max(1, least):
            continue
        if token in tokens:
            return replace(choice, output=place + 1, finish_reason="stop", stop_reason=token)
        begun = max(0, place * TOKEN_BYTES - max(map(len, texts), default=0))
        found = {at: stop for stop in reversed(texts) if (at := text.find(stop, begun)) >= 0}
        if found:
            first = min(found)
            return replace(choice, output=place + 1, finish_reason="stop", stop_reason=found[first], shown=first)
    return choice


def _whole(body: Mapping[str, Any], name: str) -> int | None:
    value = body.get(name)
    if value is None:
        return None
    if type(value) is not int:
        raise ApiError(400, f"{name} must be a whole number, got {value!r}.", name)
    return value


def _natural_length(seed: int) -> int:
    """Where this model ends an answer of its own accord: 32 to 511 tokens, fixed by the prompt."""
    return 32 + seed % 480
