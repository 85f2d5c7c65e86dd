"""The bytes of a request, made ahead of the moment they are sent."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from giq.documents import encode_json
from giq.load.endpoint import Endpoint
from giq.load.identity import ServerIdentity
from giq.load.job import LoadJob
from giq.load.words import spelled_out
from giq.workload.prompts import prompt_token_ids
from giq.workload.workload import Sampling


@dataclass(frozen=True, slots=True)
class Request:
    """One request: its number in the schedule, its bytes (they hold the key), and the tokens it asks for."""

    request_id: int
    data: bytes = field(repr=False)
    input_tokens: int
    output_tokens: int


class RequestWriter:
    """Makes the requests of a load point; any of them on its own."""

    def __init__(self, job: LoadJob) -> None:
        identity = job.identity
        self._job = job
        self._writer = BodyWriter(job.endpoint, identity, job.sampling, job.seed, f"giq-{job.nonce:x}")
        self._by_ids = identity.alphabet is not None and job.endpoint.api == "completions"
        if self._by_ids and identity.alphabet is not None:
            self._alphabet = identity.alphabet
        else:
            self._alphabet = np.arange(len(identity.words), dtype=np.int32)

    def request(self, request_id: int) -> Request:
        """Request *request_id* of the schedule."""
        job = self._job
        inputs = int(job.schedule.input_tokens[request_id])
        outputs = int(job.schedule.output_tokens[request_id])
        count = max(1, inputs - job.identity.overhead_tokens)
        ids = prompt_token_ids(self._alphabet, job.seed, job.nonce, job.point_number, request_id, count).tolist()
        prompt = ids if self._by_ids else spelled_out(job.identity.words[index] for index in ids)
        return Request(request_id, self._writer.message(prompt, outputs), inputs, outputs)


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

    def message(self, prompt: list[int] | str, output_tokens: int) -> bytes:
        """Head and body of the request to answer *prompt* with *output_tokens* tokens."""
        if self._chat:
            content = b',"messages":' + encode_json([{"role": "user", "content": prompt}])
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
