"""A run's folder: journals while it runs, Parquet for what is finished, run.json for the rest.

run=<id>/  run.json  requests.parquet  server.parquet  points.parquet  journal/  run.lock (while it runs)
"""

from __future__ import annotations

import fcntl
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from giq import documents
from giq.curve.point import Point
from giq.curve.requests import Record, Requests, Sample
from giq.errors import DataError, StorageError, UsageError
from giq.store import run_tables
from giq.store.columns import READ_COLUMNS, records_of, requests_of, samples_of
from giq.store.journal import Journal, ServerJournal
from giq.store.parquet import storage_error
from giq.store.point_rows import PointRow
from giq.store.run_manifest import FILE_NAME, RunManifest, RunState, read_manifest, write_manifest
from giq.store.run_tables import REQUEST_TABLE, SERVER_TABLE, RecordTable

FOLDER_PREFIX = "run="
LOCK_NAME = "run.lock"


class Run:
    """One run on the local disk: made by `create_run`, whose process then owns it, or by `open_run`."""

    def __init__(self, path: Path, manifest: RunManifest, lock: int | None = None) -> None:
        self.path = path
        self.manifest = manifest
        self._lock = lock
        self._journals: dict[str, list[Journal | ServerJournal]] = {}

    def journal(self, point_id: str, worker_id: int = 0) -> Journal:
        """A new journal for the records that worker *worker_id* makes in the point *point_id*.

        Raises:
            StorageError: it cannot be created, or the point is recorded already.
            UsageError: *point_id* cannot be part of a file's name.
        """
        journal = Journal(self._journal_path(REQUEST_TABLE, point_id, worker_id))
        self._journals.setdefault(point_id, []).append(journal)
        return journal

    def server_journal(self, point_id: str) -> ServerJournal:
        """A new journal for the samples of the server's metrics in the point *point_id*; raises as `journal` does."""
        journal = ServerJournal(self._journal_path(SERVER_TABLE, point_id, 0))
        self._journals.setdefault(point_id, []).append(journal)
        return journal

    def requests(self, point_id: str) -> Requests:
        """The columns of a point's records in the order of their numbers, from its journals or from Parquet.

        Raises:
            DamagedFileError: the file is damaged.
            DataError: there are no records of that point.
        """
        return requests_of(self._records(point_id, READ_COLUMNS), str(self.path))

    def records(self, point_id: str) -> list[Record]:
        """A point's records in the order of their numbers; raises as `requests` does."""
        return records_of(self._records(point_id))

    def samples(self, point_id: str) -> list[Sample]:
        """A point's samples of the server's metrics in the order they were taken, none if none were.

        Raises:
            DamagedFileError: the file is damaged.
        """
        self._flush(point_id)
        table = run_tables.rows(self.path, SERVER_TABLE, point_id)
        return [] if table is None else samples_of(table)

    def points(self) -> list[Point]:
        """The points finished so far, in the order they were finished.

        Raises:
            DamagedFileError: the file is damaged.
        """
        return [row.point for row in run_tables.point_rows(self.path)]

    def point_ids(self) -> list[str]:
        """The points of which there are records, saved ones first; raises as `points` does."""
        saved = run_tables.saved_points(self.path, REQUEST_TABLE)
        return list(dict.fromkeys([*saved, *run_tables.journalled_points(self.path)]))

    def finish_point(self, point: Point, phases: NDArray[Any] | None = None) -> None:
        """Save a point for good: its journals go into Parquet, and its row into points.parquet.

        *phases* holds, for each request in the order of `requests`, its index into ("warmup", "measure", "drain").
        Where this fails the journals stay, and it can be called again.

        Raises:
            DataError: *point* is another run's, or *phases* has another length than there are records.
            StorageError: it cannot be written; what was saved before is as it was.
        """
        if point.run_id != self.manifest.run_id:
            problem = f"the point {point.point_id} belongs to the run {point.run_id}"
            raise DataError(problem, where=str(self.path), hint="Save it in its own run.")
        self._close_journals(point.point_id)
        run_tables.compact(self.path, point.point_id, phases)
        kept = [row for row in run_tables.point_rows(self.path) if row.point.point_id != point.point_id]
        row = PointRow(self.manifest.config, self.manifest.workload, point)
        run_tables.write_point_rows(self.path, [*kept, row])
        run_tables.remove_journals(self.path, point.point_id)

    def revise(self, **changes: Any) -> None:
        """Change fields of run.json.

        Raises:
            StorageError: it cannot be written; the old one is as it was.
        """
        revised = documents.replace(self.manifest, **changes)
        write_manifest(self.path, revised)
        self.manifest = revised

    def finish(self, state: RunState, stopped: str | None = None) -> None:
        """End the run; records of points that were not finished are kept too. *stopped* says why it ended.

        Raises:
            StorageError: something cannot be written; the journals stay, and `recover` tries again later.
        """
        for point_id in list(self._journals):
            self._close_journals(point_id)
        run_tables.compact_all(self.path)
        self.revise(state=state, stopped=stopped)
        if self._lock is not None:
            _unlock(self.path, self._lock)
            self._lock = None

    def _journal_path(self, table: RecordTable, point_id: str, worker_id: int) -> Path:
        if not re.fullmatch(r"\w[\w.=-]{0,120}", point_id, re.ASCII):
            raise UsageError(
                f"{point_id!r} cannot name a point",
                hint="Use letters, digits, and . _ = - after the first; 121 at most.",
            )
        if point_id in run_tables.saved_points(self.path, table):
            problem = f"the point {point_id} is saved already"
            raise StorageError(problem, where=str(self.path), hint="Give the new point another id.")
        path = run_tables.journal_path(self.path, table, point_id, worker_id)
        try:
            path.parent.mkdir(exist_ok=True)
        except OSError as error:
            raise storage_error(error, path.parent) from error
        return path

    def _records(self, point_id: str, columns: list[str] | None = None) -> Any:
        self._flush(point_id)
        table = run_tables.rows(self.path, REQUEST_TABLE, point_id, columns)
        if table is None:
            known = ", ".join(self.point_ids()) or "none"
            problem = f"no records of the point {point_id}"
            raise DataError(problem, where=str(self.path), hint=f"Points with records: {known}.")
        return table

    def _flush(self, point_id: str) -> None:
        for journal in self._journals.get(point_id, ()):
            journal.flush()

    def _close_journals(self, point_id: str) -> None:
        for journal in self._journals.get(point_id, ()):
            journal.close()
        self._journals.pop(point_id, None)


def create_run(results_dir: Path, manifest: RunManifest) -> Run:
    """Start a run: its folder below *results_dir*, its run.json, and a lock that lasts as long as this process.

    Raises:
        StorageError: the folder is there already, or cannot be written.
        UsageError: the run's id cannot be part of a folder's name.
    """
    if not re.fullmatch(r"\w[\w.-]{0,120}", manifest.run_id, re.ASCII):
        raise UsageError(
            f"{manifest.run_id!r} cannot name a run", hint="Use letters, digits, and . _ - after the first."
        )
    path = results_dir / f"{FOLDER_PREFIX}{manifest.run_id}"
    try:
        results_dir.mkdir(parents=True, exist_ok=True)
        path.mkdir()
        lock = _lock(path)
    except FileExistsError:
        raise StorageError("there is a run of this name already", where=str(path), hint="Give it a new id.") from None
    except OSError as error:
        raise storage_error(error, path) from error
    try:
        write_manifest(path, manifest)
    except StorageError:
        _unlock(path, lock)
        path.rmdir()
        raise
    return Run(path, manifest, lock)


def open_run(path: str | Path) -> Run:
    """The run in the folder *path*, to be read, or for a worker to add journals to.

    Raises:
        DamagedFileError: its run.json is damaged.
        DataError: it is no folder of a run.
        NewerFormatError: written by a newer giq.
    """
    folder = Path(path).expanduser()
    return Run(folder, read_manifest(folder))


def recover(results_dir: Path, on_damage: Callable[[DataError], None] | None = None) -> list[str]:
    """Save what the journals of killed runs hold, and call those runs interrupted; their ids are returned.

    A run whose process lives is left alone, and so is one that may not be written. A run that cannot be read is
    handed to *on_damage*, or raises.

    Raises:
        DataError: a run cannot be read, and there is no *on_damage*.
        StorageError: it cannot be written; the journals stay.
    """
    recovered = []
    for folder in sorted(results_dir.glob(f"{FOLDER_PREFIX}*")):
        try:
            if (folder / FILE_NAME).exists() and os.access(folder, os.W_OK) and _recover_run(folder):
                recovered.append(folder.name.removeprefix(FOLDER_PREFIX))
        except DataError as error:
            if on_damage is None:
                raise
            on_damage(error)
    return recovered


def _recover_run(folder: Path) -> bool:
    """Save what is left in *folder*; False if there is nothing to do, or its process lives."""
    if read_manifest(folder).state != "running":
        return False
    try:
        lock = _lock(folder)
    except BlockingIOError:
        return False
    except OSError as error:
        raise storage_error(error, folder / LOCK_NAME) from error
    try:
        run = open_run(folder)  # again: another process may have recovered it meanwhile
        if run.manifest.state != "running":
            return False
        run.finish("interrupted", run.manifest.stopped or "its process ended without a word")
        return True
    finally:
        _unlock(folder, lock)


def _lock(folder: Path) -> int:
    """Take the lock of a run; the operating system lets go of it when the process ends, however it ends.

    Raises:
        BlockingIOError: a living process has it.
    """
    descriptor = os.open(folder / LOCK_NAME, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(descriptor)
        raise
    return descriptor


def _unlock(folder: Path, descriptor: int) -> None:
    (folder / LOCK_NAME).unlink(missing_ok=True)
    os.close(descriptor)
