"""What was recorded of requests and of the server: rows as they happen, columns for analysis."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, fields
from itertools import pairwise
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from giq.documents import Entry

Phase = Literal["warmup", "measure", "drain"]
Outcome = Literal["ok", "http_error", "stream_error", "timeout", "refused", "cut_off", "cancelled"]
OUTCOMES: tuple[Outcome, ...] = ("ok", "http_error", "stream_error", "timeout", "refused", "cut_off", "cancelled")
TokenRule = Literal["usage", "token_ids", "content"]

_TOKENS_AT_ONCE = 300_000

Counts = NDArray[np.integer[Any]]

NULL = -1
"""Stands for an unknown time or count in the integer columns of `Requests`."""


class Record(Entry, frozen=True, kw_only=True):
    """One request, as SCHEMA.md's table `requests` has it; times are ns since the run's zero."""

    run_id: str
    point_id: str
    request_id: int
    worker_id: int = 0
    phase: Phase = "measure"
    scheduled_ns: int
    sent_ns: int
    first_token_ns: int | None = None
    last_token_ns: int | None = None
    end_ns: int | None = None
    first_answer_token_ns: int | None = None
    connect_ns: int | None = None
    connection_reused: bool = False
    attempts: int = 1
    http_status: int | None = None
    outcome: Outcome
    error_kind: str | None = None
    finish_reason: str | None = None
    requested_input_tokens: int
    requested_output_tokens: int
    input_tokens: int | None = None
    cached_tokens: int | None = None
    output_tokens: int | None = None
    reasoning_tokens: int | None = None
    token_gaps_ns: Sequence[int] | None = None
    chunk_tokens: Sequence[int] | None = None
    first_token_rule: TokenRule = "content"
    session_id: int | None = None
    turn: int | None = None
    parent_id: int | None = None
    think_ns: int | None = None
    prefix_group: int | None = None
    adapter: str | None = None
    priority: str | None = None
    backend: str | None = None
    modality: str | None = None
    input_units: int | None = None
    output_units: int | None = None
    server_queue_s: float | None = None


class Sample(Entry, frozen=True, kw_only=True):
    """One value of one server metric at one time, as SCHEMA.md's table `server` has it."""

    run_id: str
    point_id: str
    ts_ns: int
    source: str
    engine: str | None = None
    metric: str
    labels: dict[str, str]
    value: float


@dataclass(frozen=True, eq=False)
class Requests:
    """The columns of one load point's records that summaries need; times int64, NULL where unknown.

    Token counts are integers of any size: int32 from records, uint16 in `chunk_tokens`. `ok` (bool) tells success,
    `outcome` (int8) indexes OUTCOMES. `gaps_ns` (int32, int64 where one is longer than 2.1 s:
    of a million requests they take most of the memory) holds all token gaps one request after the other; request i
    owns `gaps_ns[gap_offsets[i]:gap_offsets[i + 1]]`; `chunk_tokens` is parallel to the token-carrying chunks of each
    request (one more than its gaps) with its own offsets, empty where unknown.
    `session_id` tells which requests are turns of one conversation; None where there are none.
    """

    request_id: NDArray[np.int64]
    measured: NDArray[np.bool_]
    scheduled_ns: NDArray[np.int64]
    sent_ns: NDArray[np.int64]
    first_token_ns: NDArray[np.int64]
    last_token_ns: NDArray[np.int64]
    end_ns: NDArray[np.int64]
    outcome: NDArray[np.int8]
    requested_input_tokens: Counts
    requested_output_tokens: Counts
    input_tokens: Counts
    cached_tokens: Counts
    output_tokens: Counts
    gaps_ns: Counts
    gap_offsets: NDArray[np.int64]
    chunk_tokens: Counts
    chunk_offsets: NDArray[np.int64]
    session_id: NDArray[np.int64] | None = None

    def __len__(self) -> int:
        return len(self.request_id)

    @property
    def ok(self) -> NDArray[np.bool_]:
        """Which requests succeeded."""
        return np.equal(self.outcome, OUTCOMES.index("ok"))

    def parts(self) -> Iterator[Requests]:
        """All requests, a stretch of consecutive ones at a time: arrays as long as its tokens stay small."""
        load = np.arange(len(self) + 1)
        load += self.gap_offsets
        edges = np.searchsorted(load, np.arange(0, load[-1], _TOKENS_AT_ONCE))
        del load  # of a million requests it is megabytes, and what follows goes on for long
        for first, last in pairwise([*np.unique(edges).tolist(), len(self)]):
            yield self._part(first, last)

    def _part(self, first: int, last: int) -> Requests:
        """Views of the requests from *first* to before *last*."""
        gaps, chunks = self.gap_offsets[first : last + 1], self.chunk_offsets[first : last + 1]
        whole = {"gaps_ns": self.gaps_ns[gaps[0] : gaps[-1]], "chunk_tokens": self.chunk_tokens[chunks[0] : chunks[-1]]}
        offsets = {"gap_offsets": gaps - gaps[0], "chunk_offsets": chunks - chunks[0]}
        rows = {field.name: getattr(self, field.name) for field in fields(self)}
        sliced: dict[str, Any] = {
            name: None if column is None else column[first:last] for name, column in rows.items()
        }  # fmt: skip
        return Requests(**(sliced | whole | offsets))

    @classmethod
    def of(cls, records: Sequence[Record]) -> Requests:
        """The columns of *records*, in their order."""
        gaps = [record.token_gaps_ns or () for record in records]
        chunks = [record.chunk_tokens or () for record in records]
        return cls(
            request_id=_ints(record.request_id for record in records),
            measured=np.array([record.phase == "measure" for record in records], dtype=bool),
            scheduled_ns=_ints(record.scheduled_ns for record in records),
            sent_ns=_ints(record.sent_ns for record in records),
            first_token_ns=_ints(record.first_token_ns for record in records),
            last_token_ns=_ints(record.last_token_ns for record in records),
            end_ns=_ints(record.end_ns for record in records),
            outcome=np.array([OUTCOMES.index(record.outcome) for record in records], dtype=np.int8),
            requested_input_tokens=_lengths(record.requested_input_tokens for record in records),
            requested_output_tokens=_lengths(record.requested_output_tokens for record in records),
            input_tokens=_lengths(record.input_tokens for record in records),
            cached_tokens=_lengths(record.cached_tokens for record in records),
            output_tokens=_lengths(record.output_tokens for record in records),
            gaps_ns=_gaps(_flat(gaps)),
            gap_offsets=_offsets(gaps),
            chunk_tokens=_flat(chunks).astype(np.uint16),
            chunk_offsets=_offsets(chunks),
            session_id=sessions_or_none(_ints(record.session_id for record in records)),
        )


def sessions_or_none(session_id: NDArray[np.int64]) -> NDArray[np.int64] | None:
    """*session_id* as `Requests` has it: None where no request has one."""
    return session_id if (session_id != NULL).any() else None


def _ints(values: Iterable[int | None]) -> NDArray[np.int64]:
    return np.array([NULL if value is None else value for value in values], dtype=np.int64)


def _lengths(values: Iterable[int | None]) -> NDArray[np.int32]:
    return _ints(values).astype(np.int32)


def fit_int32(values: Counts) -> bool:
    """Whether all *values* can be int32."""
    bounds = np.iinfo(np.int32)
    return bool(values.min(initial=0) >= bounds.min and values.max(initial=0) <= bounds.max)


def _gaps(gaps_ns: NDArray[np.int64]) -> Counts:
    return gaps_ns.astype(np.int32) if fit_int32(gaps_ns) else gaps_ns


def _flat(rows: Sequence[Sequence[int]]) -> NDArray[np.int64]:
    return np.array([value for row in rows for value in row], dtype=np.int64)


def _offsets(rows: Sequence[Sequence[int]]) -> NDArray[np.int64]:
    return np.concatenate([[0], np.cumsum([len(row) for row in rows], dtype=np.int64)]).astype(np.int64)
