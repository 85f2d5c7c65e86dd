"""The simulated engine over HTTP: answers as vLLM does, in real time."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import signal
import time
import uuid
from collections.abc import Awaitable, Callable
from functools import partial
from types import TracebackType
from typing import Any, Self

import uvloop
from aiohttp import web

from giq import __version__
from giq.documents import encode_json, json_decoder
from giq.engine.api_request import ApiError, ApiRequest, Choice, Served, chat_tokens, parse_request
from giq.engine.arguments import TRUE
from giq.engine.content import TokenContent
from giq.engine.metrics import CONTENT_TYPE, EngineMetrics
from giq.engine.real_time import Job, Question, RealTimeEngine
from giq.engine.spec import EngineSpec
from giq.engine.sse import DONE, EventWriter, Identity, error_event, usage_event, whole_answer
from giq.engine.vocabulary import Vocabulary
from giq.errors import ServerError

SERVER = f"giq-engine/{__version__}"
KEEPALIVE_S = 5.0
"""An idle connection is closed after this time, as vLLM's own server does."""

SHUTDOWN_S = 1.0
"""What is in flight when the server is told to stop has this long to end."""

LARGEST_BODY = 64 * 2**20
_STREAM_HEADERS = {"Content-Type": "text/event-stream; charset=utf-8", "Server": SERVER}
_decode_object = json_decoder(dict[str, Any])

OnReady = Callable[[str], None]
"""Called with the server's URL once it accepts requests."""


class EngineServer:
    """An engine and the HTTP server before it; an async context manager. Port 0 takes any that is free."""

    def __init__(self, spec: EngineSpec, host: str, port: int) -> None:
        self._spec, self._host, self._port = spec, host, port
        vocabulary = Vocabulary(spec.model.vocab_size)
        tells_cached = spec.config.main.engine_args.get("enable_prompt_tokens_details") in TRUE
        self.served = Served(served_names(spec), spec.max_model_len, vocabulary, tells_cached)
        self._fingerprint = f"vllm-{spec.server_version}-{spec.config.config_id[:8]}"
        self._runner: web.AppRunner | None = None
        self.url = ""

    async def __aenter__(self) -> Self:
        """Listen.

        Raises:
            ServerError: the address is taken or not ours.
        """
        self.engine = RealTimeEngine(self._spec)
        self._metrics = EngineMetrics(self._spec, self.engine, self.served.names[0])
        self._runner = web.AppRunner(
            self._application(),
            handler_cancellation=True,
            access_log=None,
            keepalive_timeout=KEEPALIVE_S,
            shutdown_timeout=SHUTDOWN_S,
        )
        await self._runner.setup()
        site = web.TCPSite(self._runner, self._host, self._port, backlog=4096)
        try:
            await site.start()
        except OSError as error:
            await self._runner.cleanup()
            raise ServerError(
                f"cannot listen on {self._host}:{self._port}: {error.strerror or error}", hint="Choose another --port."
            ) from None
        port = self._runner.addresses[0][1]
        shown = f"[{self._host}]" if ":" in self._host else self._host
        self.url = f"http://{shown}:{port}"
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop listening, give up what is in flight after a second, and end."""
        assert self._runner is not None  # noqa: S101 - entered
        await self._runner.cleanup()
        self.engine.close()

    def _application(self) -> web.Application:
        app = web.Application(client_max_size=LARGEST_BODY, middlewares=[_as_vllm_says])
        app.on_response_prepare.append(_announce)
        app.add_routes(
            [
                web.get("/health", self._health),
                web.get("/ping", self._health),
                web.post("/ping", self._health),
                web.get("/version", self._version),
                web.get("/metrics", self._scrape),
                web.get("/v1/models", self._models),
                web.post("/tokenize", self._tokenize),
                web.post("/detokenize", self._detokenize),
                web.post("/v1/completions", self._completions),
                web.post("/v1/chat/completions", self._chat),
            ]
        )
        return app

    async def _health(self, _: web.Request) -> web.Response:
        return web.Response()

    async def _version(self, _: web.Request) -> web.Response:
        announced = {
            "giq_version": __version__,
            "config": _decode_object(self._spec.config.canonical().encode()),
            "calibration_id": self._spec.calibration.calibration_id,
        }
        return _json({"version": self._spec.server_version, "giq_engine": announced})

    async def _scrape(self, _: web.Request) -> web.Response:
        return web.Response(body=self._metrics.text(), headers={"Content-Type": CONTENT_TYPE})

    async def _models(self, _: web.Request) -> web.Response:
        created = int(time.time())
        cards: list[dict[str, Any]] = [
            {
                "id": name,
                "object": "model",
                "created": created,
                "owned_by": "vllm",
                "root": self.served.names[-1],
                "parent": None,
                "max_model_len": self.served.max_model_len,
                "permission": [],
            }
            for name in self.served.names
        ]
        return _json({"object": "list", "data": cards})

    async def _tokenize(self, request: web.Request) -> web.Response:
        body = await _object(request)
        vocabulary = self.served.vocabulary
        if isinstance(body.get("messages"), list):
            tokens = chat_tokens(body["messages"], vocabulary)
        else:
            tokens = vocabulary.tokenize(str(body.get("prompt", "")))
        strings = [self.served.vocabulary.text(token) for token in tokens] if body.get("return_token_strs") else None
        return _json(
            {
                "count": len(tokens),
                "max_model_len": self.served.max_model_len,
                "tokens": tokens,
                "token_strs": strings,
            }
        )

    async def _detokenize(self, request: web.Request) -> web.Response:
        tokens = (await _object(request)).get("tokens")
        if not isinstance(tokens, list) or not all(type(token) is int and token >= 0 for token in tokens):
            raise ApiError(400, "tokens must be a list of token ids", "tokens")
        return _json({"prompt": "".join(map(self.served.vocabulary.text, tokens))})

    async def _completions(self, request: web.Request) -> web.StreamResponse:
        return await self._answer(request, chat=False)

    async def _chat(self, request: web.Request) -> web.StreamResponse:
        return await self._answer(request, chat=True)

    async def _answer(self, request: web.Request, chat: bool) -> web.StreamResponse:
        received = time.monotonic()
        body = await _object(request)
        try:
            asked = parse_request(body, self.served, chat)
        except ApiError as error:
            if body.get("stream") and "out of vocabulary" in str(error):
                return await _refuse_in_stream(request, error)
            raise
        name = request.headers.get("X-Request-Id") or uuid.uuid4().hex[:16]
        identity = Identity(f"{'chatcmpl' if chat else 'cmpl'}-{name}", int(time.time()), self._fingerprint)
        if asked.stream:
            return await self._stream(request, asked, identity, received)
        cached = await self._generate(asked, lambda index, first, end: None, received)
        return _json(whole_answer(asked, identity, self.served.vocabulary, cached))

    async def _stream(
        self, request: web.Request, asked: ApiRequest, identity: Identity, received: float
    ) -> web.StreamResponse:
        """Tokens are written straight to the transport in the step that made them: no task is woken for it."""
        response = await _open_stream(request)
        writers = [EventWriter(asked, identity, index, self.served.vocabulary) for index in range(len(asked.choices))]
        transport = request.transport

        def write(index: int, first: int, end: int) -> None:
            if transport is not None and not transport.is_closing():
                transport.write(writers[index].tokens(first, end))

        cached = await self._generate(asked, write, received)
        if transport is not None and not transport.is_closing():
            last = usage_event(asked, identity, cached) if asked.include_usage else b""
            transport.write(last + DONE)
        await response.write_eof()
        return response

    async def _generate(
        self, asked: ApiRequest, on_tokens: Callable[[int, int, int], None], received: float
    ) -> int | None:
        """Generate all choices of *asked*; *on_tokens* gets the choice and its tokens' places. Cancelled: given up.

        Returns how many tokens of the prompts were in the prefix cache, where the server tells.
        """
        left = len(asked.choices)
        finished = asyncio.get_running_loop().create_future()

        def told(index: int, first: int, end: int) -> None:
            nonlocal left
            on_tokens(index, first, end)
            if end == asked.choices[index].output:
                left -= 1
                if not left and not finished.done():
                    finished.set_result(None)

        jobs: list[Job] = [
            self.engine.submit(self._question(asked, choice), partial(told, index), received)
            for index, choice in enumerate(asked.choices)
        ]
        try:
            await finished
        except asyncio.CancelledError:
            for job in jobs:
                self.engine.abort(job)
            raise
        return sum(job.cached for job in jobs) if self.served.tells_cached else None

    def _question(self, asked: ApiRequest, choice: Choice) -> Question:
        content = None
        if self._spec.prefix_caching:
            output = partial(self.served.vocabulary.output, choice.seed)
            content = TokenContent(choice.prompt, self._spec.layout.block_size, asked.cache_salt, output)
        return Question(len(choice.prompt), choice.output, choice.finish_reason, content)


def served_names(spec: EngineSpec) -> tuple[str, ...]:
    """The names the model answers to: as the configuration has it, and its repository on the hub."""
    weights = spec.model.weights_for(spec.precision) or spec.model.weights[0]
    return tuple(dict.fromkeys((spec.config.main.model, weights.repository)))


async def serve(spec: EngineSpec, host: str, port: int, on_ready: OnReady) -> None:
    """Serve until SIGINT or SIGTERM; *on_ready* gets the URL.

    Raises:
        ServerError: the address is taken or not ours.
    """
    async with EngineServer(spec, host, port) as server:
        loop, stop = asyncio.get_running_loop(), asyncio.Event()
        signals = (signal.SIGINT, signal.SIGTERM)
        for number in signals:
            loop.add_signal_handler(number, stop.set)
        on_ready(server.url)
        try:
            await stop.wait()
        finally:
            for number in signals:
                loop.remove_signal_handler(number)


def run_server(spec: EngineSpec, host: str, port: int, on_ready: OnReady) -> None:
    """`serve` on a uvloop event loop: what a command calls, in a process of its own.

    No search for unused circles of objects goes through what was made until now, nor often: one holds up every stream,
    a full one for a tenth of a second.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(10_000, 20, 20)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(serve(spec, host, port, on_ready))


def _json(value: Any, status: int = 200) -> web.Response:
    return web.Response(body=encode_json(value), status=status, headers={"Content-Type": "application/json"})


async def _object(request: web.Request) -> dict[str, Any]:
    """The JSON object in the request's body."""
    try:
        return _decode_object(await request.read())
    except ValueError as error:
        raise ApiError(400, f"the body is not a JSON object: {error}") from None


async def _announce(_: web.Request, response: web.StreamResponse) -> None:
    response.headers["Server"] = SERVER


@web.middleware
async def _as_vllm_says(
    request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
) -> web.StreamResponse:
    """Errors in vLLM's own form: its error object, or the framework's `detail` for a wrong path or method."""
    try:
        return await handler(request)
    except ApiError as error:
        return _json(error.body, error.status)
    except web.HTTPException as error:
        return _json({"detail": error.reason}, error.status)


async def _open_stream(request: web.Request) -> web.StreamResponse:
    """A stream whose headers are sent at once: vLLM sends them before the first token."""
    response = web.StreamResponse(headers=_STREAM_HEADERS)
    response.enable_chunked_encoding()
    await response.prepare(request)
    await response.write(b"")
    return response


async def _refuse_in_stream(request: web.Request, error: ApiError) -> web.StreamResponse:
    response = await _open_stream(request)
    with contextlib.suppress(ConnectionError):
        if request.transport is not None:
            request.transport.write(error_event(error.body) + DONE)
        await response.write_eof()
    return response
