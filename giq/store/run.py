"""A run's folder: journals while it runs, Parquet for what is finished, run.json for the rest.

run=<id>/  run.json  requests.parquet  server.parquet  points.parquet  journal/  run.lock (while it runs)
"""

from __future__ import annotations

import os
import re
import shutil
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from giq import documents
from giq.curve.point import Point
from giq.curve.requests import Record, Requests, Sample
from giq.errors import DataError, StorageError, UsageError
from giq.store import run_tables
from giq.store.columns import READ_COLUMNS, records_of, requests_of_parts, samples_of
from giq.store.freed_memory import give_back
from giq.store.journal import Journal, ServerJournal
from giq.store.parquet import storage_error, write_bytes
from giq.store.point_rows import PointRow
from giq.store.run_lock import LOCK_NAME, lock_run, unlock_run
from giq.store.run_manifest import FILE_NAME, RunManifest, RunState, read_manifest, write_manifest
from giq.store.run_tables import REQUEST_TABLE, SERVER_TABLE, RecordTable

FOLDER_PREFIX = "run="
TRACE_NAME = "trace"

WRITERS_END_S = 10.0
"""A worker whose parent was killed gives up at once, and is waited for so long."""

STILLBORN_S = 60.0
"""A run's folder is made in far less than this, before it gets its name."""


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
        self._flush(point_id)
        give_back()  # what the load has freed, before as much is needed again
        found = requests_of_parts(run_tables.request_parts(self.path, point_id, READ_COLUMNS), str(self.path))
        if not len(found) and point_id not in self.point_ids():
            raise self._no_records(point_id)
        give_back()
        return found

    def records(self, point_id: str) -> list[Record]:
        """A point's records in the order of their numbers; raises as `requests` does."""
        self._flush(point_id)
        table = run_tables.rows(self.path, REQUEST_TABLE, point_id)
        if table is None:
            raise self._no_records(point_id)
        return records_of(table)

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

    @property
    def trace_file(self) -> Path | None:
        """The file of the trace that the run replays, None where it replays none."""
        return next(self.path.glob(f"{TRACE_NAME}.*"), None)

    def point_ids(self) -> list[str]:
        """The points of which there are records, saved ones first; raises as `points` does."""
        saved = run_tables.saved_points(self.path, REQUEST_TABLE)
        return list(dict.fromkeys([*saved, *run_tables.journalled_points(self.path)]))

    def used_ids(self) -> set[str]:
        """The ids that no new point can have: those with records, or with samples of the server.

        Raises:
            DamagedFileError: a file is damaged.
        """
        saved = (run_tables.saved_points(self.path, table) for table in run_tables.RECORD_TABLES)
        return {name for names in (*saved, run_tables.journalled_points(self.path)) for name in names}

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

    def resume(self, **changes: Any) -> None:
        """Go on with a run that `take_run` gave: it is running again. *changes* are made to run.json besides.

        Raises:
            StorageError: run.json cannot be written.
        """
        now = datetime.now(UTC).isoformat(timespec="seconds")
        self.revise(state="running", stopped=None, resumed_at=(*self.manifest.resumed_at, now), **changes)

    def finish(self, state: RunState, stopped: str | None = None) -> None:
        """End the run; records of points that were not finished are kept too. *stopped* says why it ended.

        Raises:
            StorageError: something cannot be written; the journals stay, and `recover` tries again later.
        """
        for point_id in list(self._journals):
            self._close_journals(point_id)
        run_tables.compact_all(self.path)
        self.revise(state=state, stopped=stopped)
        self.release()

    def release(self) -> None:
        """Own the run no longer; what it holds stays as it is."""
        if self._lock is not None:
            unlock_run(self.path, self._lock)
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

    def _no_records(self, point_id: str) -> DataError:
        known = ", ".join(self.point_ids()) or "none"
        problem = f"no records of the point {point_id}"
        return DataError(problem, where=str(self.path), hint=f"Points with records: {known}.")

    def _flush(self, point_id: str) -> None:
        for journal in self._journals.get(point_id, ()):
            journal.flush()

    def _close_journals(self, point_id: str) -> None:
        for journal in self._journals.get(point_id, ()):
            journal.close()
        self._journals.pop(point_id, None)


def create_run(results_dir: Path, manifest: RunManifest, trace: Path | None = None) -> Run:
    """Start a run: its folder below *results_dir*, its run.json, and a lock that lasts as long as this process.

    The file of a *trace* that it replays is copied into it, so that it can be repeated from there.

    Raises:
        StorageError: the folder is there already, or cannot be written.
        UsageError: the run's id cannot be part of a folder's name.
    """
    if not re.fullmatch(r"\w[\w.-]{0,120}", manifest.run_id, re.ASCII):
        raise UsageError(
            f"{manifest.run_id!r} cannot name a run", hint="Use letters, digits, and . _ - after the first."
        )
    path = results_dir / f"{FOLDER_PREFIX}{manifest.run_id}"
    unborn = results_dir / f".{path.name}"
    taken = StorageError("there is a run of this name already", where=str(path), hint="Give it a new id.")
    if path.exists():
        raise taken
    try:
        results_dir.mkdir(parents=True, exist_ok=True)
        unborn.mkdir()
        lock = lock_run(unborn)
    except FileExistsError:
        raise taken from None
    except OSError as error:
        raise storage_error(error, path) from error
    try:
        if trace is not None:
            write_bytes(unborn / f"{TRACE_NAME}{trace.suffix}", trace.read_bytes())
        write_manifest(unborn, manifest)
        _name(unborn, path)  # whoever sees the run sees a whole one
    except BaseException:
        os.close(lock)
        shutil.rmtree(unborn)
        raise
    return Run(path, manifest, lock)


def _name(unborn: Path, path: Path) -> None:
    try:
        unborn.rename(path)
    except OSError as error:
        raise storage_error(error, path) from error


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
    _clear_stillborn(results_dir)
    for folder in sorted(results_dir.glob(f"{FOLDER_PREFIX}*")):
        try:
            if (folder / FILE_NAME).exists() and os.access(folder, os.W_OK) and _recover_run(folder):
                recovered.append(folder.name.removeprefix(FOLDER_PREFIX))
        except DataError as error:
            if on_damage is None:
                raise
            on_damage(error)
    return recovered


def take_run(path: Path) -> Run:
    """Take up a run that ended before its time, as the process that owns it; what a crash left is saved first.

    Raises:
        DataError: it cannot be read.
        StorageError: it cannot be written; the journals stay.
        UsageError: it is done, or a living process measures it.
    """
    read_manifest(path)  # that it is a run at all
    lock = _lock_of(path)
    if lock is None:
        raise UsageError(
            "the run is being measured just now", where=str(path), hint="Wait for its end, or end it with Ctrl-C."
        )
    run = Run(path, read_manifest(path), lock)
    try:
        if run.manifest.state == "done":
            raise UsageError("the run is done: there is nothing to go on with", where=str(path))
        _save_leftovers(run)
    except BaseException:
        run.release()
        raise
    return run


def _clear_stillborn(results_dir: Path) -> None:
    """Remove the folders of runs whose process was killed before they had begun."""
    for folder in results_dir.glob(f".{FOLDER_PREFIX}*"):
        if folder.is_dir() and time.time() - folder.stat().st_mtime > STILLBORN_S:
            shutil.rmtree(folder, ignore_errors=True)


def _recover_run(folder: Path) -> bool:
    """Save what is left in *folder*; False if there was nothing to save, or its process lives."""
    if read_manifest(folder).state != "running" and not (folder / LOCK_NAME).exists():
        return False
    lock = _lock_of(folder)
    if lock is None:
        return False
    try:
        run = open_run(folder)  # again: another process may have recovered it meanwhile
        was_running = run.manifest.state == "running"
        _save_leftovers(run)
        return was_running
    finally:
        unlock_run(folder, lock)


def _save_leftovers(run: Run) -> None:
    """Save what a killed process left of a run, and say in run.json that it was."""
    run_tables.compact_all(run.path)
    if run.manifest.state == "running":
        run.revise(state="interrupted", stopped=run.manifest.stopped or "its process ended without a word")


def _lock_of(folder: Path) -> int | None:
    """The lock of a run, once nobody writes into it; None while its process lives.

    Raises:
        StorageError: it cannot be created.
    """
    try:
        lock = lock_run(folder)
    except BlockingIOError:
        return None
    except OSError as error:
        raise storage_error(error, folder / LOCK_NAME) from error
    until = time.monotonic() + WRITERS_END_S
    while run_tables.is_being_written(folder):
        if time.monotonic() > until:
            unlock_run(folder, lock)
            return None
        time.sleep(0.05)
    return lock
