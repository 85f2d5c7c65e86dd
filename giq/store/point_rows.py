"""Load points to rows of the table `points` and back: nested in Python, flat columns in Parquet."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, TypeVar

import pyarrow as pa

from giq import documents
from giq.catalog.configuration import ID_VERSION, ServingConfiguration
from giq.curve.curve import curve_id
from giq.curve.point import GRID_METRICS, METRICS, STATISTICS, Estimate, Point, Provenance
from giq.errors import CatalogError, DamagedFileError
from giq.store.schema import HIVE_KEYS, POINTS, SCHEMA_VERSION, aligned, refuse_newer
from giq.workload.workload import Workload

T = TypeVar("T")

_PROVENANCE = Provenance.__struct_fields__
_ESTIMATES = ("in_flight_slope", "work_rps")
_LISTS = ("attainment", "expected", "foreseen")
_NESTED = {"provenance", *_LISTS, *_ESTIMATES, *METRICS}
_PLAIN = tuple(name for name in Point.__struct_fields__ if name not in _NESTED)
"""The fields of a Point that are columns of the same name."""


@dataclass(frozen=True)
class PointRow:
    """One row of the table `points`: a load point with what was served and what was asked."""

    config: ServingConfiguration
    workload: Workload
    point: Point


def points_table(rows: Sequence[PointRow]) -> Any:
    """*rows* as a table `points`, in their order. Quantile grids keep 32-bit precision, all else is kept as it is."""
    shared: dict[tuple[int, int], dict[str, Any]] = {}
    for row in rows:  # their ids take longer than all else, and the rows of a curve have the same
        place = id(row.config), id(row.workload)
        if place not in shared:
            shared[place] = _curve_columns(row.config, row.workload)
    return pa.Table.from_pylist(
        [{**shared[id(row.config), id(row.workload)], **_columns(row.point)} for row in rows], POINTS
    )


def _curve_columns(config: ServingConfiguration, workload: Workload) -> dict[str, Any]:
    """What all rows of one curve share: identities, and flat copies of the common case."""
    main = config.main
    flat = ("model", "precision", "server", "server_version", "accelerator", "machine_type", "topology", "hosts")
    return {
        "schema_version": SCHEMA_VERSION,
        "curve_id": curve_id(config, workload),
        "config_id": config.config_id,
        "workload_id": workload.workload_id,
        "id_version": ID_VERSION,
        **{name: getattr(main, name) for name in (*flat, "tp", "pp", "dp", "ep")},
        "accelerators_total": config.accelerators_total,
        "config": config.canonical(),
        "workload": workload.canonical(),
        "use_case": workload.use_case,
        "arrival": str(workload.arrival),
    }


def _columns(point: Point) -> dict[str, Any]:
    """The columns that come from the point itself."""
    columns = {name: getattr(point, name) for name in _PLAIN}
    columns |= {name: getattr(point.provenance, name) for name in _PROVENANCE}
    for name in _ESTIMATES:
        columns |= _flat(name, getattr(point, name))
    for metric in METRICS:
        distribution = point.metric(metric)
        for statistic in STATISTICS:
            columns |= _flat(f"{metric}_{statistic}_s", distribution.at(statistic))
        if metric in GRID_METRICS:
            columns[f"{metric}_quantiles"] = distribution.quantiles
    columns |= {name: documents.plain(getattr(point, name)) or None for name in _LISTS}
    columns["valid"] = point.valid
    return columns


def _flat(name: str, estimate: Estimate | None) -> dict[str, float | None]:
    if estimate is None:
        return {}
    return {name: estimate.value, f"{name}_lo": estimate.lo, f"{name}_hi": estimate.hi}


def rows_of(table: Any, where: str) -> list[PointRow]:
    """The rows of a table `points` that was read from the file *where*.

    Raises:
        DamagedFileError: a row holds what giq does not understand.
        NewerFormatError: a row was written by a newer giq.
    """
    found = aligned(with_hive_keys(table, where), POINTS, where).to_pylist()
    for row in found:
        refuse_newer(row["schema_version"], where)
    return [
        PointRow(_config(row["config"], where), _workload(row["workload"], where), _point(row, where)) for row in found
    ]


def with_hive_keys(table: Any, where: str) -> Any:
    """*table* with the columns that the hive-style layout leaves to the folders' names, from the configuration.

    Raises:
        DamagedFileError: a configuration cannot be read.
    """
    for name in HIVE_KEYS:
        if name not in table.column_names and "config" in table.column_names:
            values = [getattr(_config(text, where).main, name) for text in table["config"].to_pylist()]
            table = table.append_column(POINTS.field(name), pa.array(values, pa.string()))
    return table


def _point(row: dict[str, Any], where: str) -> Point:
    nested = {name: row[name] for name in _PLAIN}
    nested["provenance"] = {name: row[name] for name in _PROVENANCE}
    nested |= {name: _estimate(row, name) for name in _ESTIMATES}
    nested |= {name: row[name] or () for name in _LISTS}
    for metric in METRICS:
        nested[metric] = {statistic: _estimate(row, f"{metric}_{statistic}_s") for statistic in STATISTICS}
        nested[metric]["quantiles"] = row.get(f"{metric}_quantiles")
    return _understood(nested, Point, where)


def _estimate(row: dict[str, Any], name: str) -> dict[str, float | None] | None:
    value = row[name]
    return None if value is None else {"value": value, "lo": row[f"{name}_lo"], "hi": row[f"{name}_hi"]}


@lru_cache(maxsize=4096)
def _config(text: str, where: str) -> ServingConfiguration:
    return _parsed(text, ServingConfiguration, where)


@lru_cache(maxsize=4096)
def _workload(text: str, where: str) -> Workload:
    return _parsed(text, Workload, where)


def _parsed(text: str, kind: type[T], where: str) -> T:
    try:
        return documents.decode_json(text, kind, where)
    except CatalogError as error:
        raise _strange(error, where) from None


def _understood(value: dict[str, Any], kind: type[T], where: str) -> T:
    try:
        return documents.validate(value, kind, where)
    except CatalogError as error:
        raise _strange(error, where) from None


def _strange(error: CatalogError, where: str) -> DamagedFileError:
    return DamagedFileError(
        f"holds a row that this giq does not understand: {error.what}",
        where=where,
        hint="If a newer giq wrote it, upgrade; else restore the file from a copy.",
    )
