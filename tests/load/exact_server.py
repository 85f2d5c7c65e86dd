"""A server of known behaviour on a real loopback socket: it answers when and what a test says, and notes what it saw.

It runs in the test's own event loop. `ExactServer.behave` chooses a `Behaviour` for each request.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import ssl
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field
from time import monotonic_ns
from types import TracebackType
from typing import Any, Literal, Self

from giq.catalog.servers import MetricNames

METRIC_NAMES = MetricNames(
    running="vllm:num_requests_running",
    waiting="vllm:num_requests_waiting",
    kv_usage="vllm:kv_cache_usage_perc",
    request_success="vllm:request_success",
    prompt_tokens="vllm:prompt_tokens",
    generation_tokens="vllm:generation_tokens",
    preemptions="vllm:num_preemptions",
    prefix_queries="vllm:prefix_cache_queries",
    prefix_hits="vllm:prefix_cache_hits",
    ttft="vllm:time_to_first_token_seconds",
    e2e_latency="vllm:e2e_request_latency_seconds",
    inter_token_latency="vllm:inter_token_latency_seconds",  # noqa: S106 - a metric
)


@dataclass(frozen=True)
class Behaviour:
    """How one request is answered.

    `cut_after` closes the connection after so many tokens, `stall_after` says nothing more after so many. `raw` is
    sent instead of everything else, and then the connection is closed. `reply` is a status and a JSON body.
    """

    first_s: float = 0.0
    gap_s: float = 0.0
    reply: tuple[int, dict[str, Any]] | None = None
    cut_after: int | None = None
    stall_after: int | None = None
    raw: bytes | None = None
    usage: Literal["each", "end", "none"] = "each"
    done: bool = True
    close: bool = False


@dataclass(frozen=True)
class Seen:
    """One request for tokens as the server saw it: when its last byte came (ns, monotonic), and on which connection."""

    at_ns: int
    connection: int
    path: str
    headers: dict[str, str]
    body: dict[str, Any]

    @property
    def input_tokens(self) -> int:
        """Tokens of its prompt: ids, or words (two more for each message of a chat)."""
        if "messages" in self.body:
            return sum(len(message["content"].split()) + 2 for message in self.body["messages"])
        prompt = self.body["prompt"]
        return len(prompt.split()) if isinstance(prompt, str) else len(prompt)


@dataclass
class ExactServer:
    """The server; a context manager. `url` is where it listens."""

    behave: Callable[[Seen, int], Behaviour] = lambda seen, number: Behaviour()
    tls: ssl.SSLContext | None = None
    refused_fields: frozenset[str] = frozenset()
    takes_ids: bool = True
    tells_ids: bool = False
    models: tuple[str, ...] = ("exact-model",)
    version: dict[str, Any] = field(default_factory=lambda: {"version": "0.32.0"})
    server_header: str = "exact"
    key: str | None = None
    with_metrics: bool = True
    with_tokenizer: bool = True
    extra_metrics: str = ""
    miscounted_tokens: int = 0
    foreign_requests: int = 0
    on_finished: Callable[[Seen], None] = lambda seen: None
    seen: list[Seen] = field(default_factory=list)
    plain: list[tuple[str, dict[str, str]]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._going = asyncio.Event()
        self._going.set()
        self._writers: dict[asyncio.StreamWriter, asyncio.Task[Any] | None] = {}
        self._connections = 0
        self.running = 0
        self.most_running = 0
        self.finished = 0
        self.prompt_tokens = 0
        self.generated = 0

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0, ssl=self.tls, backlog=1024)
        scheme, host = ("https", "localhost") if self.tls else ("http", "127.0.0.1")
        self.port: int = self._server.sockets[0].getsockname()[1]
        self.url = f"{scheme}://{host}:{self.port}"
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()

    async def stop(self) -> None:
        """Listen no more, and drop all connections."""
        self._server.close()
        for writer, task in list(self._writers.items()):
            writer.transport.abort()
            if task is not None:
                task.cancel()
        await asyncio.gather(*(task for task in self._writers.values() if task), return_exceptions=True)

    def freeze(self) -> None:
        """Take requests, but send nothing."""
        self._going.clear()

    def thaw(self) -> None:
        """Go on."""
        self._going.set()

    def drop_idle(self) -> None:
        """Close every connection (those that are idle, when none is answered just now)."""
        for writer in list(self._writers):
            writer.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers[writer] = asyncio.current_task()
        self._connections += 1
        connection = self._connections
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError, ssl.SSLError, asyncio.CancelledError):
            while await self._one(reader, writer, connection):
                pass
        writer.close()
        with contextlib.suppress(ConnectionError, ssl.SSLError, asyncio.CancelledError):
            await writer.wait_closed()
        self._writers.pop(writer, None)

    async def _one(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, connection: int) -> bool:
        """Answer one request; whether the connection may carry another."""
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        first, *lines = head.strip().split("\r\n")
        method, path, _ = first.split(" ")
        headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
        data = await reader.readexactly(int(headers.get("content-length", 0)))
        if method == "POST" and path.endswith("/completions"):
            seen = Seen(monotonic_ns(), connection, path, headers, json.loads(data))
            self.seen.append(seen)
            return await self._complete(seen, writer)
        self.plain.append((path, headers))
        self._reply(writer, *self._plain(path, data))
        return True

    def _plain(self, path: str, data: bytes) -> tuple[int, Any]:
        match path:
            case "/v1/models":
                listed = [{"id": name, "owned_by": "vllm", "max_model_len": 4096} for name in self.models]
                return 200, {"object": "list", "data": listed}
            case "/version":
                return 200, self.version
            case "/health":
                return 200, {}
            case "/metrics" if self.with_metrics:
                return 200, self.metrics()
            case "/tokenize" if self.with_tokenizer:
                words = json.loads(data)["prompt"].split()
                return 200, {"tokens": [token_id(word) for word in words], "count": len(words)}
            case _:
                return 404, {"detail": "Not Found"}

    def metrics(self) -> str:
        """The text of /metrics."""
        done = self.finished + self.foreign_requests
        return (
            f'vllm:num_requests_running{{engine="0"}} {self.running}.0\n'
            'vllm:num_requests_waiting{engine="0"} 0.0\nvllm:kv_cache_usage_perc{engine="0"} 0.25\n'
            f'vllm:request_success_total{{engine="0",finished_reason="length"}} {done}.0\n'
            'vllm:request_success_total{engine="0",finished_reason="abort"} 7.0\n'
            f'vllm:prompt_tokens_total{{engine="0"}} {self.prompt_tokens}.0\n'
            f'vllm:generation_tokens_total{{engine="0"}} {self.generated + self.miscounted_tokens}.0\n'
            'vllm:time_to_first_token_seconds_bucket{engine="0",le="+Inf"} 1.0\n' + self.extra_metrics
        )

    def _reply(self, writer: asyncio.StreamWriter, status: int, body: Any) -> None:
        data = body.encode() if isinstance(body, str) else json.dumps(body).encode()
        kind = "text/plain" if isinstance(body, str) else "application/json"
        head = f"HTTP/1.1 {status} X\r\nServer: {self.server_header}\r\nContent-Type: {kind}\r\n"
        writer.write(f"{head}Content-Length: {len(data)}\r\n\r\n".encode() + data)

    async def _complete(self, seen: Seen, writer: asyncio.StreamWriter) -> bool:
        refusal = self._refusal(seen)
        if refusal is not None:
            self._reply(writer, *refusal)
            return True
        behaviour = self.behave(seen, len(self.seen))
        if behaviour.raw is not None:
            writer.write(behaviour.raw)
            return False
        if behaviour.reply is not None:
            self._reply(writer, *behaviour.reply)
            return not behaviour.close
        self.running += 1
        self.most_running = max(self.most_running, self.running)
        try:
            return await self._stream(seen, behaviour, writer)
        finally:
            self.running -= 1

    def _refusal(self, seen: Seen) -> tuple[int, Any] | None:
        if self.key is not None and seen.headers.get("authorization") != f"Bearer {self.key}":
            return 401, {"error": {"type": "AuthenticationError", "message": "no"}}
        options = seen.body.get("stream_options") or {}
        if self.refused_fields & (seen.body.keys() | options.keys()):
            return 400, {"error": {"type": "BadRequestError", "message": "unknown field"}}
        if not self.takes_ids and isinstance(seen.body.get("prompt"), list):
            return 422, {"error": {"type": "BadRequestError", "message": "text only"}}
        return None

    async def _stream(self, seen: Seen, behaviour: Behaviour, writer: asyncio.StreamWriter) -> bool:
        begin = asyncio.get_running_loop().time()
        count = int(seen.body["max_tokens"])
        self.prompt_tokens += seen.input_tokens
        for number in range(1, count + 1):
            if number - 1 == behaviour.cut_after:
                return False
            if number - 1 == behaviour.stall_after:
                await asyncio.sleep(3600)
            due = begin + behaviour.first_s + (number - 1) * behaviour.gap_s
            await asyncio.sleep(max(0.0, due - asyncio.get_running_loop().time()))
            await self._going.wait()
            head = HEAD if number == 1 else b""
            tells = self.tells_ids and bool(seen.body.get("return_token_ids"))
            writer.write(head + chunk(event(seen, number, count, behaviour.usage == "each", tells)))
            self.generated += 1
        self.finished += 1
        end = b"" if behaviour.usage != "end" else chunk(usage_event(seen.input_tokens, count))
        writer.write(end + (chunk(b"data: [DONE]\n\n") if behaviour.done else b"") + b"0\r\n\r\n")
        self.on_finished(seen)
        return not behaviour.close


HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream; charset=utf-8\r\ntransfer-encoding: chunked\r\n\r\n"


def chunk(data: bytes) -> bytes:
    """One HTTP chunk."""
    return b"%x\r\n%s\r\n" % (len(data), data)


def answer_ids(seen: Seen) -> list[int]:
    """The ids of the tokens that *seen* is answered with: others for every prompt."""
    start = zlib.crc32(json.dumps(seen.body.get("prompt")).encode())
    return [2000 + (start + number) % 1000 for number in range(1, int(seen.body["max_tokens"]) + 1)]


def event(seen: Seen, number: int, count: int, with_usage: bool, with_id: bool = False) -> bytes:
    """The event of one token."""
    finish = "length" if number == count else None
    choice: dict[str, Any] = {"index": 0, "finish_reason": finish}
    if with_id:
        choice["token_ids"] = [answer_ids(seen)[number - 1]]
    if "messages" in seen.body:
        choice["delta"] = {"content": f" word{number}"}
    else:
        choice["text"] = f" word{number}"
    message: dict[str, Any] = {"choices": [choice]}
    if with_usage:
        message["usage"] = usage(seen.input_tokens, number)
    return b"data: " + json.dumps(message).encode() + b"\n\n"


def usage_event(input_tokens: int, output_tokens: int) -> bytes:
    """The event that holds nothing but the counts."""
    return b"data: " + json.dumps({"choices": [], "usage": usage(input_tokens, output_tokens)}).encode() + b"\n\n"


def usage(input_tokens: int, output_tokens: int) -> dict[str, int]:
    """The counts of one request."""
    return {"prompt_tokens": input_tokens, "completion_tokens": output_tokens}


def token_id(word: str) -> int:
    """The id of a word in a vocabulary that has every word; ids from 1000 on."""
    return 1000 + zlib.crc32(word.encode()) % 30000
