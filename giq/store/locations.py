"""Places where tables lie: a local path, or any URI that pyarrow opens (gs://, s3://, file://)."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pyarrow import fs

from giq.errors import DataError
from giq.store.parquet import replacing, storage_error, unreadable
from giq.store.run_tables import RECORD_TABLES

_NO_POINTS = {table.file for table in RECORD_TABLES}


@dataclass(frozen=True)
class Location:
    """A file or folder in a file system; `name` is how the user wrote it."""

    system: Any
    path: str
    name: str

    def below(self, relative: str) -> Location:
        """The file or folder *relative* in this folder."""
        return Location(self.system, f"{self.path}/{relative}", f"{self.name}/{relative}")

    def exists(self) -> bool:
        """Whether anything is there.

        Raises:
            DataError: it cannot be looked up.
        """
        return bool(self._info().type != fs.FileType.NotFound)

    def tables_of_points(self) -> list[Location]:
        """The files that hold load points: this one, or all below this folder, by name.

        Raises:
            DataError: nothing is there, or it cannot be listed.
        """
        kind = self._info().type
        if kind == fs.FileType.File:
            return [self]
        if kind == fs.FileType.NotFound:
            raise DataError("no such file or folder", where=self.name, hint="Check the path.")
        try:
            found = self.system.get_file_info(fs.FileSelector(self.path, recursive=True))
        except OSError as error:
            raise unreadable(error, self.name) from None
        inside = sorted(os.path.relpath(info.path, self.path) for info in found if info.type == fs.FileType.File)
        return [self.below(relative) for relative in inside if _holds_points(relative)]

    def read(self) -> bytes:
        """All bytes of the file.

        Raises:
            DataError: it cannot be read.
        """
        try:
            with self.system.open_input_stream(self.path) as stream:
                return bytes(stream.read())
        except OSError as error:
            raise unreadable(error, self.name) from None

    @contextmanager
    def writing(self) -> Iterator[Any]:
        """An open file that is there, under its name, when the block ends.

        Raises:
            StorageError: it cannot be written.
        """
        try:
            if isinstance(self.system, fs.LocalFileSystem):
                path = Path(self.path)
                path.parent.mkdir(parents=True, exist_ok=True)
                with replacing(path) as file:
                    yield file
            else:
                with self.system.open_output_stream(self.path) as stream:
                    yield stream
        except OSError as error:
            raise storage_error(error, self.name) from error

    def _info(self) -> Any:
        try:
            return self.system.get_file_info(self.path)
        except OSError as error:
            raise unreadable(error, self.name) from None


def _holds_points(relative: str) -> bool:
    """Whether a file below a folder is one of points, by its name; hidden ones are somebody's temporary files."""
    parts = relative.split("/")
    hidden = any(part.startswith((".", "_")) for part in parts)
    return relative.endswith(".parquet") and parts[-1] not in _NO_POINTS and not hidden


def locate(location: str | Path) -> Location:
    """The place that *location* names.

    Raises:
        DataError: a URI that pyarrow does not open.
    """
    name = str(location).rstrip("/") or "/"
    if "://" not in name:
        return Location(fs.LocalFileSystem(), str(Path(name).expanduser().absolute()), name)
    try:
        system, path = fs.FileSystem.from_uri(name)
    except (OSError, ValueError) as error:
        raise DataError(
            f"cannot be opened: {error}", where=name, hint="Give a folder, gs://BUCKET/PATH or s3://BUCKET/PATH."
        ) from None
    return Location(system, path.rstrip("/"), name)
