"""The rows of journals come in the order of their numbers, a part at a time."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from giq.store import ordered_rows
from giq.store.columns import READ_COLUMNS, records_of, requests_of_parts
from giq.store.journal import Journal
from giq.store.ordered_rows import OrderedRows
from tests.store.examples import record


def _journal(path: Path, numbers: list[int], worker: int) -> Path:
    journal = Journal(path)
    for number in numbers:
        journal.append([record(number, worker_id=worker)])
    journal.close()
    return path


@settings(deadline=None, max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(numbers=st.permutations(range(30)), split=st.integers(0, 30), at_once=st.integers(1, 40))
def test_the_parts_together_are_all_rows_in_order(
    numbers: list[int], split: int, at_once: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However two workers' records are mixed, and however few are read at once, none is lost and none comes twice."""
    monkeypatch.setattr(ordered_rows, "ROWS_AT_ONCE", at_once)
    for path in tmp_path.iterdir():
        path.unlink()
    paths = [_journal(tmp_path / "0", numbers[:split], 0), _journal(tmp_path / "1", numbers[split:], 1)]
    with OrderedRows(paths) as rows:
        parts = list(rows.parts())
        columns = requests_of_parts(rows.parts(READ_COLUMNS), "x")
        assert len(rows) == 30
    assert all(len(part) <= at_once for part in parts)
    worker = {number: int(place >= split) for place, number in enumerate(numbers)}
    assert records_of(pa.concat_tables(parts)) == [record(number, worker_id=worker[number]) for number in range(30)]
    assert columns.request_id.tolist() == list(range(30))


def test_the_same_number_twice_is_in_the_order_of_workers(tmp_path: Path) -> None:
    """Two workers' records of one number both stay, the first worker's first."""
    paths = [_journal(tmp_path / "0", [2, 0], 1), _journal(tmp_path / "1", [0], 0)]
    with OrderedRows(paths) as rows:
        found = records_of(pa.concat_tables(list(rows.parts())))
    assert found == [record(0), record(0, worker_id=1), record(2, worker_id=1)]


def test_a_torn_end_costs_only_itself(tmp_path: Path) -> None:
    """What a killed client was writing is left out, and everything before it is there."""
    path = _journal(tmp_path / "0", list(range(200)), 0)
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) * 3 // 4])
    with OrderedRows([path]) as rows:
        found = records_of(pa.concat_tables(list(rows.parts())))
    assert 0 < len(found) < 200
    assert found == [record(number) for number in range(len(found))]


def test_no_rows_are_no_parts(tmp_path: Path) -> None:
    """A journal without records, and no journal at all, have nothing in them."""
    for paths in ([], [_journal(tmp_path / "0", [], 0)]):
        with OrderedRows(paths) as rows:
            assert (len(rows), list(rows.parts())) == (0, [])
            assert not len(requests_of_parts(rows.parts(READ_COLUMNS), "x"))
