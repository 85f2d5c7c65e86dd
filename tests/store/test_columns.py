"""Records and samples survive the journal and Parquet unchanged, and columns say what the records say."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from giq.curve.requests import Record, Requests, Sample
from giq.errors import DamagedFileError
from giq.store.columns import (
    READ_COLUMNS,
    record_batch,
    records_of,
    requests_of,
    requests_of_parts,
    samples_of,
    with_phases,
)
from giq.store.journal import Journal, ServerJournal, read_journal
from giq.store.parquet import open_table, read_rows, replace_table
from giq.store.schema import REQUESTS, SERVER

from .examples import RECORDS, SAMPLES, phases, record


def through_disk(rows: list[Any], kind: Any) -> Any:
    """The table that *rows* are after a journal and a Parquet file."""
    with TemporaryDirectory() as name:
        path, file = Path(name, "j.arrows"), Path(name, "t.parquet")
        journal = kind(path)
        journal.append(rows[:1])
        journal.append(rows[1:])
        journal.close()
        replace_table(file, kind.schema, [read_journal(path, kind.schema)])
        with open_table(file, kind.schema, str(file)) as opened:
            return read_rows(opened, str(file))


@settings(max_examples=60, deadline=None)
@given(st.lists(RECORDS, max_size=4))
def test_records_survive_parquet_unchanged(records: list[Record]) -> None:
    """Records that went through a journal and Parquet are equal to those that went in."""
    assert records_of(through_disk(records, Journal)) == records


@settings(max_examples=30, deadline=None)
@given(st.lists(SAMPLES, max_size=4))
def test_samples_survive_parquet_unchanged(samples: list[Sample]) -> None:
    """Samples that went through a journal and Parquet are equal to those that went in."""
    assert samples_of(through_disk(samples, ServerJournal)) == samples


def same(left: Requests, right: Requests) -> bool:
    """Whether all columns are equal, in values and in type."""
    pairs = [(getattr(left, name), getattr(right, name)) for name in Requests.__dataclass_fields__]
    return all(
        one is other or (np.array_equal(one, other) and one.dtype == other.dtype)  # no sessions are None
        for one, other in pairs
    )


@settings(max_examples=60, deadline=None)
@given(st.lists(RECORDS, max_size=6), st.integers(1, 6))
def test_columns_say_what_the_records_say(records: list[Record], size: int) -> None:
    """Columns read straight from Arrow, in however many chunks, equal those made of the records."""
    batches = [record_batch(records[start : start + size]) for start in range(0, len(records), size)]
    table = pa.Table.from_batches(batches, REQUESTS)

    assert same(requests_of(table.select(READ_COLUMNS), "x"), Requests.of(records))
    assert same(requests_of(table[1:], "x"), Requests.of(records[1:]))


def test_a_gap_of_seconds_widens_the_gaps_of_all() -> None:
    """Gaps are int32 until a part has one that is longer than 2.1 s; those read before it keep their values."""
    records = [record(0), record(1, token_gaps_ns=[5, 2**31, 7]), record(2)]
    parts = [pa.Table.from_batches([record_batch([one])], REQUESTS) for one in records]

    assert requests_of_parts(parts[:1], "x").gaps_ns.dtype == np.int32
    assert same(requests_of_parts(parts, "x"), Requests.of(records))
    assert requests_of_parts(parts, "x").gaps_ns.tolist() == [100, 101, 99, 5, 2**31, 7, 100, 101, 99]


def test_phases_are_set_by_number() -> None:
    """Numbers of phases become their names, row by row."""
    table = with_phases(pa.Table.from_batches([record_batch([record(0), record(1), record(2)])]), phases(3, 1))

    assert [row.phase for row in records_of(table)] == ["warmup", "measure", "measure"]
    assert table.schema == REQUESTS


def test_an_unknown_outcome_is_refused() -> None:
    """An outcome that giq does not know is refused, naming the file, rather than taken for another."""
    table = pa.Table.from_batches([record_batch([record(0)])])
    index = table.schema.get_field_index("outcome")

    with pytest.raises(DamagedFileError, match=r"x\.parquet: .*outcome"):
        requests_of(table.set_column(index, REQUESTS.field(index), pa.array(["eaten"])), "x.parquet")


def test_a_token_count_beyond_its_column_is_refused() -> None:
    """A value that its column cannot hold raises instead of being cut."""
    with pytest.raises((OverflowError, pa.ArrowInvalid)):
        record_batch([record(0, chunk_tokens=[70_000])])


def test_the_tables_of_the_server_hold_labels() -> None:
    """Labels are a map in the table's schema, so that readers see names and values."""
    assert pa.types.is_map(SERVER.field("labels").type)
