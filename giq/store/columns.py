"""Records and samples to Arrow columns and back, and Arrow columns to the arrays that summaries need."""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Sequence
from itertools import chain
from operator import attrgetter
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from giq.curve.requests import NULL, OUTCOMES, Record, Requests, Sample, fit_int32, sessions_or_none
from giq.errors import DamagedFileError
from giq.store.schema import PHASES, REQUESTS, SERVER

_record_values = attrgetter(*REQUESTS.names)
_sample_values = attrgetter(*SERVER.names)

READ_COLUMNS = [
    "request_id", "phase", "scheduled_ns", "sent_ns", "first_token_ns", "last_token_ns", "end_ns", "outcome",
    "requested_input_tokens", "requested_output_tokens", "input_tokens", "cached_tokens", "output_tokens",
    "token_gaps_ns", "chunk_tokens", "session_id",
]  # fmt: skip
"""The columns that `requests_of` needs."""


def record_batch(records: Sequence[Record]) -> Any:
    """*records* as one Arrow record batch of the table `requests`, in their order."""
    columns = zip(*map(_record_values, records), strict=True)
    return _batch(columns, REQUESTS)


def sample_batch(samples: Sequence[Sample]) -> Any:
    """*samples* as one Arrow record batch of the table `server`, in their order."""
    columns = zip(*map(_sample_values, samples), strict=True)
    return _batch(columns, SERVER)


def _batch(columns: Any, schema: Any) -> Any:
    arrays = [
        _list_array(values, field.type) if pa.types.is_list(field.type) else _array(values, field.type)
        for values, field in zip(columns, schema, strict=True)
    ]
    return pa.record_batch(arrays, schema=schema)


def _array(values: Sequence[Any], kind: Any) -> Any:
    if pa.types.is_map(kind):
        return pa.array([list(value.items()) for value in values], kind)
    return pa.array(values, kind)


def _list_array(rows: Sequence[Sequence[int] | None], kind: Any) -> Any:
    """A column of lists of integers; going through one flat array is over twice as fast as Arrow's own way."""
    missing = np.fromiter((row is None for row in rows), dtype=bool, count=len(rows))
    present = [() if row is None else row for row in rows]
    offsets = _offsets(np.fromiter(map(len, present), dtype=np.int64, count=len(present)))
    values = np.fromiter(chain.from_iterable(present), dtype=kind.value_type.to_pandas_dtype(), count=offsets[-1])
    return pa.ListArray.from_arrays(
        pa.array(offsets, pa.int32()), pa.array(values), type=kind, mask=pa.array(missing)
    )  # fmt: skip


def _offsets(lengths: NDArray[np.int64]) -> NDArray[np.int64]:
    found = np.zeros(len(lengths) + 1, dtype=np.int64)
    np.cumsum(lengths, out=found[1:])
    return found


def records_of(table: Any) -> list[Record]:
    """The rows of a table `requests` as records."""
    return [Record(**row) for row in table.to_pylist()]


def samples_of(table: Any) -> list[Sample]:
    """The rows of a table `server` as samples."""
    return [Sample(**{**row, "labels": dict(row["labels"])}) for row in table.to_pylist()]


def requests_of(table: Any, where: str) -> Requests:
    """The columns of a table `requests` (READ_COLUMNS at least) as arrays, without a loop over its rows.

    Raises:
        DamagedFileError: an outcome that giq does not know.
    """
    return requests_of_parts([table], where)


def requests_of_parts(parts: Iterable[Any], where: str) -> Requests:
    """The same of a table that comes in *parts*, of which one at a time is in memory; raises as `requests_of` does."""
    columns: dict[str, array[int]] = {name: array(code) for name, code in _CODES.items()}
    for table in parts:
        for name, values in _arrays(table, where).items():
            if columns[name].typecode == "i" and not fit_int32(values):
                columns[name] = array("q", columns[name])
            code = columns[name].typecode
            columns[name].frombytes(np.ascontiguousarray(values, dtype=code).view(np.uint8).data)
    found = {name: np.frombuffer(column, dtype=column.typecode) for name, column in columns.items()}
    counts = {name: found.pop(name) for name in ("gap_counts", "chunk_counts")}
    sessions = found.pop("session_id")
    return Requests(
        measured=found.pop("measured").view(np.bool_),
        gap_offsets=_offsets(counts["gap_counts"]),
        chunk_offsets=_offsets(counts["chunk_counts"]),
        session_id=sessions_or_none(sessions),
        **found,
    )


_TIMES = ("scheduled_ns", "sent_ns", "first_token_ns", "last_token_ns", "end_ns", "request_id", "session_id")
_LENGTHS = ("requested_input_tokens", "requested_output_tokens", "input_tokens", "cached_tokens", "output_tokens")
_CODES = {
    **dict.fromkeys(_TIMES, "q"), **dict.fromkeys(_LENGTHS, "i"), "outcome": "b", "measured": "b",
    "gaps_ns": "i", "gap_counts": "i", "chunk_tokens": "H", "chunk_counts": "i",
}  # fmt: skip
"""The columns as they grow, and their types (codes that `array` and numpy share). Gaps widen when one is too long."""


def _arrays(table: Any, where: str) -> dict[str, NDArray[Any]]:
    """One part of a table `requests` as arrays, by the names of _CODES."""
    outcome = pc.index_in(table["outcome"], value_set=pa.array(OUTCOMES))
    if outcome.null_count:
        raise DamagedFileError("holds an outcome that this giq does not know", where=where, hint="Upgrade giq.")
    found: dict[str, NDArray[Any]] = {name: _ints(table[name]) for name in (*_TIMES, *_LENGTHS)}
    found["outcome"] = outcome.to_numpy()
    found["measured"] = np.asarray(pc.equal(table["phase"], "measure").to_numpy(), dtype=bool)
    found["gaps_ns"], found["gap_counts"] = _lists(table["token_gaps_ns"])
    found["chunk_tokens"], found["chunk_counts"] = _lists(table["chunk_tokens"])
    return found


def _ints(column: Any) -> NDArray[Any]:
    return np.asarray(column.fill_null(NULL).to_numpy())


def _lists(column: Any) -> tuple[NDArray[Any], NDArray[Any]]:
    """All values of a column of lists, one row after the other, and how many each row has; null has none."""
    counts = np.asarray(pc.list_value_length(column).fill_null(0).to_numpy())
    return np.concatenate([np.zeros(0, dtype=np.uint16), *(chunk.flatten() for chunk in column.chunks)]), counts


def with_phases(table: Any, phases: NDArray[Any]) -> Any:
    """A table `requests` whose column `phase` is *phases*, indexes into PHASES in the order of the rows."""
    index = table.schema.get_field_index("phase")
    named = pa.array(PHASES).take(pa.array(np.asarray(phases, dtype=np.int64)))
    return table.set_column(index, table.schema.field(index), named)
