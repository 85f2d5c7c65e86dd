"""Records and samples to Arrow columns and back, and Arrow columns to the arrays that summaries need."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain
from operator import attrgetter
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from giq.curve.requests import NULL, OUTCOMES, Record, Requests, Sample
from giq.errors import DamagedFileError
from giq.store.schema import PHASES, REQUESTS, SERVER

_record_values = attrgetter(*REQUESTS.names)
_sample_values = attrgetter(*SERVER.names)

READ_COLUMNS = [
    "request_id", "phase", "scheduled_ns", "sent_ns", "first_token_ns", "last_token_ns", "end_ns", "outcome",
    "requested_input_tokens", "requested_output_tokens", "input_tokens", "cached_tokens", "output_tokens",
    "token_gaps_ns", "chunk_tokens",
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
    return np.concatenate([np.zeros(1, dtype=np.int64), np.cumsum(lengths, dtype=np.int64)])


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
    outcome = pc.index_in(table["outcome"], value_set=pa.array(OUTCOMES))
    if outcome.null_count:
        raise DamagedFileError("holds an outcome that this giq does not know", where=where, hint="Upgrade giq.")
    gaps, gap_offsets = _lists(table["token_gaps_ns"])
    chunks, chunk_offsets = _lists(table["chunk_tokens"])
    return Requests(
        request_id=_ints(table["request_id"]),
        measured=np.asarray(pc.equal(table["phase"], "measure").to_numpy(), dtype=bool),
        scheduled_ns=_ints(table["scheduled_ns"]),
        sent_ns=_ints(table["sent_ns"]),
        first_token_ns=_ints(table["first_token_ns"]),
        last_token_ns=_ints(table["last_token_ns"]),
        end_ns=_ints(table["end_ns"]),
        outcome=outcome.to_numpy().astype(np.int8),
        requested_input_tokens=_ints(table["requested_input_tokens"]),
        requested_output_tokens=_ints(table["requested_output_tokens"]),
        input_tokens=_ints(table["input_tokens"]),
        cached_tokens=_ints(table["cached_tokens"]),
        output_tokens=_ints(table["output_tokens"]),
        gaps_ns=gaps,
        gap_offsets=gap_offsets,
        chunk_tokens=chunks,
        chunk_offsets=chunk_offsets,
    )


def _ints(column: Any) -> NDArray[np.int64]:
    return np.asarray(column.fill_null(NULL).to_numpy(), dtype=np.int64)


def _lists(column: Any) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """All values of a column of lists, one row after the other, and where each row begins; null is empty."""
    offsets = _offsets(np.asarray(pc.list_value_length(column).fill_null(0).to_numpy(), dtype=np.int64))
    parts = [np.asarray(chunk.flatten(), dtype=np.int64) for chunk in column.chunks]
    return parts[0] if len(parts) == 1 else np.concatenate([*parts, np.zeros(0, dtype=np.int64)]), offsets


def in_order(table: Any) -> Any:
    """The rows of a table `requests` by number in the schedule, whichever worker sent them."""
    if len(table) < 2 or bool(pc.all(pc.less_equal(table["request_id"][:-1], table["request_id"][1:])).as_py()):
        return table
    keys = [("request_id", "ascending"), ("worker_id", "ascending")]
    return table.take(pc.sort_indices(table, sort_keys=keys))


def with_phases(table: Any, phases: NDArray[Any]) -> Any:
    """A table `requests` whose column `phase` is *phases*, indexes into PHASES in the order of the rows."""
    index = table.schema.get_field_index("phase")
    named = pa.array(PHASES).take(pa.array(np.asarray(phases, dtype=np.int64)))
    return table.set_column(index, table.schema.field(index), named)
