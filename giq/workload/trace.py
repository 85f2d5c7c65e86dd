"""Traces: recorded arrivals with their token lengths, to be replayed."""

from __future__ import annotations

import csv
import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from giq.documents import json_decoder
from giq.errors import DamagedFileError, DataError, UsageError
from giq.units import NS_PER_S

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_COLUMNS = {
    "arrival": ("arrival_s", "arrival_ns", "timestamp_ms", "timestamp"),
    "input": ("input_tokens", "input_length", "contexttokens", "request_tokens", "prompt_tokens"),
    "output": ("output_tokens", "output_length", "generatedtokens", "response_tokens", "completion_tokens"),
}


@dataclass(frozen=True, eq=False)
class Trace:
    """Recorded requests in the order of arrival; the first arrives at 0.

    `arrival_ns` is int64, `input_tokens` and `output_tokens` int32 and at least 1. `trace_id` is made from
    these values, not from the file's name or format.
    """

    trace_id: str
    arrival_ns: NDArray[np.int64]
    input_tokens: NDArray[np.int32]
    output_tokens: NDArray[np.int32]

    def __len__(self) -> int:
        return len(self.arrival_ns)

    @property
    def rate_rps(self) -> float:
        """Gaps per second from the first to the last arrival: the mean rate; replayed at it, times are as recorded."""
        return float((len(self) - 1) * NS_PER_S / (self.arrival_ns[-1] - self.arrival_ns[0]))


def read_trace(path: Path) -> Trace:
    """The trace in a CSV file with a header, or in JSON Lines (`.jsonl`).

    Columns: `arrival_s`, `arrival_ns` or `timestamp`; `input_tokens` and `output_tokens`. The names of
    published traces are known too: Azure's LLM inference traces (TIMESTAMP as a date, ContextTokens,
    GeneratedTokens), BurstGPT (Timestamp in seconds, Request tokens, Response tokens) and, in JSON Lines,
    Mooncake's (timestamp in milliseconds, input_length, output_length). A count of 0 becomes 1: no request
    without a token can be sent.

    Raises:
        UsageError: there is no such file, or it holds fewer than two requests.
        DamagedFileError: it is not what its name says, or lacks a column.
        DataError: a value is wrong; names the line.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise UsageError("no such trace file", where=str(path), hint="Give a CSV or JSON Lines file.") from None
    except (OSError, UnicodeDecodeError) as error:
        raise DamagedFileError(f"cannot be read: {error}", where=str(path)) from None
    is_json = path.suffix == ".jsonl"
    rows = list(_json_rows(text, path) if is_json else _csv_rows(text, path))
    if len(rows) < 2:
        raise UsageError("a trace needs at least two requests", where=str(path))
    table = np.array(rows, dtype=np.int64)
    table = table[np.argsort(table[:, 0], kind="stable")]
    table[:, 0] -= table[0, 0]
    if table[-1, 0] == 0:
        raise UsageError("all requests of the trace arrive at once", where=str(path))
    trace_id = hashlib.sha256(table.astype("<i8").tobytes()).hexdigest()[:16]
    lengths = np.maximum(table[:, 1:], 1).astype(np.int32)
    return Trace(trace_id, table[:, 0].copy(), lengths[:, 0].copy(), lengths[:, 1].copy())


def _csv_rows(text: str, path: Path) -> Iterator[tuple[int, int, int]]:
    reader = csv.reader(text.splitlines())
    header = next(reader, [])
    columns = _named({_plain(name): name for name in header}, path)
    for number, cells in enumerate(reader, start=2):
        if cells:
            yield _row(dict(zip(header, cells, strict=False)), columns, NS_PER_S, f"{path}, line {number}")


def _json_rows(text: str, path: Path) -> Iterator[tuple[int, int, int]]:
    decode = json_decoder(dict[str, Any])
    columns: dict[str, str] | None = None
    for number, line in enumerate(text.splitlines(), start=1):
        if not line.strip():
            continue
        where = f"{path}, line {number}"
        try:
            row = decode(line.encode())
        except ValueError as error:
            raise DamagedFileError(f"not a JSON object: {error}", where=where) from None
        columns = columns or _named({_plain(name): name for name in row}, path)
        yield _row(row, columns, NS_PER_S // 1000, where)


def _plain(name: str) -> str:
    return name.strip().lower().replace(" ", "_")


def _named(found: Mapping[str, str], path: Path) -> dict[str, str]:
    """For each of arrival, input and output the file's own name of that column."""
    columns = {}
    for meaning, names in _COLUMNS.items():
        name = next((found[known] for known in names if known in found), None)
        if name is None:
            raise DamagedFileError(
                f"has no column for {meaning}: found {', '.join(found) or 'none'}",
                where=str(path),
                hint="Name the columns arrival_s, input_tokens and output_tokens.",
            )
        columns[meaning] = name
    return columns


def _row(row: Mapping[str, Any], columns: Mapping[str, str], timestamp_ns: int, where: str) -> tuple[int, int, int]:
    try:
        arrival = _arrival_ns(row[columns["arrival"]], _plain(columns["arrival"]), timestamp_ns)
        counts = [int(row[columns[side]]) for side in ("input", "output")]
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise DataError(f"a value is missing or no number: {error}", where=where) from None
    if min(counts) < 0 or max(counts) >= 2**31:
        raise DataError(f"impossible token counts {counts}", where=where)
    return arrival, counts[0], counts[1]


def _arrival_ns(value: Any, column: str, timestamp_ns: int) -> int:
    """An arrival in ns; *timestamp_ns* is what one unit of a column called `timestamp` is in this format."""
    unit = {"arrival_s": NS_PER_S, "arrival_ns": 1, "timestamp_ms": NS_PER_S // 1000}.get(column, timestamp_ns)
    try:
        return round(float(value) * unit) if unit > 1 else int(value)
    except ValueError:
        moment = datetime.fromisoformat(str(value).strip())
        aware = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
        return (aware - _EPOCH) // timedelta(microseconds=1) * 1000
