"""From the stamped bytes of an answer to its record: HTTP framing, events, JSON, tokens. Pure, and never raises.

A success needs status 200, a response that is whole and an event stream that is well formed, with at least one
token and either a finish reason or `[DONE]`; everything else is told apart by its outcome and `error_kind`.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from giq.curve.requests import Outcome, Record
from giq.load.connection import End
from giq.load.encoding import Decompressor, EncodingError, decompressor
from giq.load.framing import FramingError, Head, ResponseReader
from giq.load.messages import Chunk, Usage, error_kind, plain_word, read_chunk
from giq.load.sse import Event, EventReader, StreamFormatError
from giq.load.tokens import TokenTimes

STEP_PIECES = 32
"""Pieces decoded in one step of `decoding`: some 100 µs of work."""

MAX_ERROR_BYTES = 65_536
ABORTS = ("abort", "error")
"""Finish reasons by which vLLM says that it gave the request up."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What is known of one request without looking into its answer; times on the machine's monotonic clock.

    `pieces[i]` came at `stamps[i]`; `detail` says more about its `end` where that is not the server's doing.
    """

    run_id: str
    point_id: str
    request_id: int
    worker_id: int
    zero_ns: int
    scheduled_ns: int
    sent_ns: int
    end_ns: int
    end: End
    detail: str | None
    connect_ns: int | None
    reused: bool
    attempts: int
    input_tokens: int
    output_tokens: int
    stamps: Sequence[int]
    pieces: Sequence[bytes]


class Decoded(NamedTuple):
    """The record of an answer, and its tokens where the server tells them (else none)."""

    record: Record
    token_ids: list[int]


def decode(answer: Answer) -> Decoded:
    """What is in *answer*."""
    steps = decoding(answer)
    while True:
        try:
            next(steps)
        except StopIteration as stopped:
            decoded: Decoded = stopped.value
            return decoded


def decoding(answer: Answer) -> Generator[None, None, Decoded]:
    """The same in steps, so that a long answer does not keep others waiting."""
    stream = _Stream()
    for at, (stamp, piece) in enumerate(zip(answer.stamps, answer.pieces, strict=True)):
        if not stream.take(stamp, piece):
            break
        if at % STEP_PIECES == STEP_PIECES - 1:
            yield
    stream.close(answer)
    return Decoded(_record(answer, stream), stream.tokens.token_ids)


class _Stream:
    """What the pieces of one answer came to."""

    def __init__(self) -> None:
        self.reader = ResponseReader()
        self.events = EventReader()
        self.tokens = TokenTimes()
        self.usage: Usage | None = None
        self.error: str | None = None
        self.finish_reason: str | None = None
        self.done = False
        self.error_body: list[bytes] = []
        self._head: Head | None = None
        self._decompressor: Decompressor | None = None
        self._stamp = 0

    def take(self, stamp: int, piece: bytes) -> bool:
        """Read one piece; False when nothing after it can be believed."""
        self._stamp = stamp
        try:
            for part in self.reader.feed(piece):
                self._body(self._head or self._begin(), part)
        except (FramingError, StreamFormatError, EncodingError) as error:
            self.error = self.error or error.kind
            return False
        return self.error is None

    def close(self, answer: Answer) -> None:
        """Read what the end of the response ends."""
        if answer.end == "complete":
            self.reader.closed()
        if self.error is not None or not self.reader.ended or self.status != 200:
            return
        try:
            if self._decompressor is not None:
                self._decompressor.close()
            self._events(self.events.end())
        except (StreamFormatError, EncodingError) as error:
            self.error = self.error or error.kind

    @property
    def status(self) -> int | None:
        """The HTTP status, None when no head came."""
        return None if self.reader.head is None else self.reader.head.status

    def _begin(self) -> Head:
        """Look at the head, before the first part of the body."""
        head = self._head = self.reader.head
        assert head is not None  # noqa: S101 - a body part never comes before it
        self._decompressor = decompressor(head.headers.get(b"content-encoding", b""))
        if head.status == 200 and head.headers.get(b"content-type", b"").lower().startswith(b"application/json"):
            raise StreamFormatError("not_a_stream")
        return head

    def _body(self, head: Head, part: bytes) -> None:
        if self._decompressor is not None:
            part = self._decompressor.feed(part)
        if head.status == 200:
            self._events(self.events.feed(part))
        elif len(self.error_body) < MAX_ERROR_BYTES // 64:
            self.error_body.append(part[:MAX_ERROR_BYTES])

    def _events(self, events: list[Event]) -> None:
        for name, data in events:
            if self.done:
                raise StreamFormatError("data_after_done")
            if data == b"[DONE]":
                self.done = True
                continue
            try:
                chunk = read_chunk(data)
            except ValueError:
                raise StreamFormatError("error_event" if name == b"error" else "malformed_json") from None
            if name == b"error" or chunk.error is not None or chunk.object == "error":
                raise StreamFormatError(error_kind(chunk, named=True) or "error")
            self._chunk(chunk)

    def _chunk(self, chunk: Chunk) -> None:
        usage, choices = chunk.usage, chunk.choices
        if usage is not None:
            self.usage = usage
        if choices:
            self.tokens.add(self._stamp, choices, usage)
            if choices[0].finish_reason is not None:
                self.finish_reason = choices[0].finish_reason
        elif choices is None and usage is None:
            raise StreamFormatError("not_a_chunk")


def _record(answer: Answer, stream: _Stream) -> Record:
    usage, zero = stream.usage, answer.zero_ns
    if usage is not None and not usage.is_sane():
        usage, stream.error = None, stream.error or "absurd_usage"
    output_tokens = None if usage is None else usage.completion_tokens
    times = stream.tokens.times(output_tokens)
    outcome, kind = _outcome(answer, stream, tokens=len(times.stamps))
    details = usage.prompt_tokens_details if usage else None
    more = usage.completion_tokens_details if usage else None
    return Record(
        run_id=answer.run_id,
        point_id=answer.point_id,
        request_id=answer.request_id,
        worker_id=answer.worker_id,
        scheduled_ns=answer.scheduled_ns - zero,
        sent_ns=answer.sent_ns - zero,
        first_token_ns=times.stamps[0] - zero if times.stamps else None,
        last_token_ns=times.stamps[-1] - zero if times.stamps else None,
        end_ns=answer.end_ns - zero,
        first_answer_token_ns=None if times.first_answer is None else times.first_answer - zero,
        connect_ns=answer.connect_ns,
        connection_reused=answer.reused,
        attempts=answer.attempts,
        http_status=stream.status,
        outcome=outcome,
        error_kind=kind,
        finish_reason=plain_word(stream.finish_reason),
        requested_input_tokens=answer.input_tokens,
        requested_output_tokens=answer.output_tokens,
        input_tokens=None if usage is None else usage.prompt_tokens,
        cached_tokens=None if details is None else details.cached_tokens,
        output_tokens=output_tokens,
        reasoning_tokens=None if more is None else more.reasoning_tokens,
        token_gaps_ns=times.gaps() if times.stamps else None,
        chunk_tokens=times.counts,
        first_token_rule=times.rule,
    )


def _outcome(answer: Answer, stream: _Stream, tokens: int) -> tuple[Outcome, str | None]:
    """How it went, and in one word why when it did not go well."""
    if answer.end == "cancelled":
        return "cancelled", answer.detail
    if answer.end in ("timeout", "refused"):
        return ("timeout" if answer.end == "timeout" else "refused"), answer.detail
    status = stream.status
    if status is not None and status != 200:
        return "http_error", _http_error(status, b"".join(stream.error_body))
    if stream.error is not None:
        return "stream_error", stream.error
    if answer.end == "malformed":
        return "stream_error", "malformed_response"
    if not stream.reader.ended:
        return "cut_off", "closed_before_answer" if status is None else "closed_in_answer"
    if stream.finish_reason in ABORTS:
        return "stream_error", f"finish_{stream.finish_reason}"
    if not stream.done and stream.finish_reason is None:
        return "cut_off", "no_finish"
    if not tokens:
        return "stream_error", "no_tokens"
    return "ok", None


def _http_error(status: int, body: bytes) -> str:
    if 300 <= status < 400:
        return "redirect_not_followed"
    try:
        kind = error_kind(read_chunk(body[:MAX_ERROR_BYTES]))
    except ValueError:
        kind = None
    return kind or f"http_{status}"
