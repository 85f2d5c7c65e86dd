"""What was recorded of requests and of the server: rows as they happen, columns for analysis."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from giq.documents import Entry

Phase = Literal["warmup", "measure", "drain"]
Outcome = Literal["ok", "http_error", "stream_error", "timeout", "refused", "cut_off", "cancelled"]
OUTCOMES: tuple[Outcome, ...] = ("ok", "http_error", "stream_error", "timeout", "refused", "cut_off", "cancelled")
TokenRule = Literal["usage", "token_ids", "content"]

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
    """The columns of one load point's records that summaries need; int64 unless said, NULL where unknown.

    `ok` (bool) tells success, `outcome` (int8) indexes OUTCOMES. `gaps_ns` holds all token gaps one request
    after the other; request i owns `gaps_ns[gap_offsets[i]:gap_offsets[i + 1]]`; `chunk_tokens` is parallel to
    the token-carrying chunks of each request (one more than its gaps) with its own offsets, empty where unknown.
    """

    request_id: NDArray[np.int64]
    measured: NDArray[np.bool_]
    scheduled_ns: NDArray[np.int64]
    sent_ns: NDArray[np.int64]
    first_token_ns: NDArray[np.int64]
    last_token_ns: NDArray[np.int64]
    end_ns: NDArray[np.int64]
    outcome: NDArray[np.int8]
    requested_input_tokens: NDArray[np.int64]
    requested_output_tokens: NDArray[np.int64]
    input_tokens: NDArray[np.int64]
    cached_tokens: NDArray[np.int64]
    output_tokens: NDArray[np.int64]
    gaps_ns: NDArray[np.int64]
    gap_offsets: NDArray[np.int64]
    chunk_tokens: NDArray[np.int64]
    chunk_offsets: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.request_id)

    @property
    def ok(self) -> NDArray[np.bool_]:
        """Which requests succeeded."""
        return np.equal(self.outcome, OUTCOMES.index("ok"))

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
            requested_input_tokens=_ints(record.requested_input_tokens for record in records),
            requested_output_tokens=_ints(record.requested_output_tokens for record in records),
            input_tokens=_ints(record.input_tokens for record in records),
            cached_tokens=_ints(record.cached_tokens for record in records),
            output_tokens=_ints(record.output_tokens for record in records),
            gaps_ns=_flat(gaps),
            gap_offsets=_offsets(gaps),
            chunk_tokens=_flat(chunks),
            chunk_offsets=_offsets(chunks),
        )


def _ints(values: Iterable[int | None]) -> NDArray[np.int64]:
    return np.array([NULL if value is None else value for value in values], dtype=np.int64)


def _flat(rows: Sequence[Sequence[int]]) -> NDArray[np.int64]:
    return np.array([value for row in rows for value in row], dtype=np.int64)


def _offsets(rows: Sequence[Sequence[int]]) -> NDArray[np.int64]:
    return np.concatenate([[0], np.cumsum([len(row) for row in rows], dtype=np.int64)]).astype(np.int64)
