"""One point's requests out of its journals, in the order of their numbers and a part at a time.

However many rows there are, few of them are in memory at once.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from giq.store.freed_memory import give_back
from giq.store.journal import JournalFile
from giq.store.schema import REQUESTS

ROWS_AT_ONCE = 32_768
FEW = 0.25


class OrderedRows:
    """The rows of the journals at *paths*, whichever worker wrote them. A context manager; `len` tells how many.

    Raises:
        DamagedFileError: the rows of a journal are not requests.
        DataError: one cannot be opened.
        NewerFormatError: one was written by a newer giq.
    """

    def __init__(self, paths: Sequence[Path]) -> None:
        with ExitStack() as opened:
            self._files = [opened.enter_context(JournalFile(path, REQUESTS)) for path in paths]
            self._batches: list[tuple[JournalFile, int]] = []
            self._order, self._starts = self._index()
            self._opened = opened.pop_all()
        give_back()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._opened.close()

    def __len__(self) -> int:
        return len(self._order)

    def parts(self, columns: Sequence[str] | None = None) -> Iterator[Any]:
        """Tables of at most ROWS_AT_ONCE rows, all of them or *columns* only."""
        for begin in range(0, len(self), ROWS_AT_ONCE):
            yield self._part(self._order[begin : begin + ROWS_AT_ONCE], columns)
            give_back()

    def _index(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """The places of the rows (as written, one journal after the other) in their order, and where batches begin."""
        numbers, workers, sizes = [np.zeros(0, np.int64)], [np.zeros(0, np.int16)], [0]
        for file in self._files:
            for place, batch in file.batches():
                self._batches.append((file, place))
                numbers.append(batch["request_id"].to_numpy().copy())  # a view would keep the whole batch
                workers.append(batch["worker_id"].to_numpy().copy())
                sizes.append(len(batch))
        order = np.lexsort((np.concatenate(workers), np.concatenate(numbers)))
        return order, np.cumsum(sizes, dtype=np.int64)

    def _part(self, places: NDArray[np.int64], columns: Sequence[str] | None) -> Any:
        """The rows at *places*, in that order; each batch that has some of them is read once."""
        sought = np.sort(places)
        numbers = np.searchsorted(self._starts, sought, side="right") - 1
        tables: list[Any] = []
        kept: list[NDArray[np.int64]] = []  # the places of the rows in *tables*
        for file, chosen in self._by_file(np.unique(numbers)):
            batches = []
            for number in chosen:
                batch, rows = self._of_batch(file, number, sought)
                batches.append(batch)
                kept.append(rows)
            table = file.table(batches)
            tables.append(table if columns is None else table.select(columns))
        rows = pa.concat_tables(tables)
        at = np.searchsorted(np.concatenate(kept), places)  # places of batches rise, and so do those in each
        return rows if np.array_equal(at, np.arange(len(rows))) else rows.combine_chunks().take(at)

    def _by_file(self, numbers: NDArray[np.int64]) -> Iterator[tuple[JournalFile, list[int]]]:
        """Batches by the journal that holds them, in the order of their places."""
        for file in self._files:
            if chosen := [number for number in numbers.tolist() if self._batches[number][0] is file]:
                yield file, chosen

    def _of_batch(self, file: JournalFile, number: int, sought: NDArray[np.int64]) -> tuple[Any, NDArray[np.int64]]:
        """A batch with the places of its rows; of one that has few of the rows *sought* only those."""
        start, end = int(self._starts[number]), int(self._starts[number + 1])
        batch = file.batch_at(self._batches[number][1])
        wanted = sought[np.searchsorted(sought, start) : np.searchsorted(sought, end)]
        if len(wanted) >= FEW * (end - start):
            return batch, np.arange(start, end)
        return batch.take(pa.array(wanted - start)), wanted
