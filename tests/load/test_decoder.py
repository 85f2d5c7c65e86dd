"""What the decoder makes of the streams that servers send, well formed and not."""

from __future__ import annotations

import dataclasses
import gzip
import json
import zlib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from giq.curve.requests import Record
from giq.load import decoder
from giq.load.connection import End
from giq.load.decoder import Answer, decoding
from tests.load.answers import DONE, HEAD, answer, chat_chunk, chunked, counts, split, sse, text_chunk

SAMPLES = Path(__file__).resolve().parent.parent / "vllm" / "samples"

COMPLETION: list[dict[str, Any] | str] = [
    text_chunk("", count=1),
    text_chunk(" häßlich", count=2),
    text_chunk(" 你好", count=3),
    text_chunk(" end", "length", count=4),
    counts(16, 4, prompt_tokens_details={"cached_tokens": 5}),
    DONE,
]
"""What vLLM sends: the first chunk has a token and no text."""


def stream(messages: list[dict[str, Any] | str], line_end: str = "\n") -> list[bytes]:
    """The pieces of a response with one event in each."""
    return chunked(sse(message, line_end) for message in messages)


def decode(answered: Answer) -> Record:
    """The record of an answer."""
    return decoder.decode(answered).record


def decoded(messages: list[dict[str, Any] | str], line_end: str = "\n") -> Record:
    """The record of a response; event i arrives at 200 + 100 i."""
    return decode(answer(stream(messages, line_end)))


def without_times(record: Record) -> dict[str, Any]:
    """All of a record that does not depend on when its pieces came."""
    times = ("first_token_ns", "last_token_ns", "end_ns", "first_answer_token_ns", "token_gaps_ns")
    return {name: getattr(record, name) for name in record.__struct_fields__ if name not in times}


def test_a_completion_with_the_usage_of_each_chunk() -> None:
    """Every field follows from the chunks: the first token is the first chunk counted, though it has no text."""
    record = decoded(COMPLETION)

    assert (record.outcome, record.http_status, record.finish_reason) == ("ok", 200, "length")
    assert record.first_token_rule == "usage"
    assert (record.first_token_ns, record.first_answer_token_ns, record.last_token_ns) == (200, 200, 500)
    assert record.token_gaps_ns == [100, 100, 100]
    assert record.chunk_tokens == [1, 1, 1, 1]
    assert (record.input_tokens, record.cached_tokens, record.output_tokens) == (16, 5, 4)
    assert (record.requested_input_tokens, record.requested_output_tokens) == (16, 4)
    assert (record.scheduled_ns, record.sent_ns, record.end_ns) == (40, 50, 800)


def test_times_count_from_the_zero_of_the_run() -> None:
    """The run's zero is taken off every time, and off nothing else."""
    record = decode(dataclasses.replace(answer(stream(COMPLETION)), zero_ns=30))
    assert (record.scheduled_ns, record.sent_ns, record.first_token_ns, record.end_ns) == (10, 20, 170, 770)
    assert record.token_gaps_ns == [100, 100, 100]


def test_several_tokens_in_one_chunk_are_counted() -> None:
    """Tokens that come together are one gap and several tokens; a chunk that adds none is no token."""
    record = decoded([text_chunk("a", count=2), text_chunk("", count=2), text_chunk("b", "stop", count=5), DONE])

    assert record.chunk_tokens == [2, 3]
    assert record.token_gaps_ns == [200]


def test_token_ids_decide_where_usage_does_not() -> None:
    """Without the usage of each chunk, token ids tell which chunks carry tokens."""
    record = decoded([
        text_chunk("", token_ids=[]), text_chunk("", token_ids=[7]), text_chunk("ab", token_ids=[8, 9]),
        text_chunk("", "length", token_ids=[]), counts(16, 3), DONE,
    ])  # fmt: skip

    assert record.first_token_rule == "token_ids"
    assert record.first_token_ns == 300
    assert record.chunk_tokens == [1, 2]
    assert record.output_tokens == 3


def test_content_decides_where_nothing_else_does() -> None:
    """With usage at the end only, chunks with content are those with tokens, and how many is unknown."""
    record = decoded([text_chunk(""), text_chunk("a"), text_chunk("bc", "length"), counts(16, 9), DONE])

    assert record.first_token_rule == "content"
    assert (record.first_token_ns, record.last_token_ns) == (300, 400)
    assert record.chunk_tokens is None
    assert record.output_tokens == 9


def test_usage_in_the_last_chunk_only_is_no_usage_of_each_chunk() -> None:
    """Counts that come with the finish reason do not move the first token to the end."""
    record = decoded([text_chunk("a"), text_chunk("b"), text_chunk("", "length", count=2), DONE])

    assert (record.first_token_rule, record.first_token_ns, record.output_tokens) == ("content", 200, 2)


def test_no_usage_at_all_leaves_the_counts_unknown() -> None:
    """An answer without counts is a success whose counts are unknown: tokens are never counted here."""
    record = decoded([text_chunk("a b c d"), text_chunk(" e", "stop"), DONE])

    assert (record.outcome, record.output_tokens, record.input_tokens) == ("ok", None, None)


def test_role_only_deltas_are_no_tokens() -> None:
    """The role that opens a chat carries no token, with or without usage."""
    for counted in (True, False):
        record = decoded([
            chat_chunk({"role": "assistant", "content": ""}, count=0 if counted else None),
            chat_chunk({"content": "Hi"}, count=1 if counted else None),
            chat_chunk({}, "stop", count=1 if counted else None),
            DONE,
        ])  # fmt: skip
        assert (record.first_token_ns, record.last_token_ns) == (300, 300)
        assert record.first_token_rule == ("usage" if counted else "content")


@pytest.mark.parametrize("name", ["reasoning", "reasoning_content"])
def test_reasoning_counts_as_output_and_the_answer_proper_is_kept_apart(name: str) -> None:
    """The first token may be reasoning; the first of the answer is noted on its own."""
    record = decoded([
        chat_chunk({"role": "assistant"}), chat_chunk({name: "hmm"}), chat_chunk({name: "so"}),
        chat_chunk({"content": "42"}, "stop"),
        counts(16, 3, completion_tokens_details={"reasoning_tokens": 2}), DONE,
    ])  # fmt: skip

    assert (record.first_token_ns, record.first_answer_token_ns) == (300, 500)
    assert (record.output_tokens, record.reasoning_tokens) == (3, 2)


def test_tool_calls_are_tokens() -> None:
    """A delta that calls a tool carries tokens."""
    call = {"index": 0, "function": {"name": "f", "arguments": ""}}
    record = decoded([chat_chunk({"role": "assistant"}), chat_chunk({"tool_calls": [call]}, "tool_calls"), DONE])

    assert (record.outcome, record.first_token_ns, record.first_answer_token_ns) == ("ok", 300, 300)


def test_keep_alive_comments_are_nothing() -> None:
    """Comments before and between events change neither outcome nor times."""
    parts = [b": ping\n\n", sse(text_chunk("a", count=1)), b":\n\n: ping\n\n", sse(text_chunk("b", "stop", count=2))]
    record = decode(answer(chunked([*parts, sse(DONE)])))

    assert (record.outcome, record.first_token_ns, record.token_gaps_ns) == ("ok", 300, [200])


def test_several_data_lines_are_one_event() -> None:
    """JSON that a server spread over several data lines is one message."""
    text = json.dumps(text_chunk("a", "stop", count=1), indent=1)
    event = "".join(f"data: {line}\n" for line in text.split("\n")) + "\n"
    record = decode(answer(chunked([event.encode(), sse(DONE)])))

    assert (record.outcome, record.output_tokens) == ("ok", 1)


@pytest.mark.parametrize("line_end", ["\n", "\r\n", "\r"])
def test_line_ends(line_end: str) -> None:
    """All three line ends of the standard are read alike."""
    assert decoded(COMPLETION, line_end) == decoded(COMPLETION)


def test_a_missing_done_is_no_failure_after_a_finish_reason() -> None:
    """A finish reason ends an answer as well as [DONE] does."""
    assert decoded([text_chunk("a", "stop", count=1)]).outcome == "ok"


def test_a_missing_last_empty_line_is_no_failure() -> None:
    """The end of the body ends the last event."""
    record = decode(answer(chunked([sse(text_chunk("a", "stop", count=1)), b"data: [DONE]"])))
    assert record.outcome == "ok"


def test_a_stream_without_an_end_is_cut_off() -> None:
    """A body that is whole but stops in the middle of an answer is no success."""
    record = decoded([text_chunk("a", count=1), text_chunk("b", count=2)])

    assert (record.outcome, record.error_kind) == ("cut_off", "no_finish")
    assert record.token_gaps_ns == [100]


BAD_STREAMS: dict[str, tuple[list[bytes], str, str]] = {
    "error event": (
        stream([text_chunk("a", count=1), {"error": {"type": "InternalServerError", "message": "x"}}, DONE]),
        "stream_error", "InternalServerError",
    ),
    "error by name": (chunked([b'event: error\ndata: {"code": 500}\n\n']), "stream_error", "500"),
    "error by name, no JSON": (chunked([b"event: error\ndata: out of memory\n\n"]), "stream_error", "error_event"),
    "old error object": (stream([{"object": "error", "type": "BadRequestError"}]), "stream_error", "BadRequestError"),
    "error with free text": (stream([{"error": {"type": "a b c"}}]), "stream_error", "error"),
    "malformed JSON": (chunked([b"data: {\"choices\": [}\n\n"]), "stream_error", "malformed_json"),
    "not an object": (stream(["[1, 2]"]), "stream_error", "malformed_json"),
    "nested without end": (stream(['{"error":' + "[" * 100_000]), "stream_error", "malformed_json"),
    "other object": (stream([{"hello": 1}]), "stream_error", "not_a_chunk"),
    "not events": (chunked([b"<html>oops</html>\n"]), "stream_error", "malformed_sse"),
    "data after the end": (stream([*COMPLETION, text_chunk("z", count=5)]), "stream_error", "data_after_done"),
    "absurd counts": (stream([text_chunk("a", "stop", count=10**12), DONE]), "stream_error", "absurd_usage"),
    "negative counts": (stream([text_chunk("a", "stop", count=-3), DONE]), "stream_error", "absurd_usage"),
    "nothing but an end": (stream([DONE]), "stream_error", "no_tokens"),
    "aborted": (stream([text_chunk("a", "abort", count=1), DONE]), "stream_error", "finish_abort"),
    "bytes after the end": ([*stream(COMPLETION), b"more"], "stream_error", "bytes_after_end"),
    "chunk without its end": ([HEAD, b"3\r\nabcXX"], "stream_error", "malformed_chunk"),
    "status line": ([b"HTTP/1.1 2OO OK\r\n\r\n"], "stream_error", "malformed_head"),
    "empty body": ([b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"], "cut_off", "no_finish"),
    "redirect": ([b"HTTP/1.1 302 Found\r\nContent-Length: 0\r\n\r\n"], "http_error", "redirect_not_followed"),
    "unknown encoding": (
        [HEAD.replace(b"\r\n\r\n", b"\r\nContent-Encoding: br\r\n\r\n"), b"1\r\nx\r\n0\r\n\r\n"],
        "stream_error", "unknown_encoding",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD_STREAMS)
def test_what_is_wrong_is_told_and_is_never_a_success(name: str) -> None:
    """Each malformed stream has its outcome and its kind."""
    pieces, outcome, kind = BAD_STREAMS[name]
    record = decode(answer(pieces))
    assert (record.outcome, record.error_kind) == (outcome, kind)


@pytest.mark.parametrize(
    ("end", "detail", "outcome", "kind"),
    [
        ("closed", None, "cut_off", "closed_in_answer"),
        ("timeout", "idle", "timeout", "idle"),
        ("cancelled", None, "cancelled", None),
    ],
)
def test_what_came_before_an_early_end_is_kept(end: End, detail: str | None, outcome: str, kind: str | None) -> None:
    """Tokens received before a cut, a timeout or a cancellation are in the record."""
    record = decode(answer(stream(COMPLETION)[:3], end=end, detail=detail))

    assert (record.outcome, record.error_kind) == (outcome, kind)
    assert (record.first_token_ns, record.output_tokens) == (200, 2)


def test_the_key_is_not_taken_from_the_words_of_an_error() -> None:
    """Of an error only its type or code is kept, never its free text."""
    body = json.dumps({"error": {"message": "bad key sk-1", "type": "sk 1", "code": "invalid_key"}}).encode()
    head = b"HTTP/1.1 401 Unauthorized\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
    record = decode(answer([head % len(body), body]))

    assert (record.outcome, record.error_kind, record.http_status) == ("http_error", "invalid_key", 401)
    assert "sk-1" not in repr(record)


@pytest.mark.parametrize("encoding", ["gzip", "deflate"])
def test_a_compressed_stream_is_read(encoding: str) -> None:
    """A server that compresses although it was asked not to is understood; times are those of its pieces."""
    body = b"".join(sse(message) for message in COMPLETION)
    data = gzip.compress(body) if encoding == "gzip" else zlib.compress(body)
    head = HEAD.replace(b"\r\n\r\n", b"\r\nContent-Encoding: " + encoding.encode() + b"\r\n\r\n")
    parts = chunked([data[:20], data[20:]])[1:]
    whole = decode(answer([head, *parts]))
    assert (whole.outcome, whole.output_tokens, whole.first_token_ns) == ("ok", 4, 300)

    torn = decode(answer([head, *chunked([data[:-9]])[1:]]))
    assert torn.outcome == "stream_error"


def test_a_bomb_is_not_swelled_up() -> None:
    """A few kilobytes that would decompress to a gigabyte are refused."""
    bomb = zlib.compressobj(wbits=31)
    data = b"".join(bomb.compress(b"\0" * 2**20) for _ in range(80)) + bomb.flush()
    head = HEAD.replace(b"\r\n\r\n", b"\r\nContent-Encoding: gzip\r\n\r\n")
    assert decode(answer([head, *chunked([data])[1:]])).outcome == "stream_error"


@pytest.mark.parametrize("framing", ["length", "close"])
def test_bodies_that_are_not_chunked(framing: str) -> None:
    """A body may have a length, or end with its connection."""
    body = b"".join(sse(message) for message in COMPLETION)
    length = b"Content-Length: %d\r\n" % len(body) if framing == "length" else b""
    head = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n" + length + b"\r\n"
    assert decode(answer([head, body])).outcome == "ok"
    assert decode(answer([head, body], end="closed")).outcome == ("ok" if framing == "length" else "cut_off")


def test_interim_responses_are_skipped() -> None:
    """A 100 or 103 before the answer is no answer."""
    interim = b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n"
    assert decode(answer([interim + interim, *stream(COMPLETION)])).outcome == "ok"


def test_the_stream_of_a_real_vllm() -> None:
    """The recorded answer of vLLM 0.32: 16 tokens in, 12 out, the first of which has no text."""
    body = (SAMPLES / "completion_stream.bin").read_bytes()
    events = body.split(b"\n\n\r\n")
    pieces = [HEAD, *(event + b"\n\n\r\n" for event in events[:-1]), events[-1]]
    record = decode(answer(pieces))

    assert (record.outcome, record.finish_reason, record.first_token_rule) == ("ok", "length", "usage")
    assert (record.input_tokens, record.output_tokens) == (16, 12)
    assert record.chunk_tokens == [1] * 12
    assert record.token_gaps_ns == [100] * 11


cuts = st.lists(st.integers(0, 5000), max_size=30)


@given(cuts=cuts, line_end=st.sampled_from(["\n", "\r\n", "\r"]))
def test_where_the_stream_is_split_does_not_matter(cuts: list[int], line_end: str) -> None:
    """However the bytes are cut into pieces (in a character, a chunk's size, a line end), the record is the same."""
    whole = stream(COMPLETION, line_end)
    pieces = split(b"".join(whole), cuts)
    assert without_times(decode(answer(pieces))) == without_times(decode(answer(whole)))


@given(cuts=cuts)
def test_a_token_is_stamped_by_the_piece_that_completes_its_event(cuts: list[int]) -> None:
    """The first token's time is that of the first piece with which its event is whole."""
    data = b"".join(stream(COMPLETION))
    pieces = split(data, cuts)
    complete = data.index(b"\n\n") + 2
    ends = [sum(map(len, pieces[: number + 1])) for number in range(len(pieces))]
    expected = next(100 * (number + 1) for number, end in enumerate(ends) if end >= complete)
    assert decode(answer(pieces)).first_token_ns == expected


@given(end=st.integers(0, 3000))
def test_no_truncated_stream_is_a_success(end: int) -> None:
    """Cut anywhere before its last byte, with the connection closed, an answer is never recorded as a success."""
    data = b"".join(stream(COMPLETION))
    piece = data[: end % len(data)]
    assert decode(answer([piece] if piece else [], end="closed")).outcome == "cut_off"


noise = st.one_of(
    st.binary(max_size=200),
    st.sampled_from([b"data: ", b"\n\n", b"\r\n", b"0\r\n\r\n", b"[DONE]", b"{", b'{"choices":[]}', b"event: error\n",
                     HEAD, sse(DONE), sse(text_chunk("a", "stop", count=1)), b"HTTP/1.1 200 OK\r\n\r\n", b":"]),
)  # fmt: skip


@settings(max_examples=300)
@given(pieces=st.lists(noise, max_size=12), end=st.sampled_from(["complete", "closed", "malformed", "timeout"]))
def test_no_bytes_make_it_fail(pieces: list[bytes], end: End) -> None:
    """Any bytes give a record; a success has status 200 and at least one token."""
    record = decode(answer(pieces, end=end))
    if record.outcome == "ok":
        assert record.http_status == 200
        assert record.first_token_ns is not None
        assert end == "complete"
    else:
        assert record.error_kind is not None or end == "timeout"


values: st.SearchStrategy[Any] = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(-5, 2**40), st.floats(allow_nan=False), st.text(max_size=5)),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=3), inner, max_size=3)),
    max_leaves=5,
)
fields = ["choices", "usage", "error", "object", "text", "delta", "content", "finish_reason", "token_ids", "index",
          "completion_tokens", "prompt_tokens", "prompt_tokens_details", "cached_tokens", "tool_calls"]  # fmt: skip
chunk_like = st.recursive(
    values,
    lambda inner: st.one_of(
        st.lists(inner, max_size=2), st.dictionaries(st.sampled_from(fields), inner, max_size=4)
    ),
    max_leaves=12,
)  # fmt: skip


@settings(max_examples=300)
@given(messages=st.lists(st.one_of(chunk_like, st.sampled_from(COMPLETION)), max_size=6))
@example(messages=[{"choices": [{"text": "a", "finish_reason": "x" * 500}]}])
@example(messages=[{"usage": {"completion_tokens": 2**40}, "choices": [{"text": "a", "finish_reason": "stop"}]}])
def test_no_json_makes_it_fail(messages: list[Any]) -> None:
    """Any JSON gives a record that fits the table: counts in range, gaps one fewer than chunks with tokens."""
    texts = [message if message == DONE else json.dumps(message) for message in messages]
    record = decode(answer(stream(texts)))
    for count in (record.input_tokens, record.output_tokens, record.cached_tokens, record.reasoning_tokens):
        assert count is None or 0 <= count < 2**31
    for tokens in record.chunk_tokens or ():
        assert 0 < tokens < 2**16
    if record.chunk_tokens is not None:
        assert len(record.token_gaps_ns or ()) == len(record.chunk_tokens) - 1
    if record.outcome == "ok":
        assert record.first_token_ns is not None
    assert len(record.finish_reason or "") <= 64


def test_decoding_takes_small_steps() -> None:
    """A long answer is decoded in many short steps, so that sending goes on between them."""
    messages: list[dict[str, Any] | str] = [text_chunk("a", count=number) for number in range(1, 1001)]
    steps = sum(1 for _ in decoding(answer(stream([*messages, text_chunk("b", "length", count=1001), DONE]))))
    assert steps >= 30
