"""Where worker processes write in tests; light to import, as every worker does."""

from __future__ import annotations

import contextlib
import pickle
from collections.abc import Sequence
from pathlib import Path

from giq.curve.requests import Record


class FileSink:
    """A sink for workers: records pickled into one file per worker."""

    def __init__(self, folder: Path, worker_id: int) -> None:
        self._file = (folder / f"worker-{worker_id}").open("ab")

    def append(self, records: Sequence[Record]) -> None:
        """Write them at once."""
        pickle.dump(list(records), self._file)
        self._file.flush()

    def close(self) -> None:
        """End the file."""
        self._file.close()

    @staticmethod
    def read(folder: Path) -> list[Record]:
        """All records that were written, of all workers; a torn tail is left out."""
        records: list[Record] = []
        for path in sorted(folder.glob("worker-*")):
            with path.open("rb") as file, contextlib.suppress(EOFError, pickle.UnpicklingError):
                while True:
                    records += pickle.load(file)
        return records
