"""Journals: on disk within a second, whole batches whatever happens to the end."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from giq.errors import DataError, NewerFormatError, StorageError
from giq.store import journal as journals
from giq.store.columns import records_of, samples_of
from giq.store.journal import WRITE_EVERY_ROWS, Journal, ServerJournal, read_journal
from giq.store.schema import REQUESTS, SERVER

from .examples import largest_file, record, sample


def ids(path: Path) -> list[int]:
    """The numbers of the requests in a journal."""
    return [row.request_id for row in records_of(read_journal(path, REQUESTS))]


FIRST_ROWS = """
import sys
from pathlib import Path
from giq.curve.requests import Record
from giq.store.journal import Journal
record = Record(
    run_id="r", point_id="p", request_id=0, worker_id=0, scheduled_ns=0, sent_ns=0, connection_reused=False, attempts=1,
    outcome="refused", requested_input_tokens=1, requested_output_tokens=1, first_token_rule="usage",
)
journal = Journal(Path(sys.argv[1]))
before = set(sys.modules)
journal.append([record])
print(sorted(set(sys.modules) - before))
"""


def test_the_first_rows_import_nothing(tmp_path: Path) -> None:
    """Whoever measures is not stopped by the first rows: what they need is imported before, and pandas never."""
    found = subprocess.run(
        [sys.executable, "-c", FIRST_ROWS, tmp_path / "j"], capture_output=True, text=True, check=True,
        cwd=Path(__file__).parents[2],
    )  # fmt: skip
    assert found.stdout.strip() == "[]"


def test_rows_wait_for_at_most_a_second(tmp_path: Path) -> None:
    """The first rows are written at once, the next ones wait, and after a second all are there."""
    journal = Journal(tmp_path / "j")
    journal.append([record(0)])
    journal.append([record(1)])
    assert ids(journal.path) == [0]

    time.sleep(journals.WRITE_EVERY_S)
    journal.append([record(2)])
    assert ids(journal.path) == [0, 1, 2]

    journal.append([record(3)])
    journal.flush()
    assert ids(journal.path) == [0, 1, 2, 3]


def test_many_rows_do_not_wait(tmp_path: Path) -> None:
    """As soon as WRITE_EVERY_ROWS rows wait they are written, in batches of at most as many."""
    most = WRITE_EVERY_ROWS
    journal = Journal(tmp_path / "j")
    journal.append([record(0)])
    journal.append([record(n) for n in range(1, most)])
    assert len(ids(journal.path)) == 1

    journal.append([record(n) for n in range(most, 3 * most)])
    assert ids(journal.path) == list(range(3 * most))


def test_closing_writes_what_waits(tmp_path: Path) -> None:
    """A closed journal holds all its rows; closing it again does nothing."""
    journal = ServerJournal(tmp_path / "j")
    journal.append([sample(1)])
    journal.append([sample(2)])
    journal.close()
    journal.close()

    assert samples_of(read_journal(journal.path, SERVER)) == [sample(1), sample(2)]


def _whole(folder: Path) -> tuple[bytes, list[int]]:
    """The bytes of a journal of three batches, and how long it was after each."""
    journal = Journal(folder / "whole")
    sizes = [journal.path.stat().st_size]
    for number in range(3):
        journal.append([record(number)])
        journal.flush()
        sizes.append(journal.path.stat().st_size)
    return journal.path.read_bytes(), sizes


@settings(max_examples=120, deadline=None)
@given(st.data())
def test_a_torn_end_costs_only_its_own_batch(data: st.DataObject) -> None:
    """Cut anywhere, a journal still gives every batch that lies whole before the cut."""
    with TemporaryDirectory() as name:
        content, sizes = _whole(Path(name))
        cut = data.draw(st.integers(0, len(content)))
        torn = Path(name, "torn")
        torn.write_bytes(content[:cut])

        assert ids(torn) == list(range(sum(size <= cut for size in sizes[1:])))


def test_an_end_of_zeros_is_left_out(tmp_path: Path) -> None:
    """Zeros at the end, as a file system may leave them after a loss of power, are no rows."""
    content, sizes = _whole(tmp_path)
    (tmp_path / "zeros").write_bytes(content[: sizes[2]] + bytes(len(content) - sizes[2]))

    assert ids(tmp_path / "zeros") == [0, 1]


def test_a_point_is_recorded_once(tmp_path: Path) -> None:
    """A journal that is there is never written over."""
    Journal(tmp_path / "j").append([record(0)])

    with pytest.raises(StorageError, match="recorded already"):
        Journal(tmp_path / "j")
    assert ids(tmp_path / "j") == [0]


def test_a_journal_that_cannot_be_created_is_a_clear_error(tmp_path: Path) -> None:
    """Where no file can be made the error names it."""
    with pytest.raises(StorageError, match="nowhere"):
        Journal(tmp_path / "nowhere" / "j")


def test_a_journal_that_is_not_there_cannot_be_read(tmp_path: Path) -> None:
    """The error names the file that is not there."""
    with pytest.raises(DataError, match="missing"):
        read_journal(tmp_path / "missing", REQUESTS)


def test_a_journal_of_a_newer_giq_is_refused(tmp_path: Path) -> None:
    """A journal of schema version 2 is not read as if it were of version 1."""
    newer = REQUESTS.with_metadata({**REQUESTS.metadata, b"giq.schema_version": b"2"})
    (tmp_path / "j").write_bytes(newer.serialize().to_pybytes())

    with pytest.raises(NewerFormatError, match="schema version 2"):
        read_journal(tmp_path / "j", REQUESTS)


def test_a_full_disk_costs_nothing_that_was_written(tmp_path: Path) -> None:
    """When a file may not grow the error says so, the half-written batch is taken back, and room later saves all."""
    journal = Journal(tmp_path / "j")
    journal.append([record(0, token_gaps_ns=list(range(1_000)))])
    whole = journal.path.stat().st_size
    journal.append([record(1, token_gaps_ns=list(range(1_000)))])

    with largest_file(whole + 4_000), pytest.raises(StorageError, match="j: cannot be written: File too large") as told:
        journal.close()
    assert "Free some space" in str(told.value)
    assert journal.path.stat().st_size == whole

    journal.close()
    assert ids(journal.path) == [0, 1]


def test_a_journal_that_found_no_room_can_be_started_later(tmp_path: Path) -> None:
    """Where not even the schema can be written nothing is left, so that the point can be begun once there is room."""
    with largest_file(100), pytest.raises(StorageError, match="File too large"):
        Journal(tmp_path / "j")

    Journal(tmp_path / "j").append([record(0)])
    assert ids(tmp_path / "j") == [0]
