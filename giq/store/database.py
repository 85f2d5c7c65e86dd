"""The benchmark database: load points from any folder or object store as curves, and curves into its layout."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import quote

import pyarrow as pa
import pyarrow.compute as pc

from giq.curve.curve import Curve, curve_id
from giq.curve.point import Point
from giq.curve.requests import Requests
from giq.errors import DataError
from giq.store.locations import Location, locate
from giq.store.parquet import open_table, read_rows, write_table
from giq.store.point_rows import PointRow, points_table, rows_of
from giq.store.run import open_run
from giq.store.schema import HIVE_POINTS, POINTS

T = TypeVar("T")

OnDamage = Callable[[DataError], None]

_FILES_AT_ONCE = 16


def read_curves(
    location: str | Path, on_damage: OnDamage | None = None, only: Mapping[str, str] | None = None
) -> list[Curve]:
    """All curves in *location*: a results folder, a run's folder, a hive-style folder, one file, or a URI of these.

    Points of one configuration and workload make one curve, from however many runs, but those that differ in
    evidence, in how the hardware was known, or in calibration make separate ones. A point found twice counts
    once; the order of the files does not matter. A file below a folder that cannot be used is handed to
    *on_damage* and the others are read; without *on_damage*, and for a file named itself, it raises. With *only* those
    rows whose columns of text begin as it says, like `{"curve_id": "1a2b"}`: of a large database it reads a part fast.

    Raises:
        DamagedFileError: a file is truncated, or is not what its name says.
        DataError: nothing is there.
        NewerFormatError: a file was written by a newer giq.
    """

    def chosen(table: Any, where: str) -> list[PointRow]:
        return rows_of(_beginning(table, only or {}), where)

    return curves_of(row for part in _each_table(locate(location), on_damage, chosen) for row in part)


def curves_of(rows: Iterable[PointRow]) -> list[Curve]:
    """The curves that *rows* make, as `read_curves` tells, by model, accelerator and identity."""
    return list(_by_curve(rows).values())


def read_requests(run_path: str | Path, point_id: str) -> Requests:
    """The columns of one point's records in the order of their numbers.

    Raises:
        DamagedFileError: the file is damaged.
        DataError: it is no folder of a run, or there are no records of that point.
    """
    return open_run(run_path).requests(point_id)


def write_points(location: str | Path, curves: Iterable[Curve]) -> list[str]:
    """Write *curves* in the layout of the benchmark database below *location*; returns the files written.

    One file for each curve that `read_curves` would make, replaced as a whole:
    `points/model=M/accelerator=A/<curve_id>-<evidence>-<hardware>.parquet`. Equal curves in any order give equal
    bytes.

    Raises:
        StorageError: it cannot be written.
    """
    root = locate(location)
    given = [PointRow(curve.config, curve.workload, point) for curve in curves for point in curve.points]
    written = []
    for curve in _by_curve(rows_of(points_table(given), root.name)).values():  # as they will be read back
        file = root.below(file_of(curve))
        table = points_table([PointRow(curve.config, curve.workload, point) for point in curve.points])
        with file.writing() as sink:
            write_table(sink, HIVE_POINTS, [table.select(HIVE_POINTS.names)])
        written.append(file.name)
    return written


def file_of(curve: Curve) -> str:
    """Where a curve lies in the layout; what names it may hold slashes, so it is quoted as URIs quote."""
    main, first = curve.config.main, curve.points[0].provenance
    parts = (curve.curve_id, first.evidence, first.hardware_source, first.calibration_id)
    name = quote("-".join(part for part in parts if part), safe="")
    folder = f"points/model={quote(main.model, safe='')}/accelerator={quote(main.accelerator, safe='')}"
    return f"{folder}/{name}.parquet"


def _each_table(location: Location, on_damage: OnDamage | None, use: Callable[[Any, str], T]) -> Iterator[T]:
    """What *use* makes of each file of points in *location*; several are fetched at once, for the network's sake."""
    with ThreadPoolExecutor(max_workers=_FILES_AT_ONCE) as pool:
        fetched = [(file, pool.submit(file.read)) for file in location.tables_of_points()]
        for file, content in fetched:
            try:
                found = use(_table_in(content.result(), file.name), file.name)
            except DataError as error:
                if on_damage is None or file is location:
                    pool.shutdown(cancel_futures=True)
                    raise
                on_damage(error)
            else:
                yield found


def _beginning(table: Any, only: Mapping[str, str]) -> Any:
    """The rows of *table* whose columns of text begin as *only* says; one that it lacks chooses nothing."""
    for name, begin in only.items():
        if name in table.column_names:
            table = table.filter(pc.starts_with(table[name], begin))
    return table


def _table_in(content: bytes, where: str) -> Any:
    with open_table(pa.BufferReader(content), POINTS, where) as opened:
        return read_rows(opened, where)


def _by_curve(rows: Iterable[PointRow]) -> dict[tuple[str, ...], Curve]:
    """The curves that *rows* make, by model, accelerator, identity and what the points rest on."""
    grouped: dict[tuple[str, ...], dict[Point, PointRow]] = defaultdict(dict)
    for row in rows:
        grouped[_curve_key(row)][row.point] = row
    return {key: _curve(list(grouped[key].values())) for key in sorted(grouped)}


def _curve_key(row: PointRow) -> tuple[str, ...]:
    main, rests_on = row.config.main, row.point.provenance
    identity = (main.model, main.accelerator, curve_id(row.config, row.workload))
    return (*identity, rests_on.evidence, rests_on.hardware_source, rests_on.calibration_id or "")


def _curve(rows: list[PointRow]) -> Curve:
    points = sorted((row.point for row in rows), key=lambda point: (point.point_id, point.run_id or ""))
    return Curve(rows[0].config, rows[0].workload, tuple(points))
