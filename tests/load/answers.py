"""Answers as bytes, for the decoder's tests: one event after the other, split and stamped as a test says."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import Any

from giq.load.connection import End
from giq.load.decoder import Answer

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
DONE = "[DONE]"


def sse(message: dict[str, Any] | str, line_end: str = "\n") -> bytes:
    """One event."""
    text = message if isinstance(message, str) else json.dumps(message, ensure_ascii=False)
    return f"data: {text}{line_end}{line_end}".encode()


def chunked(parts: Iterable[bytes]) -> list[bytes]:
    """The head, each part as one HTTP chunk, and the end of the response."""
    return [HEAD, *(b"%x\r\n%s\r\n" % (len(part), part) for part in parts), b"0\r\n\r\n"]


def text_chunk(text: str, finish: str | None = None, count: int | None = None, **more: Any) -> dict[str, Any]:
    """A completion's chunk; with *count* it says how many tokens there were so far."""
    message: dict[str, Any] = {"choices": [{"index": 0, "text": text, "finish_reason": finish, **more}]}
    if count is not None:
        message["usage"] = {"prompt_tokens": 16, "completion_tokens": count, "total_tokens": 16 + count}
    return message


def chat_chunk(delta: dict[str, Any], finish: str | None = None, count: int | None = None) -> dict[str, Any]:
    """A chat's chunk."""
    message = text_chunk("", finish, count)
    message["choices"] = [{"index": 0, "delta": delta, "finish_reason": finish}]
    return message


def counts(prompt: int, completion: int, **more: Any) -> dict[str, Any]:
    """The chunk that holds nothing but the counts."""
    return {"choices": [], "usage": {"prompt_tokens": prompt, "completion_tokens": completion, **more}}


def answer(
    pieces: Sequence[bytes], stamps: Sequence[int] | None = None, end: End = "complete", detail: str | None = None
) -> Answer:
    """An answer whose piece i came at stamps[i] (100, 200, ... when not given), sent at 50 and scheduled at 40."""
    times = stamps if stamps is not None else [100 * (number + 1) for number in range(len(pieces))]
    return Answer(
        run_id="run-1", point_id="p001", request_id=3, worker_id=0, zero_ns=0, scheduled_ns=40, sent_ns=50,
        end_ns=times[-1] if times else 60, end=end, detail=detail, connect_ns=None, reused=True, attempts=1,
        input_tokens=16, output_tokens=4, stamps=times, pieces=pieces,
    )  # fmt: skip


def split(data: bytes, cuts: Iterable[int]) -> list[bytes]:
    """*data* cut at these places."""
    places = sorted({cut % (len(data) + 1) for cut in cuts} | {0, len(data)})
    return [data[begin:end] for begin, end in pairwise(places) if end > begin]
