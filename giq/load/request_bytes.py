"""The bytes of a request, made ahead of the moment they are sent."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from itertools import chain, cycle
from typing import Any

import numpy as np
from numpy.typing import NDArray

from giq.documents import encode_json
from giq.load.endpoint import Endpoint
from giq.load.identity import ServerIdentity
from giq.load.job import LoadJob
from giq.load.words import spelled_out
from giq.workload.prompts import answer_token_ids, prefix_token_ids, prompt_token_ids
from giq.workload.workload import Sampling

Prompt = list[int] | str | list[str]
"""Token ids, a text, or the texts of a chat's messages."""


@dataclass(frozen=True, slots=True)
class Request:
    """One request: its number in the schedule, its bytes (they hold the key), and the tokens it asks for.

    In a conversation `said` is what its prompt consists of, user and model by turns, as token ids or numbers of words.
    """

    request_id: int
    data: bytes = field(repr=False)
    input_tokens: int
    output_tokens: int
    said: tuple[list[int], ...] = field(default=(), repr=False)


class RequestWriter:
    """Makes the requests of a load point; any of them on its own."""

    def __init__(self, job: LoadJob) -> None:
        identity = job.identity
        self._job = job
        self._by_ids = identity.alphabet is not None and job.endpoint.api == "completions"
        if self._by_ids and identity.alphabet is not None:
            self._alphabet = identity.alphabet
        else:
            self._alphabet = np.arange(len(identity.words), dtype=np.int32)
        self._talks = job.schedule.session_id is not None
        self._hears = self._talks and self._by_ids and identity.tells_token_ids
        if self._hears:
            identity = replace(identity, fields=identity.fields | {"return_token_ids"})
        self._writer = BodyWriter(job.endpoint, identity, job.sampling, job.seed, f"giq-{job.nonce:x}")
        self._prefixes: dict[int, list[int]] = {}

    def request(self, request_id: int) -> Request:
        """Request *request_id* of the schedule, which follows no answer."""
        job, inputs = self._job, int(self._job.schedule.input_tokens[request_id])
        count = max(1, inputs - job.identity.overhead_tokens)
        shared = self._shared(request_id)[: count - 1]
        return self._made(request_id, (shared + self._own(request_id, count - len(shared)),), inputs)

    def next_turn(self, request_id: int, before: Request, answer: list[int]) -> Request:
        """Request *request_id*: all that was said until *before*, its *answer*, and this turn's own tokens.

        Where the server does not tell the answer's tokens (an empty *answer*), others stand for it. An answer of
        another length than asked for makes the prompt as much longer or shorter.
        """
        job, schedule = self._job, self._job.schedule
        last = before.request_id
        own = int(schedule.input_tokens[request_id]) - int(schedule.input_tokens[last] + schedule.output_tokens[last])
        heard = answer if self._hears and answer else self._stand_in(before)
        said = (*before.said, heard, self._own(request_id, max(1, own)))
        return self._made(request_id, said, sum(map(len, said)) + job.identity.overhead_tokens)

    def _made(self, request_id: int, said: tuple[list[int], ...], inputs: int) -> Request:
        outputs = int(self._job.schedule.output_tokens[request_id])
        data = self._writer.message(self._spoken(said), outputs)
        return Request(request_id, data, inputs, outputs, said if self._talks else ())

    def _spoken(self, said: tuple[list[int], ...]) -> Prompt:
        """The prompt as the server takes it: ids, or text, or in a chat the text of each message."""
        if self._by_ids:
            return said[0] if len(said) == 1 else list(chain.from_iterable(said))
        words = self._job.identity.words
        texts = [spelled_out(words[index] for index in part) for part in said]
        return texts if self._job.endpoint.api == "chat" else "".join(texts)

    def _own(self, request_id: int, count: int) -> list[int]:
        job = self._job
        ids = prompt_token_ids(self._alphabet, job.seed, job.nonce, job.point_number, request_id, count)
        return _listed(ids)

    def _shared(self, request_id: int) -> list[int]:
        """The shared prefix that the request begins with; none where there are none."""
        job, schedule = self._job, self._job.schedule
        if schedule.prefix_group is None or schedule.prefix_tokens is None:
            return []
        group, count = int(schedule.prefix_group[request_id]), int(schedule.prefix_tokens[request_id])
        known = self._prefixes.get(group, [])
        if len(known) < count:
            known = self._prefixes[group] = _listed(prefix_token_ids(self._alphabet, job.seed, job.nonce, group, count))
        return known[:count]

    def _stand_in(self, before: Request) -> list[int]:
        job = self._job
        count = before.output_tokens
        return _listed(
            answer_token_ids(self._alphabet, job.seed, job.nonce, job.point_number, before.request_id, count)
        )


def _listed(ids: NDArray[np.int32]) -> list[int]:
    found: list[int] = ids.tolist()
    return found


class BodyWriter:
    """Writes generation requests with the fields that a server takes."""

    def __init__(
        self, endpoint: Endpoint, identity: ServerIdentity, sampling: Sampling, seed: int, cache_salt: str
    ) -> None:
        self._fields = identity.fields if sampling.ignore_eos else identity.fields - {"min_tokens", "ignore_eos"}
        self._chat = endpoint.api == "chat"
        self._head = _head(endpoint, endpoint.generate_path)
        self._begin = encode_json({"model": identity.model})[:-1]
        self._end = b"," + encode_json(self._constant(sampling, seed, cache_salt))[1:]

    def message(self, prompt: Prompt, output_tokens: int) -> bytes:
        """Head and body of the request to answer *prompt* with *output_tokens* tokens.

        A chat takes a text, or the texts that user and model said by turns.
        """
        if self._chat:
            texts = [prompt] if isinstance(prompt, str) else prompt
            said = zip(cycle(("user", "assistant")), texts, strict=False)
            content = b',"messages":' + encode_json([{"role": role, "content": text} for role, text in said])
        else:
            content = b',"prompt":' + encode_json(prompt)
        count = b"%d" % output_tokens
        least = b',"min_tokens":' + count if "min_tokens" in self._fields else b""
        body = b"".join((self._begin, content, b',"max_tokens":', count, least, self._end))
        return b"%sContent-Length: %d\r\n\r\n%s" % (self._head, len(body), body)

    def _constant(self, sampling: Sampling, seed: int, cache_salt: str) -> dict[str, Any]:
        """The fields that are the same in every request."""
        options = {"include_usage": True}
        if "continuous_usage_stats" in self._fields:
            options["continuous_usage_stats"] = True
        values = {
            "ignore_eos": True, "seed": seed, "stream_options": options, "return_token_ids": True,
            "cache_salt": cache_salt,
        }  # fmt: skip
        chosen = {name: value for name, value in values.items() if name in self._fields}
        return {"temperature": sampling.temperature, "stream": True, **chosen}


def _head(endpoint: Endpoint, path: str) -> bytes:
    lines = [f"POST {path} HTTP/1.1"]
    lines += [f"{name}: {value}" for name, value in endpoint.headers().items()]
    lines += ["Content-Type: application/json", "Accept: text/event-stream", ""]
    return "\r\n".join(lines).encode("ascii")
