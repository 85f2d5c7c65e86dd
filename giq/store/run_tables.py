"""The tables in a run's folder: rows wait in journals, and move into Parquet point by point."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
from numpy.typing import NDArray

from giq.errors import DataError
from giq.store.columns import with_phases
from giq.store.journal import read_journal
from giq.store.ordered_rows import OrderedRows
from giq.store.parquet import open_table, read_rows, replace_table, storage_error
from giq.store.point_rows import PointRow, points_table, rows_of
from giq.store.run_lock import is_locked
from giq.store.schema import POINTS, REQUESTS, SERVER, aligned

JOURNAL_FOLDER = "journal"
POINTS_FILE = "points.parquet"


@dataclass(frozen=True)
class RecordTable:
    """A table of which each row belongs to one point; each row group holds rows of one point only."""

    name: str
    schema: Any

    @property
    def file(self) -> str:
        """The name of its Parquet file."""
        return f"{self.name}.parquet"


REQUEST_TABLE = RecordTable("requests", REQUESTS)
SERVER_TABLE = RecordTable("server", SERVER)
RECORD_TABLES = (REQUEST_TABLE, SERVER_TABLE)


def journal_path(folder: Path, table: RecordTable, point_id: str, worker_id: int) -> Path:
    """The journal of one worker's rows of one point, in the run's *folder*."""
    return folder / JOURNAL_FOLDER / f"{point_id}.{worker_id}.{table.name}.arrows"


def _journals(folder: Path, table: RecordTable, point_id: str) -> list[Path]:
    found = (folder / JOURNAL_FOLDER).glob(f"{point_id}.*.{table.name}.arrows")
    return sorted(path for path in found if _point_of(path) == point_id)


def _point_of(journal: Path) -> str:
    return journal.name.rsplit(".", 3)[0]


def journalled_points(folder: Path) -> list[str]:
    """The points that have journals, by name."""
    return sorted({_point_of(path) for path in (folder / JOURNAL_FOLDER).glob("*.arrows")})


def is_being_written(folder: Path) -> bool:
    """Whether a living process has a journal of the run open."""
    return any(is_locked(path) for path in (folder / JOURNAL_FOLDER).glob("*.arrows"))


def saved_points(folder: Path, table: RecordTable) -> list[str]:
    """The points that have rows in the table's Parquet file, in their order.

    Raises:
        DamagedFileError: the file is damaged.
    """
    path = folder / table.file
    if not path.exists():
        return []
    with open_table(path, table.schema, str(path)) as file:
        return list(dict.fromkeys(_group_point(file, group, path) for group in range(file.num_row_groups)))


def _group_point(file: Any, group: int, path: Path) -> str:
    """The point that all rows of a row group belong to."""
    return str(read_rows(file, str(path), [group], ["point_id"])["point_id"][0].as_py())


def rows(folder: Path, table: RecordTable, point_id: str, columns: list[str] | None = None) -> Any:
    """One point's rows, requests in the order of their numbers: from its journals while there are any, else Parquet.

    None where there are no rows. *columns* may be given for speed, and are a hint only.

    Raises:
        DamagedFileError: a file is damaged.
    """
    found = _journal_rows(folder, table, point_id)
    return found if found is not None else _saved_rows(folder, table, point_id, columns)


def _journal_rows(folder: Path, table: RecordTable, point_id: str) -> Any:
    paths = _journals(folder, table, point_id)
    if not paths:
        return None
    if table is not REQUEST_TABLE:
        return pa.concat_tables([read_journal(path, table.schema) for path in paths])
    with OrderedRows(paths) as ordered:
        return pa.concat_tables([table.schema.empty_table(), *ordered.parts()])


def _saved_rows(folder: Path, table: RecordTable, point_id: str, columns: list[str] | None) -> Any:
    found = list(_saved_parts(folder, table, point_id, columns))
    return pa.concat_tables(found) if found else None


def _saved_parts(folder: Path, table: RecordTable, point_id: str, columns: list[str] | None) -> Iterator[Any]:
    path = folder / table.file
    if not path.exists():
        return
    schema = table.schema if columns is None else pa.schema([table.schema.field(name) for name in columns])
    with open_table(path, table.schema, str(path)) as file:
        for group in range(file.num_row_groups):
            if _group_point(file, group, path) == point_id:
                yield aligned(read_rows(file, str(path), [group], columns), schema, str(path))


def request_parts(folder: Path, point_id: str, columns: list[str]) -> Iterator[Any]:
    """*columns* of one point's requests as `rows` has them, a part at a time; nothing where there are none.

    Raises:
        DamagedFileError: a file is damaged.
    """
    paths = _journals(folder, REQUEST_TABLE, point_id)
    if not paths:
        yield from _saved_parts(folder, REQUEST_TABLE, point_id, columns)
        return
    with OrderedRows(paths) as ordered:
        yield from ordered.parts(columns)


def all_rows(folder: Path, table: RecordTable) -> Any:
    """All rows of all points, those still in journals last; raises as `rows` does."""
    names = dict.fromkeys([*saved_points(folder, table), *journalled_points(folder)])
    found = (rows(folder, table, name) for name in names)
    return pa.concat_tables([table.schema.empty_table(), *(part for part in found if part is not None)])


def compact(folder: Path, point_id: str, phases: NDArray[Any] | None = None) -> None:
    """Move one point's journals into Parquet; they stay until `remove_journals`, so that it can be done again.

    *phases*, where given, are the requests' phases in the order of `rows`.

    Raises:
        DataError: *phases* has another length than there are requests.
        StorageError: it cannot be written; the files are as before.
    """
    requests = _journals(folder, REQUEST_TABLE, point_id)
    if requests:
        with OrderedRows(requests) as ordered:
            if phases is not None:
                _check_phases(folder, point_id, len(ordered), phases)
            _replace_rows(folder, REQUEST_TABLE, point_id, _with_phases(ordered.parts(), phases))
    samples = _journal_rows(folder, SERVER_TABLE, point_id)
    if samples is not None:
        _replace_rows(folder, SERVER_TABLE, point_id, [samples])


def _with_phases(parts: Iterable[Any], phases: NDArray[Any] | None) -> Iterator[Any]:
    """*parts* with their share of *phases* each, where there are any."""
    at = 0
    for part in parts:
        yield part if phases is None else with_phases(part, phases[at : at + len(part)])
        at += len(part)


def _check_phases(folder: Path, point_id: str, count: int, phases: NDArray[Any]) -> None:
    if len(phases) != count:
        raise DataError(
            f"{len(phases)} phases were given for the {count} requests of the point {point_id}",
            where=str(folder),
            hint="Give one for each request, in the order of the requests.",
        )


def _replace_rows(folder: Path, table: RecordTable, point_id: str, parts: Iterable[Any]) -> None:
    """Put *parts* in place of the point's rows."""
    replace_table(folder / table.file, table.schema, _others_and(folder, table, point_id, parts))


def _others_and(folder: Path, table: RecordTable, point_id: str, parts: Iterable[Any]) -> Iterator[Any]:
    """The row groups of all other points as they are, then *parts*."""
    path = folder / table.file
    if path.exists():
        with open_table(path, table.schema, str(path)) as file:
            for group in range(file.num_row_groups):
                if _group_point(file, group, path) != point_id:
                    yield aligned(read_rows(file, str(path), [group]), table.schema, str(path))
    yield from (part for part in parts if len(part))


def remove_journals(folder: Path, point_id: str) -> None:
    """Remove the journals of a point whose rows are in Parquet.

    Raises:
        StorageError: they cannot be removed.
    """
    try:
        for table in RECORD_TABLES:
            for path in _journals(folder, table, point_id):
                path.unlink()
    except OSError as error:
        raise storage_error(error, folder / JOURNAL_FOLDER) from error


def compact_all(folder: Path) -> None:
    """Move all journals that were left into Parquet, and clear away what a killed process was writing.

    A point that has its row in points.parquet was saved before: only its journals are removed.

    Raises:
        DamagedFileError: a file is damaged.
        StorageError: it cannot be written; the journals stay.
    """
    finished = {row.point.point_id for row in point_rows(folder)}
    for point_id in journalled_points(folder):
        if point_id not in finished:
            compact(folder, point_id)
        remove_journals(folder, point_id)
    try:
        for temporary in folder.glob(".*.tmp"):
            temporary.unlink(missing_ok=True)
        if (folder / JOURNAL_FOLDER).is_dir():
            (folder / JOURNAL_FOLDER).rmdir()
    except OSError as error:
        raise storage_error(error, folder) from error


def point_rows(folder: Path) -> list[PointRow]:
    """The rows of points.parquet, in the order in which the points were finished.

    Raises:
        DamagedFileError: the file is damaged.
    """
    path = folder / POINTS_FILE
    if not path.exists():
        return []
    with open_table(path, POINTS, str(path)) as file:
        return rows_of(read_rows(file, str(path)), str(path))


def write_point_rows(folder: Path, kept: Sequence[PointRow]) -> None:
    """Put *kept* in place of points.parquet.

    Raises:
        StorageError: it cannot be written; the old file is as before.
    """
    replace_table(folder / POINTS_FILE, POINTS, [points_table(kept)])
