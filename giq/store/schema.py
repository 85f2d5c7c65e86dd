"""The three tables of giq as Arrow schemas, and the version that every file carries.

A column may be added (nullable); none is ever renamed or given another meaning. Unknown is null.
"""

from __future__ import annotations

from typing import Any, get_args

import pyarrow as pa

from giq.curve.point import GRID_METRICS, METRICS, STATISTICS
from giq.curve.requests import Phase
from giq.errors import DamagedFileError, NewerFormatError
from giq.store.arrow_alone import forgo_pandas

forgo_pandas()  # before the first conversion, and this module is imported before any

SCHEMA_VERSION = 1
"""The version of the tables and of run.json that this giq writes; it reads this one and older ones."""

VERSION_KEY = b"giq.schema_version"
TABLE_KEY = b"giq.table"

PHASES: tuple[str, ...] = get_args(Phase)
"""The phases of a request, as `Window.phases` numbers them."""

HIVE_KEYS = ("model", "accelerator")
"""Columns that stand in the folders' names, and so not in the files, of the hive-style layout."""

_ATTAINMENT = pa.struct([("targets", pa.string()), ("joint", pa.float64()), ("goodput_rps", pa.float64())])
_EXPECTED = pa.struct(
    [("target", pa.string()), ("value_s", pa.float64()), ("lo_s", pa.float64()), ("hi_s", pa.float64())]
)

_FORESEEN = pa.struct([("target", pa.string()), ("rate_rps", pa.float64())])

_REQUESTS: tuple[tuple[str, Any], ...] = (
    ("run_id point_id", pa.string()),
    ("request_id", pa.int64()),
    ("worker_id", pa.int16()),
    ("phase", pa.string()),
    ("scheduled_ns sent_ns first_token_ns? last_token_ns? end_ns? first_answer_token_ns? connect_ns?", pa.int64()),
    ("connection_reused", pa.bool_()),
    ("attempts", pa.int8()),
    ("http_status?", pa.int16()),
    ("outcome error_kind? finish_reason?", pa.string()),
    ("requested_input_tokens requested_output_tokens", pa.int32()),
    ("input_tokens? cached_tokens? output_tokens? reasoning_tokens?", pa.int32()),
    ("token_gaps_ns?", pa.list_(pa.int64())),
    ("chunk_tokens?", pa.list_(pa.uint16())),
    ("first_token_rule", pa.string()),
    ("session_id?", pa.int64()),
    ("turn?", pa.int16()),
    ("parent_id? think_ns?", pa.int64()),
    ("prefix_group?", pa.int32()),
    ("adapter? priority? backend? modality?", pa.string()),
    ("input_units? output_units?", pa.int32()),
    ("server_queue_s?", pa.float64()),
)

_SERVER: tuple[tuple[str, Any], ...] = (
    ("run_id point_id", pa.string()),
    ("ts_ns", pa.int64()),
    ("source engine? metric", pa.string()),
    ("labels", pa.map_(pa.string(), pa.string())),
    ("value", pa.float64()),
)

_POINTS: tuple[tuple[str, Any], ...] = (
    ("schema_version", pa.int32()),
    ("curve_id config_id workload_id", pa.string()),
    ("id_version", pa.int32()),
    ("run_id? point_id", pa.string()),
    ("evidence hardware_source source licence? calibration_id? measured_at? giq_version engine_id?", pa.string()),
    ("model precision server server_version accelerator", pa.string()),
    ("accelerators_total", pa.int32()),
    ("machine_type? topology?", pa.string()),
    ("hosts tp pp dp ep units_measured", pa.int32()),
    ("config workload use_case?", pa.string()),
    ("input_tokens_mean output_tokens_mean input_tokens_p90? output_tokens_p90?", pa.float64()),
    ("arrival load_kind", pa.string()),
    ("offered_rps? concurrency? achieved_rps in_flight_mean in_flight_slope?", pa.float64()),
    ("in_flight_slope_lo? in_flight_slope_hi? error_share window_s", pa.float64()),
    ("n_requests", pa.int64()),
    ("n_batches?", pa.int32()),
    ("input_tps output_tps total_tps", pa.float64()),
    *((f"{metric}_{name}_s? {metric}_{name}_s_lo? {metric}_{name}_s_hi?", pa.float64())
      for metric in METRICS for name in STATISTICS),
    *((f"{metric}_quantiles?", pa.list_(pa.float32())) for metric in GRID_METRICS),
    ("attainment?", pa.list_(_ATTAINMENT)),
    ("expected?", pa.list_(_EXPECTED)),
    ("foreseen?", pa.list_(_FORESEEN)),
    ("running_mean? waiting_mean? kv_usage_mean? kv_usage_max? preemptions? prefix_hit_share?", pa.float64()),
    ("work_rps? work_rps_lo? work_rps_hi? prompt_share?", pa.float64()),
    ("accelerator_seconds rtt_s? client_error_s?", pa.float64()),
    ("flags", pa.list_(pa.string())),
    ("valid", pa.bool_()),
)  # fmt: skip


def _schema(table: str, columns: tuple[tuple[str, Any], ...]) -> Any:
    """The schema of *table*; names that end in `?` are nullable."""
    fields = [
        pa.field(name.removesuffix("?"), kind, nullable=name.endswith("?"))
        for names, kind in columns
        for name in names.split()
    ]
    return pa.schema(fields, metadata={TABLE_KEY: table.encode(), VERSION_KEY: str(SCHEMA_VERSION).encode()})


REQUESTS = _schema("requests", _REQUESTS)
"""One row a request: times in ns since the run's zero."""

SERVER = _schema("server", _SERVER)
"""One row a sample of a server's metric."""

POINTS = _schema("points", _POINTS)
"""One row a load point: rates per second, times in seconds."""

HIVE_POINTS = pa.schema([field for field in POINTS if field.name not in HIVE_KEYS], metadata=POINTS.metadata)
"""POINTS without the columns that the folders' names carry: readers refuse a column that is in both."""


def refuse_newer(found: int, where: str) -> None:
    """Stop at a file that a later giq wrote.

    Raises:
        NewerFormatError: *found* is above SCHEMA_VERSION.
    """
    if found > SCHEMA_VERSION:
        raise NewerFormatError(where, found, SCHEMA_VERSION)


def check_file(found: Any, expected: Any, where: str) -> None:
    """Check what a file says of itself against the schema *expected*; one that says nothing is let through.

    Raises:
        NewerFormatError: written by a newer giq.
        DamagedFileError: it holds another table.
    """
    metadata = found.metadata or {}
    version = metadata.get(VERSION_KEY, b"0")
    if not version.isdigit():
        raise DamagedFileError(f"its schema version {version!r} is not a number", where=where, hint="Restore the file.")
    refuse_newer(int(version), where)
    table, wanted = metadata.get(TABLE_KEY), expected.metadata[TABLE_KEY]
    if table not in (None, wanted):
        raise DamagedFileError(
            f"holds the table {table.decode(errors='replace')!r}, not {wanted.decode()!r}",
            where=where,
            hint="Give the file the name of what it holds, or move it elsewhere.",
        )


def aligned(table: Any, schema: Any, where: str) -> Any:
    """*table* with exactly the columns of *schema*: those it lacks become null, those unknown here are left out.

    Raises:
        DamagedFileError: a column that must be there is missing, has nulls, or has another type.
    """
    columns = []
    for field in schema:
        index = table.schema.get_field_index(field.name)
        column = pa.nulls(len(table), field.type) if index < 0 else table.column(index)
        if not field.nullable and column.null_count:
            problem = f"column {field.name} is missing" if index < 0 else f"column {field.name} has empty values"
            raise DamagedFileError(problem, where=where, hint="It is no whole table of giq: write it again.")
        columns.append(_cast(column, field, where))
    return pa.table(columns, schema=schema)


def _cast(column: Any, field: Any, where: str) -> Any:
    try:
        return column.cast(field.type)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
        raise DamagedFileError(
            f"column {field.name} is {column.type}, and not {field.type}", where=where, hint="Write the file again."
        ) from None
