"""Servers on loopback for tests, and how their answers are read."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, TypeVar

import aiohttp

from giq.engine.http_server import EngineServer
from giq.engine.spec import EngineSpec
from tests.engine.engines import engine

T = TypeVar("T")
ROOT = Path(__file__).parents[2]
SAMPLE = ROOT / "tests" / "vllm" / "samples" / "completion_stream.bin"
USAGE = {"include_usage": True, "continuous_usage_stats": True}
Work = Callable[[EngineServer, aiohttp.ClientSession], Awaitable[T]]


def served(work: Work[T], spec: EngineSpec | None = None) -> T:
    """Start a server, let *work* talk to it, and stop it."""

    async def run() -> T:
        async with EngineServer(spec or engine(), "127.0.0.1", 0) as server, aiohttp.ClientSession() as session:
            return await work(server, session)

    return asyncio.run(run())


def posted(path: str, *bodies: dict[str, Any], spec: EngineSpec | None = None) -> list[tuple[int, str]]:
    """Status and text of the answers to *bodies*, one after the other."""

    async def work(server: EngineServer, session: aiohttp.ClientSession) -> list[tuple[int, str]]:
        answers = []
        for body in bodies:
            async with session.post(server.url + path, json=body) as answer:
                answers.append((answer.status, await answer.text()))
        return answers

    return served(work, spec)


def events(text: str) -> list[str]:
    """The data of each server-sent event; nothing else may be in *text*."""
    parts = text.split("\n\n")
    assert parts.pop() == ""
    assert all(part.startswith("data: ") for part in parts)
    return [part.removeprefix("data: ") for part in parts]


def chunks(body: bytes) -> list[str]:
    """The chunks of a body in HTTP's chunked encoding, which must end as it should."""
    found: list[str] = []
    while True:
        size, _, body = body.partition(b"\r\n")
        length = int(size, 16)
        assert body[length : length + 2] == b"\r\n"
        if not length:
            assert body == b"\r\n"
            return found
        found.append(body[:length].decode())
        body = body[length + 2 :]


def skeleton(event: str) -> str:
    """*event* without the values that differ from request to request."""
    event = re.sub(r'"(id|model|text|system_fingerprint)":"(?:[^"\\]|\\.)*"', r'"\1":"_"', event)
    event = re.sub(r'"created":\d+', '"created":0', event)
    return re.sub(r"\[\d+(,\d+)*\]", lambda found: f"[{found[0].count(',') + 1} ids]", event)


async def raw_post(server: EngineServer, body: dict[str, Any]) -> tuple[bytes, bytes]:
    """Head and body of one answer as they come off the socket."""
    host, port = server.url.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    data = json.dumps(body).encode()
    writer.write(b"POST /v1/completions HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n")
    writer.write(b"Connection: close\r\nContent-Length: %d\r\n\r\n%b" % (len(data), data))
    answer = await reader.read()
    writer.close()
    await writer.wait_closed()
    head, _, rest = answer.partition(b"\r\n\r\n")
    return head, rest
