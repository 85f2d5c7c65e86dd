"""A server of known timing, to check a client against: `python -m giq.load.exact_server --first 50ms --gap 10ms`.

It answers OpenAI completions as a stream: the first token so long after the request came, then one every gap, as
many as `max_tokens` asks for, each event with the usage so far, as vLLM sends them. Times are absolute: a token
that went out late does not delay the next. The pace can stand in the URL instead (`http://127.0.0.1:PORT/50ms/10ms`).

It is no model server and says so in its Server header, in /version and in /v1/models; giq refuses to profile it.
One thread with a core of its own: it spins while a token falls due soon. Requests count from when they came in at
the socket, not from when they were read, where the system tells (Linux). It knows how late it was: GET /lateness,
and one line of JSON on stdout when it is stopped. Standard library only, so that it starts at once.
"""

from __future__ import annotations

import argparse
import contextlib
import heapq
import json
import os
import resource
import select
import selectors
import signal
import socket
import struct
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from time import monotonic_ns, time_ns
from typing import Any

from giq import __version__
from giq.errors import UsageError
from giq.units import parse_duration

SERVER = f"giq-exact/{__version__}"
MODEL = "giq-exact"
SPIN_NS = 1_500_000
"""Nearer than this to a due token the selector is not slept in: it wakes to the millisecond only."""

IDLE_S = 0.2
SENDS_AT_ONCE = 16
"""Tokens sent in one go before requests are looked for again."""

STUCK_MS = 1000
MOST_READ = 65_536
SO_TIMESTAMPNS = 35
"""Linux: note on what is read when it came in (socket(7)); Python has no name for it."""

_TIMESPEC = struct.Struct("@qq")
BUCKET_NS, BUCKETS = 10_000, 100_000

HEAD = (
    "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream; charset=utf-8\r\n"
    f"server: {SERVER}\r\ntransfer-encoding: chunked\r\n\r\n"
).encode()


@dataclass(frozen=True)
class Pace:
    """When tokens are due, in ns: the first after the request came, each other after the one before."""

    first_ns: int
    gap_ns: int


class Lateness:
    """How much later than due tokens were handed to the socket, in buckets of 10 µs."""

    def __init__(self) -> None:
        self.tokens = 0
        self._worst_ns = 0
        self._buckets = [0] * (BUCKETS + 1)

    def note(self, late_ns: int) -> None:
        """A token went out."""
        self.tokens += 1
        self._buckets[min(late_ns // BUCKET_NS, BUCKETS)] += 1
        self._worst_ns = max(self._worst_ns, late_ns)

    def told(self) -> dict[str, float]:
        """The number of tokens, and median, 99th percentile and maximum of their lateness in seconds."""
        return {
            "tokens": self.tokens,
            "late_p50_s": self._at_most(0.5),
            "late_p99_s": self._at_most(0.99),
            "late_max_s": self._worst_ns / 1e9,
        }

    def _at_most(self, share: float) -> float:
        """The upper edge of the bucket that the share of tokens lies within."""
        seen = 0
        for bucket, count in enumerate(self._buckets[:BUCKETS]):  # the last one has no upper edge
            seen += count
            if seen >= share * self.tokens:
                return min((bucket + 1) * BUCKET_NS, self._worst_ns) / 1e9
        return self._worst_ns / 1e9


class Client:
    """One connection and the answer that is due on it."""

    __slots__ = ("arrived_ns", "data", "due_ns", "gap_ns", "key", "prompt", "sent", "socket", "tokens", "written_ns")

    def __init__(self, opened: socket.socket) -> None:
        self.socket = opened
        self.data = b""
        self.key: list[int] = []
        self.prompt = self.tokens = self.sent = 0
        self.arrived_ns = self.due_ns = self.gap_ns = 0
        self.written_ns: list[int] = []


class ExactServer:
    """The server; `serve` returns when `stopping` is set.

    *pace* holds for URLs that name none. *record* keeps when each token was written, for GET /writes. Without
    *spin*, on a core that others need too, it sleeps to the millisecond.

    Raises:
        OSError: the port is taken.
    """

    def __init__(self, port: int, pace: Pace, *, record: bool = False, spin: bool = True) -> None:
        self._pace, self._record, self._spin_ns = pace, record, SPIN_NS if spin else 0
        self._listener = socket.create_server(("127.0.0.1", port), backlog=4096)
        self._listener.setblocking(False)
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._listener, selectors.EVENT_READ, None)
        self._due: list[tuple[int, int, Client]] = []
        self._order = 0
        self._done: list[dict[str, Any]] = []
        self.lateness = Lateness()
        self.stopping = False
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"

    def stop_at_eof(self, descriptor: int) -> None:
        """Stop when the other end of that pipe is gone."""
        self._selector.register(descriptor, selectors.EVENT_READ, "eof")

    def serve(self) -> None:
        """Answer until stopped."""
        while not self.stopping:
            for key, _ in self._selector.select(self._patience()):
                if key.data is None:
                    self._accept()
                elif isinstance(key.data, Client):
                    self._read(key.data)
                else:
                    self.stopping = not os.read(key.fd, 4096)
            self._send_due()

    def _patience(self) -> float:
        """How long nothing is due, in seconds."""
        if not self._due:
            return IDLE_S
        left = self._due[0][0] - monotonic_ns() - self._spin_ns
        return max(0, left) / 1e9

    def _accept(self) -> None:
        with contextlib.suppress(BlockingIOError, ConnectionError):
            while True:
                opened, _ = self._listener.accept()
                opened.setblocking(False)
                opened.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                if sys.platform == "linux":
                    opened.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)
                self._selector.register(opened, selectors.EVENT_READ, Client(opened))

    def _read(self, client: Client) -> None:
        try:
            data, notes, *_ = client.socket.recvmsg(MOST_READ, 64)
            client.arrived_ns = _came_ns(notes)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        client.data += data
        head, blank, body = client.data.partition(b"\r\n\r\n")
        if not data:
            self._drop(client)
        elif blank and len(body) >= _length(head):
            client.data = b""
            try:
                self._answer(client, head, body)
            except (ValueError, KeyError, TypeError, AttributeError, UsageError) as error:
                self._reply(client, 400, {"error": {"type": "BadRequestError", "message": str(error)}})

    def _drop(self, client: Client) -> None:
        client.tokens = 0
        if client.socket.fileno() < 0:
            return
        self._selector.unregister(client.socket)
        client.socket.close()

    def _answer(self, client: Client, head: bytes, body: bytes) -> None:
        method, path, _ = head.split(b"\r\n", 1)[0].decode("ascii").split(" ")
        if method == "POST" and path.endswith("/v1/completions"):
            self._begin(client, path.removesuffix("/v1/completions"), json.loads(body))
            return
        match method, "/" + path.rpartition("/")[2]:
            case "GET", "/health":
                self._reply(client, 200, {})
            case "GET", "/version":
                self._reply(client, 200, {"version": "unknown", "giq_exact": __version__})
            case "GET", "/models":
                listed = {"id": MODEL, "object": "model", "owned_by": MODEL}
                self._reply(client, 200, {"object": "list", "data": [listed]})
            case "GET", "/lateness":
                self._reply(client, 200, self.lateness.told())
            case "GET", "/writes" if self._record:
                done, lateness = self._done, self.lateness
                self._done, self.lateness = [], Lateness()
                self._reply(client, 200, {"requests": done, "lateness": lateness.told()})
            case _:
                self._reply(client, 404, {"error": {"type": "NotFoundError", "message": f"no {method} {path} here"}})

    def _begin(self, client: Client, prefix: str, asked: dict[str, Any]) -> None:
        if not asked.get("stream"):
            raise ValueError("the exact server only streams: ask with stream = true")
        pace = _pace(prefix, self._pace)
        prompt = asked["prompt"]
        count = len(prompt.split()) if isinstance(prompt, str) else len(prompt)
        client.key = [] if isinstance(prompt, str) else prompt[:8]
        client.prompt, client.tokens, client.sent = max(1, count), max(1, int(asked.get("max_tokens", 16))), 0
        client.due_ns, client.gap_ns = client.arrived_ns + pace.first_ns, pace.gap_ns
        client.written_ns = []
        self._order += 1
        heapq.heappush(self._due, (client.due_ns, self._order, client))

    def _send_due(self) -> None:
        """Send what is due, a few tokens at a time: requests that come meanwhile are noticed soon."""
        due, record, note = self._due, self._record, self.lateness.note
        for _ in range(SENDS_AT_ONCE):
            if not due or due[0][0] > monotonic_ns():
                return
            at_ns, order, client = due[0]
            if not client.tokens:  # its connection is gone
                heapq.heappop(due)
                continue
            client.sent += 1
            last = client.sent == client.tokens
            data = _token(client.prompt, client.sent, last)
            now = monotonic_ns()
            note(now - at_ns)
            if record:
                client.written_ns.append(now)
            if last:
                heapq.heappop(due)
                self._end(client)
            else:
                client.due_ns = at_ns + client.gap_ns
                heapq.heapreplace(due, (client.due_ns, order, client))
            self._write(client, HEAD + data if client.sent == 1 else data)

    def _end(self, client: Client) -> None:
        client.tokens = 0
        if self._record:
            self._done.append({"key": client.key, "arrived_ns": client.arrived_ns, "written_ns": client.written_ns})

    def _reply(self, client: Client, status: int, body: Any) -> None:
        data = json.dumps(body).encode()
        head = f"HTTP/1.1 {status} X\r\nserver: {SERVER}\r\ncontent-type: application/json\r\n"
        self._write(client, f"{head}content-length: {len(data)}\r\n\r\n".encode() + data)

    def _write(self, client: Client, data: bytes) -> None:
        """Hand *data* to the socket; a client that takes nothing for a second is dropped."""
        try:
            sent = client.socket.send(data)
        except BlockingIOError:
            sent = 0
        except OSError:
            return  # the next read sees that it is gone
        while sent < len(data):
            waiting = select.poll()
            waiting.register(client.socket, select.POLLOUT)
            if not waiting.poll(STUCK_MS):
                self._drop(client)
                return
            try:
                sent += client.socket.send(data[sent:])
            except OSError:
                return


@lru_cache(maxsize=65_536)
def _token(prompt: int, number: int, last: bool) -> bytes:
    """The bytes of one token's event, and of what ends the answer after the last."""
    finish = b'"length"' if last else b"null"
    event = (
        b'data: {"id":"cmpl-exact","object":"text_completion","created":0,"model":"%s","choices":[{"index":0,'
        b'"text":" word","logprobs":null,"finish_reason":%s,"stop_reason":null,"token_ids":null}],'
        b'"usage":{"prompt_tokens":%d,"total_tokens":%d,"completion_tokens":%d}}\n\n'
        % (MODEL.encode(), finish, prompt, prompt + number, number)
    )
    end = b"e\r\ndata: [DONE]\n\n\r\n0\r\n\r\n" if last else b""
    return b"%x\r\n%s\r\n%s" % (len(event), event, end)


def _came_ns(notes: Sequence[tuple[int, int, bytes]]) -> int:
    """When the bytes just read came in, on the monotonic clock: by the system's note on them, else now."""
    now = monotonic_ns()
    for level, kind, data in notes:
        if (level, kind) == (socket.SOL_SOCKET, SO_TIMESTAMPNS) and len(data) == _TIMESPEC.size:
            seconds, nanoseconds = map(int, _TIMESPEC.unpack(data))
            return min(now, now - (time_ns() - seconds * 1_000_000_000 - nanoseconds))
    return now


def _length(head: bytes) -> int:
    """The length of the body that the request's *head* announces."""
    for line in head.split(b"\r\n")[1:]:
        name, _, value = line.partition(b":")
        if name.lower() == b"content-length" and value.strip().isdigit():
            return int(value)
    return 0


def _pace(prefix: str, otherwise: Pace) -> Pace:
    """The pace that a URL names as /FIRST/GAP."""
    named = [part for part in prefix.split("/") if part]
    return otherwise if len(named) != 2 else Pace(*(round(parse_duration(part) * 1e9) for part in named))


def main(words: Sequence[str] | None = None) -> None:
    """Serve until SIGTERM, Ctrl-C or, with --until-eof, the end of stdin; then tell the lateness."""
    parser = argparse.ArgumentParser(
        prog="python -m giq.load.exact_server", description="A server of known timing, to check a client against."
    )
    parser.add_argument("--port", type=int, default=0, help="default: any that is free")
    parser.add_argument("--first", default="50ms", help="from the request to its first token")
    parser.add_argument("--gap", default="10ms", help="from each token to the next")
    parser.add_argument("--core", type=int, help="run on this core alone")
    parser.add_argument("--share-core", action="store_true", help="sleep to the millisecond instead of spinning")
    parser.add_argument("--record", action="store_true", help="keep when each token was written, for GET /writes")
    parser.add_argument("--until-eof", action="store_true", help="stop when stdin ends")
    asked = parser.parse_args(words)
    try:
        pace = Pace(round(parse_duration(asked.first) * 1e9), round(parse_duration(asked.gap) * 1e9))
        server = ExactServer(asked.port, pace, record=asked.record, spin=not asked.share_core)
    except (OSError, UsageError) as error:
        raise SystemExit(f"cannot serve: {error}") from None
    if asked.core is not None:
        os.sched_setaffinity(0, {asked.core})
    files = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (files, files))
    for stop in (signal.SIGTERM, signal.SIGINT):
        signal.signal(stop, lambda *_: setattr(server, "stopping", True))
    if asked.until_eof:
        server.stop_at_eof(sys.stdin.fileno())
    print(server.url, flush=True)
    server.serve()
    print(json.dumps(server.lateness.told()), flush=True)


if __name__ == "__main__":
    main()
