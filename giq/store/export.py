"""The three tables as CSV, JSON and Parquet files for other tools, and points back from them.

Columns and units are those of the tables (`ttft_p90_s` is seconds, `sent_ns` nanoseconds). What CSV cannot hold in a
cell, lists and mappings, is JSON text there; JSON has no infinity, so that it is the text `Infinity`.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, BinaryIO, Literal, get_args

import pyarrow as pa
import pyarrow.csv as pc

from giq.curve.curve import Curve
from giq.documents import decode_json, encode_json
from giq.errors import DamagedFileError, DataError
from giq.store import run_tables
from giq.store.database import curves_of, read_curves
from giq.store.parquet import unreadable, write_table
from giq.store.point_rows import PointRow, points_table, rows_of
from giq.store.run import open_run
from giq.store.schema import POINTS, REQUESTS, SERVER

TableName = Literal["points", "requests", "server"]
ExportForm = Literal["csv", "json", "parquet"]
TABLES: tuple[TableName, ...] = get_args(TableName)
SCHEMAS: dict[TableName, Any] = {"points": POINTS, "requests": REQUESTS, "server": SERVER}
_RECORDS = {"requests": run_tables.REQUEST_TABLE, "server": run_tables.SERVER_TABLE}
_PARQUET = b"PAR1"
_INFINITY = {"Infinity": math.inf, "-Infinity": -math.inf}


def points_of(curves: Iterable[Curve]) -> Any:
    """The table `points` of *curves*, as Arrow, in their order."""
    return points_table([PointRow(curve.config, curve.workload, point) for curve in curves for point in curve.points])


def records_of_runs(runs: Sequence[Path], table: TableName) -> Any:
    """The table `requests` or `server` of the run folders *runs*, as Arrow, one run after the other.

    Raises:
        DamagedFileError: a file is damaged.
        DataError: one is no folder of a run.
    """
    kind = _RECORDS[table]
    found = [run_tables.all_rows(open_run(path).path, kind) for path in runs]
    return pa.concat_tables([kind.schema.empty_table(), *found])


def write_export(table: Any, name: TableName, form: ExportForm, sink: BinaryIO) -> None:
    """Write the Arrow *table* to *sink*; the same table always gives the same bytes."""
    if form == "parquet":
        write_table(sink, SCHEMAS[name], [table])
    elif form == "csv":
        pc.write_csv(_flat(table), sink)
    else:
        sink.write(b"[")
        for place, row in enumerate(table.to_pylist(maps_as_pydicts="strict")):
            sink.write((b",\n" if place else b"\n") + encode_json(_finite(row)))
        sink.write(b"\n]\n")


def _flat(table: Any) -> Any:
    """*table* with every nested column as JSON text."""
    for index, field in enumerate(table.schema):
        if pa.types.is_nested(field.type):
            values = table.column(index).to_pylist(maps_as_pydicts="strict")
            texts = [None if value is None else encode_json(_finite(value)).decode() for value in values]
            table = table.set_column(index, field.name, pa.array(texts, pa.string()))
    return table


def _finite(value: Any) -> Any:
    """*value* with infinities as text, everywhere in it."""
    if isinstance(value, float) and math.isinf(value):
        return "Infinity" if value > 0 else "-Infinity"
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    return [_finite(item) for item in value] if isinstance(value, list) else value


def _infinite(value: Any, kind: Any) -> Any:
    """What `_finite` made text, as numbers again, where *kind* wants numbers."""
    if pa.types.is_floating(kind):
        return _INFINITY.get(value, value)
    if pa.types.is_list(kind) and isinstance(value, list):
        return [_infinite(item, kind.value_type) for item in value]
    if pa.types.is_struct(kind) and isinstance(value, dict):
        return {field.name: _infinite(value.get(field.name), field.type) for field in kind}
    return value


def is_export(path: Path) -> bool:
    """Whether *path* is a file of the table `points` that giq wrote, by how it begins."""
    try:
        with path.open("rb") as file:
            begin = file.read(200)
    except OSError:
        return False
    return begin.startswith((_PARQUET, b'"schema_version","curve_id"', b'[\n{"schema_version":'))


def read_export(path: Path) -> list[Curve]:
    """The curves in a file of the table `points` (CSV, JSON or Parquet), with the values that were exported.

    Raises:
        DamagedFileError: it is not whole.
        DataError: it cannot be read.
        NewerFormatError: written by a newer giq.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise unreadable(error, str(path)) from None
    if data.startswith(_PARQUET):
        return read_curves(path)
    try:
        rows = _json_rows(data, path) if data.startswith(b"[") else _csv_rows(data, path)
        table = pa.Table.from_pylist(rows, POINTS)
    except (pa.ArrowInvalid, pa.ArrowTypeError, pa.ArrowKeyError) as error:
        raise _damaged(path, error) from None
    return curves_of(rows_of(table, str(path)))


def _damaged(path: Path, problem: object) -> DataError:
    first = str(problem).partition("\n")[0]
    return DamagedFileError(
        f"is no whole export of points: {first}", where=str(path), hint="Export it again, as Parquet if you can."
    )


def _json_rows(data: bytes, path: Path) -> list[dict[str, Any]]:
    rows = decode_json(data, list[dict[str, Any]], str(path))
    return [{field.name: _infinite(row.get(field.name), field.type) for field in POINTS} for row in rows]


def _csv_rows(data: bytes, path: Path) -> list[dict[str, Any]]:
    nested = [field for field in POINTS if pa.types.is_nested(field.type)]
    kinds = {field.name: pa.string() if field in nested else field.type for field in POINTS}
    table = pc.read_csv(
        pa.BufferReader(data),
        parse_options=pc.ParseOptions(newlines_in_values=True),
        convert_options=pc.ConvertOptions(
            column_types=kinds, strings_can_be_null=True, quoted_strings_can_be_null=False, null_values=[""],
            include_columns=list(kinds), include_missing_columns=True,
        ),
    )  # fmt: skip
    rows: list[dict[str, Any]] = table.to_pylist()
    for row in rows:
        for field in nested:
            text = row[field.name]
            row[field.name] = None if text is None else _infinite(decode_json(text, list, str(path)), field.type)
    return rows
