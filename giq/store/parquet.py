"""Files on disk that are whole or not there: atomic writing, and reading that names the file that is damaged."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, TypeVar

import pyarrow as pa
import pyarrow.parquet as pq

from giq.errors import DamagedFileError, DataError, StorageError
from giq.store.schema import check_file

T = TypeVar("T")

_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_FORBIDDEN = {errno.EACCES, errno.EPERM, errno.EROFS}
_ROWS_PER_GROUP = 131_072


def storage_error(error: OSError, path: Path | str) -> StorageError:
    """*error*, met when writing *path*, as one that says what to do."""
    if error.errno in _FULL:
        hint = "Free some space, or give --results-dir a folder on another disk. What was saved before is intact."
    elif error.errno in _FORBIDDEN:
        hint = "Give --results-dir a folder that you may write to. What was saved before is intact."
    else:
        hint = "Check the disk and the folder. What was saved before is intact."
    return StorageError(f"cannot be written: {error.strerror or error}", where=str(path), hint=hint)


@contextmanager
def replacing(path: Path) -> Iterator[BinaryIO]:
    """A file that takes the place of *path* when the block ends, synced to disk; until then *path* stays as it was.

    Raises:
        StorageError: it cannot be written; *path* is as before.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
        _sync_folder(path.parent)
    except OSError as error:
        raise storage_error(error, path) from error
    finally:
        temporary.unlink(missing_ok=True)


def _sync_folder(folder: Path) -> None:
    """Make a rename in *folder* survive a loss of power."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_bytes(path: Path, data: bytes) -> None:
    """Put *data* in place of the file at *path*, at once.

    Raises:
        StorageError: it cannot be written; the old file is as before.
    """
    with replacing(path) as file:
        file.write(data)


def write_table(sink: Any, schema: Any, tables: Iterable[Any]) -> None:
    """Write *tables* to the open file *sink* as Parquet: zstd, checksums, each table in row groups of its own.

    The same tables give the same bytes. Only text is dictionary-encoded: times and token gaps hardly repeat.
    """
    words = [field.name for field in schema if pa.types.is_string(field.type)]
    with pq.ParquetWriter(
        sink, schema, compression="zstd", use_dictionary=words, write_page_checksum=True
    ) as writer:  # fmt: skip
        for table in tables:
            writer.write_table(table, row_group_size=_ROWS_PER_GROUP)


def replace_table(path: Path, schema: Any, tables: Iterable[Any]) -> None:
    """Put a Parquet file of *tables* in place of *path*; *tables* may be read from the old one meanwhile.

    Raises:
        StorageError: it cannot be written; the old file is as before.
    """
    with replacing(path) as file:
        write_table(file, schema, tables)


def open_table(source: Any, schema: Any, where: str) -> Any:
    """A `ParquetFile` over *source* (a local path or an open file), once it is known to hold the table *schema*.

    Raises:
        DamagedFileError: truncated, no Parquet, or another table.
        DataError: it cannot be opened.
        NewerFormatError: written by a newer giq.
    """
    file = _read(lambda: pq.ParquetFile(source, page_checksum_verification=True), where)
    try:
        check_file(file.schema_arrow, schema, where)
    except DataError:
        file.close()
        raise
    return file


def read_rows(file: Any, where: str, groups: Iterable[int] | None = None, columns: list[str] | None = None) -> Any:
    """The rows of an open file, of all row groups or of *groups*.

    Raises:
        DamagedFileError: the pages are damaged.
    """
    chosen = range(file.num_row_groups) if groups is None else groups
    return _read(lambda: file.read_row_groups(list(chosen), columns=columns), where)


def _read(call: Callable[[], T], where: str) -> T:
    """What *call* returns; what Arrow finds wrong with the content becomes an error that names the file."""
    try:
        return call()
    except OSError as error:
        if error.errno is not None:
            raise unreadable(error, where) from None
        raise _damaged(error, where) from None
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        raise _damaged(error, where) from None


def _damaged(error: Exception, where: str) -> DamagedFileError:
    first = str(error).partition("\n")[0]
    return DamagedFileError(
        f"not a whole Parquet file: {first}",
        where=where,
        hint="It was cut off or changed. Restore it from a copy, or move it away: the other files can still be read.",
    )


def unreadable(error: OSError, where: str) -> DataError:
    """*error*, met when opening *where* to read it, in plain words."""
    hint = "Check the path." if isinstance(error, FileNotFoundError) else "Check the path and your permissions."
    return DataError(f"cannot be read: {error.strerror or error}", where=where, hint=hint)
