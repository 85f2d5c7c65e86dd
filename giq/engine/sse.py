"""The bytes of vLLM's answers: server-sent events of a stream, and the JSON of a whole answer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from giq.documents import encode_json
from giq.engine.api_request import ApiRequest, Choice
from giq.engine.vocabulary import TOKEN_BYTES, Vocabulary

DONE = b"e\r\ndata: [DONE]\n\n\r\n"
"""The last event, as one chunk of HTTP's chunked encoding."""


@dataclass(frozen=True)
class Identity:
    """What every event of one answer repeats."""

    id: str
    created: int
    fingerprint: str


def http_chunk(event: str) -> bytes:
    """One event as one chunk of HTTP's chunked encoding."""
    data = event.encode()
    return b"%x\r\n%b\r\n" % (len(data), data)


def usage(prompt: int, completion: int) -> dict[str, int]:
    """The usage object, in vLLM's order."""
    return {"prompt_tokens": prompt, "total_tokens": prompt + completion, "completion_tokens": completion}


class EventWriter:
    """Makes the events of one choice; what does not change is spelled once.

    The parts follow vLLM 0.32 byte for byte: completions `{"id","object","created","model","choices","usage",
    "system_fingerprint"}`, chat likewise with a first event that carries the role and no token.
    """

    def __init__(self, request: ApiRequest, identity: Identity, index: int, vocabulary: Vocabulary) -> None:
        self._request = request
        self._choice = request.choices[index]
        self._vocabulary = vocabulary
        self._seed = self._choice.seed
        self._head = _head(request, identity)
        self._fingerprint = identity.fingerprint
        self._index = index
        self._prompt_tokens = len(self._choice.prompt)

    def tokens(self, first: int, end: int) -> bytes:
        """The chunk that carries the tokens from place *first* to before *end*, in chat after the role's.

        An engine that gives several tokens in a step sends them in one chunk.
        """
        tokens = [self._vocabulary.output(self._choice.seed, place) for place in range(first, end)]
        last = end == self._choice.output
        event = http_chunk(f"{self._head}[{self._body(tokens, first, last)}]{self._tail(end, last)}}}\n\n")
        return self._role() + event if self._request.chat and first == 0 else event

    def _body(self, tokens: list[int], first: int, last: bool) -> str:
        text = shown_text(self._choice, "".join(map(self._vocabulary.text, tokens)), first)
        ids = _list(tokens) if self._request.return_token_ids else "null"
        reason = f'"{self._choice.finish_reason}"' if last else "null"
        stop = encode_json(self._choice.stop_reason).decode() if last else "null"
        if self._request.chat:
            ended = f'"stop_reason":{stop},' if last else ""
            return (
                f'{{"index":{self._index},"delta":{{"content":"{text}"}},"logprobs":null,'
                f'"finish_reason":{reason},{ended}"token_ids":{ids}}}'
            )
        prompt_ids = _list(self._choice.prompt) if first == 0 and self._request.return_token_ids else "null"
        return (
            f'{{"index":{self._index},"text":"{text}","logprobs":null,"finish_reason":{reason},"stop_reason":{stop},'
            f'"prompt_token_ids":{prompt_ids},"token_ids":{ids}}}'
        )

    def _tail(self, given: int, last: bool) -> str:
        if self._request.continuous_usage:
            return _usage_text(self._prompt_tokens, given)
        if last and not self._request.include_usage:
            return f',"system_fingerprint":"{self._fingerprint}"'
        return ""

    def _role(self) -> bytes:
        ids = _list(self._choice.prompt) if self._request.return_token_ids else "null"
        counted = _usage_text(self._prompt_tokens, 0) if self._request.continuous_usage else ""
        delta = '"delta":{"role":"assistant","content":""},"logprobs":null,"finish_reason":null'
        return http_chunk(
            f'{self._head}[{{"index":{self._index},{delta}}}]{counted},"prompt_token_ids":{ids},"prompt_text":null}}\n\n'
        )


def usage_event(request: ApiRequest, identity: Identity, cached: int | None) -> bytes:
    """The chunk after the last token, with the usage of the whole answer; *cached* is told unless None."""
    given = sum(choice.output for choice in request.choices)
    counted = _usage_text(request.prompt_tokens, given)
    if cached is not None:
        counted = f'{counted[:-1]},"prompt_tokens_details":{{"cached_tokens":{cached}}}}}'
    return http_chunk(f'{_head(request, identity)}[]{counted},"system_fingerprint":"{identity.fingerprint}"}}\n\n')


def error_event(body: dict[str, Any]) -> bytes:
    """A refusal inside a stream, whose status was sent before; with spaces, unlike vLLM's other events."""
    fields = ", ".join(f'"{name}": {encode_json(value).decode()}' for name, value in body["error"].items())
    return http_chunk(f'data: {{"error": {{{fields}}}}}\n\n')


def whole_answer(request: ApiRequest, identity: Identity, vocabulary: Vocabulary, cached: int | None) -> dict[str, Any]:
    """The answer that is not streamed; its usage tells the *cached* tokens unless None."""
    return {
        "id": identity.id,
        "object": "chat.completion" if request.chat else "text_completion",
        "created": identity.created,
        "model": request.model,
        "choices": [_whole_choice(request, index, vocabulary) for index in range(len(request.choices))],
        "system_fingerprint": identity.fingerprint,
        "usage": {
            **usage(request.prompt_tokens, sum(choice.output for choice in request.choices)),
            "prompt_tokens_details": None if cached is None else {"cached_tokens": cached},
        },
    }


def _whole_choice(request: ApiRequest, index: int, vocabulary: Vocabulary) -> dict[str, Any]:
    choice = request.choices[index]
    tokens = [vocabulary.output(choice.seed, place) for place in range(choice.output)]
    text = shown_text(choice, "".join(map(vocabulary.text, tokens)), 0)
    answer: dict[str, Any] = {"message": {"role": "assistant", "content": text}} if request.chat else {"text": text}
    return {
        "index": index,
        **answer,
        "logprobs": None,
        "finish_reason": choice.finish_reason,
        "stop_reason": choice.stop_reason,
        "token_ids": tokens if request.return_token_ids else None,
    }


def shown_text(choice: Choice, text: str, first: int) -> str:
    """What is told of *text*, that of the tokens from place *first* on: nothing of a stop string."""
    return text if choice.shown is None else text[: max(0, choice.shown - first * TOKEN_BYTES)]


def _head(request: ApiRequest, identity: Identity) -> str:
    kind = "chat.completion.chunk" if request.chat else "text_completion"
    model = encode_json(request.model).decode()
    name = encode_json(identity.id).decode()
    return f'data: {{"id":{name},"object":"{kind}","created":{identity.created},"model":{model},"choices":'


def _usage_text(prompt: int, completion: int) -> str:
    return (
        f',"usage":{{"prompt_tokens":{prompt},"total_tokens":{prompt + completion},"completion_tokens":{completion}}}'
    )


def _list(values: Sequence[int]) -> str:
    return f"[{','.join(map(str, values))}]"
