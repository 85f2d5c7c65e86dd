"""Journals: what is recorded is on disk within a second, and a torn end costs nothing that came before it.

One file per point and worker, an Arrow IPC stream: the schema, then record batches, each written whole.
"""

from __future__ import annotations

import os
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, ClassVar, Generic, Self, TypeVar

import numpy.ma  # noqa: F401 - Arrow imports it at the first conversion, which would stop the clock of a client
import pyarrow as pa

from giq.curve.requests import Record, Sample
from giq.errors import DataError, StorageError
from giq.store.columns import record_batch, sample_batch
from giq.store.parquet import storage_error, unreadable
from giq.store.run_lock import lock_file
from giq.store.schema import REQUESTS, SERVER, aligned, check_file

Row = TypeVar("Row", Record, Sample)

WRITE_EVERY_S = 1.0
WRITE_EVERY_ROWS = 64
"""Few, so that one write is over in a fraction of a millisecond: it happens in the loop that also sends on time."""

_END_OF_STREAM = b"\xff\xff\xff\xff\x00\x00\x00\x00"


class _RowJournal(ABC, Generic[Row]):
    """Rows of one point from one worker, appended as they come.

    Rows wait in memory until an `append` finds the last write a second ago or 64 rows waiting; where rows
    may stop coming, call `flush` once a second. What is written is with the operating system: a killed process
    loses only what waited.
    """

    schema: ClassVar[Any]

    def __init__(self, path: Path) -> None:
        """Start the file at *path*.

        Raises:
            StorageError: it cannot be created, or is there already.
        """
        self.path = path
        self._rows: list[Row] = []
        self._written_at = float("-inf")
        self._size = 0
        try:
            self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)
        except FileExistsError:
            raise StorageError(
                "this point is being recorded already", where=str(path), hint="Give the point a new id."
            ) from None
        except OSError as error:
            raise storage_error(error, path) from error
        try:
            lock_file(self._file)  # until it is closed: a reader can tell that rows are still to come
            self._write(self.schema.serialize())
        except StorageError:
            os.close(self._file)
            path.unlink()
            raise

    @abstractmethod
    def _batch(self, rows: Sequence[Row]) -> Any:
        """*rows* as an Arrow record batch."""

    def append(self, rows: Sequence[Row]) -> None:
        """Add *rows*.

        Raises:
            StorageError: they cannot be written; what was written before stays, and these are kept for a next try.
        """
        self._rows.extend(rows)
        due = time.monotonic() - self._written_at >= WRITE_EVERY_S
        if self._rows and (due or len(self._rows) >= WRITE_EVERY_ROWS):
            self.flush()

    def flush(self) -> None:
        """Hand all waiting rows to the operating system.

        Raises:
            StorageError: as for `append`.
        """
        while self._rows:
            rows = self._rows[:WRITE_EVERY_ROWS]
            self._write(self._batch(rows).serialize())
            del self._rows[: len(rows)]
        self._written_at = time.monotonic()

    def close(self) -> None:
        """Write what waits and end the file; closing twice does nothing.

        Raises:
            StorageError: as for `append`; it can be closed again when there is room.
        """
        if self._file >= 0:
            self.flush()
            self._write(_END_OF_STREAM)
            os.close(self._file)
            self._file = -1

    def _write(self, message: Any) -> None:
        """Write one whole message, or take back the part of it that was written."""
        rest = memoryview(message)
        try:
            while rest:
                rest = rest[os.write(self._file, rest) :]
        except OSError as error:
            with suppress(OSError):
                os.lseek(self._file, self._size, os.SEEK_SET)
                os.ftruncate(self._file, self._size)
            raise storage_error(error, self.path) from error
        self._size += len(memoryview(message))


class Journal(_RowJournal[Record]):
    """The records of one point from one worker."""

    schema = REQUESTS

    def _batch(self, rows: Sequence[Record]) -> Any:
        return record_batch(rows)


class ServerJournal(_RowJournal[Sample]):
    """The samples of the server's metrics during one point."""

    schema = SERVER

    def _batch(self, rows: Sequence[Sample]) -> Any:
        return sample_batch(rows)


def read_journal(path: Path, schema: Any) -> Any:
    """The rows of the journal at *path* as a table of *schema*; a torn end is left out.

    Raises:
        DamagedFileError: its rows are not those of *schema*.
        DataError: it cannot be opened.
        NewerFormatError: written by a newer giq.
    """
    with JournalFile(path, schema) as file:
        return file.table([batch for _, batch in file.batches()])


class JournalFile:
    """A journal to be read, batch by batch and in any order; a torn end is left out. A context manager.

    Raises:
        DamagedFileError: its rows are not those of *schema*.
        DataError: it cannot be opened.
        NewerFormatError: written by a newer giq.
    """

    def __init__(self, path: Path, schema: Any) -> None:
        self._where = str(path)
        self._wanted = schema
        try:
            self._file = pa.OSFile(self._where)
        except OSError as error:
            raise unreadable(error, self._where) from None
        self._found = None  # the schema that it was written with; None if not even that is whole
        with suppress(pa.ArrowInvalid, OSError, EOFError):
            self._found = pa.ipc.read_schema(pa.ipc.read_message(self._file))
        if self._found is not None:
            try:
                check_file(self._found, schema, self._where)
            except DataError:
                self._file.close()
                raise
        self._begin = self._file.tell()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()

    def batches(self) -> Iterator[tuple[int, Any]]:
        """Each whole record batch with its place in the file, in the order in which they were written."""
        place = self._begin
        with suppress(pa.ArrowInvalid, OSError, EOFError):
            while self._found is not None:
                batch = self.batch_at(place)
                following = self._file.tell()
                yield place, batch
                place = following

    def batch_at(self, place: int) -> Any:
        """The record batch at *place*, as `batches` told it."""
        self._file.seek(place)
        return pa.ipc.read_record_batch(pa.ipc.read_message(self._file), self._found)

    def table(self, batches: Sequence[Any]) -> Any:
        """*batches* of this journal as a table of the schema that is wanted."""
        if self._found is None:
            return self._wanted.empty_table()
        return aligned(pa.Table.from_batches(batches, self._found), self._wanted, self._where)
