"""Estimates as few and small Parquet files: one a model, rounded to what an estimate is good for."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from giq.curve.curve import Curve
from giq.curve.point import GRID_METRICS, Distribution, Point
from giq.documents import replace
from giq.store.parquet import replacing
from giq.store.point_rows import PointRow, points_table
from giq.store.schema import POINTS

VALUE_BITS, BOUND_BITS = 11, 8
"""Binary digits that are kept of an estimated number (to 0.05 %), and of a bound of its interval (to 0.4 %)."""

_EXACT = ("offered_rps", "concurrency", "n_requests", "n_batches")
"""What was asked and counted is no estimate."""

_LEVEL = 19


def estimates_file(folder: Path, model: str) -> Path:
    """The file of the estimates of *model* in a database's *folder*."""
    return folder / "estimates" / f"{quote(model, safe='')}.parquet"


def write_estimates(folder: Path, model: str, curves: Iterable[Curve]) -> Path:
    """Write *curves* of *model* below *folder*, in place of what was there of it; the file.

    Rows stand in the order of accelerator, size, precision, workload and load. Numbers are rounded, bounds away from
    their value, so that an interval never loses what it held. Equal curves in any order give equal bytes.

    Raises:
        StorageError: it cannot be written.
    """
    file = estimates_file(folder, model)
    file.parent.mkdir(parents=True, exist_ok=True)
    write_compact(file, compacted(curves))
    return file


def compacted(curves: Iterable[Curve]) -> Any:
    """The table `points` of *curves* as `write_estimates` keeps it."""
    ordered = sorted(curves, key=_place)
    rows = [PointRow(curve.config, curve.workload, lean(point)) for curve in ordered for point in curve.points]
    table = points_table(rows)
    return pa.table([_rounded(table[field.name], field) for field in POINTS], schema=POINTS)


def write_compact(file: Path, table: Any) -> None:
    """Put *table* (of POINTS) in place of *file*, as small as Parquet gets.

    Raises:
        StorageError: it cannot be written.
    """
    words = [field.name for field in POINTS if pa.types.is_string(field.type)]
    floats = [field.name for field in POINTS if pa.types.is_floating(field.type)]
    with (
        replacing(file) as sink,
        pq.ParquetWriter(
            sink, POINTS, compression="zstd", compression_level=_LEVEL, use_dictionary=words,
            use_byte_stream_split=floats, write_statistics=False, store_schema=False, write_page_checksum=True,
        ) as writer,
    ):  # fmt: skip
        writer.add_key_value_metadata(POINTS.metadata)  # it goes with the schema, which would be told twice
        writer.write_table(table)


def lean(point: Point) -> Point:
    """*point* without what other columns tell or what an estimate has too much of.

    Latencies from the scheduled moment (a simulation sends on time: they are those from sent) and quantile grids.
    """
    metrics = {name: replace(point.metric(name), quantiles=None) for name in GRID_METRICS}
    return replace(point, ttft_scheduled=Distribution(), latency_scheduled=Distribution(), **metrics)


def _place(curve: Curve) -> tuple[str, int, str, str, str, str]:
    main = curve.config.main
    unit = (main.accelerator, curve.config.accelerators_total, main.topology or "", main.precision)
    return (*unit, curve.workload.use_case or "", curve.curve_id)


def _rounded(column: Any, field: Any) -> Any:
    """A column of floats with few binary digits; any other as it is."""
    if not pa.types.is_floating(field.type) or field.name in _EXACT or column.null_count == len(column):
        return column
    known = np.asarray(column.is_valid())
    values = np.asarray(column.fill_null(0.0), dtype=np.float64)
    if field.name.endswith("_lo"):
        found = _kept(values, BOUND_BITS, np.floor)
    elif field.name.endswith("_hi"):
        found = _kept(values, BOUND_BITS, np.ceil)
    else:
        found = _kept(values, VALUE_BITS, np.rint)
    return pa.array(found, mask=~known)


def _kept(values: NDArray[np.float64], bits: int, towards: np.ufunc) -> NDArray[np.float64]:
    """*values* with so many binary digits; infinite ones stay so."""
    finite = np.isfinite(values)
    mantissa, exponent = np.frexp(np.where(finite, values, 0.0))
    kept: NDArray[np.float64] = np.ldexp(towards(np.ldexp(mantissa, bits)), exponent - bits)
    return np.where(finite, kept, values)
