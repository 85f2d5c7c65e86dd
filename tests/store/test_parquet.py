"""Files are whole or not there, and a damaged one is named."""

from __future__ import annotations

import os
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from giq.errors import DamagedFileError, DataError, StorageError
from giq.store.columns import sample_batch
from giq.store.parquet import open_table, read_rows, replace_table, replacing, storage_error, write_bytes
from giq.store.schema import REQUESTS, SERVER

from .examples import largest_file, sample


def samples(count: int) -> pa.Table:
    """A table of *count* samples."""
    return pa.Table.from_batches([sample_batch([sample(number) for number in range(count)])])


def read(path: Path) -> pa.Table:
    """The samples in a file."""
    with open_table(path, SERVER, str(path)) as file:
        return read_rows(file, str(path))


def test_a_table_is_written_with_zstd_and_says_what_it_is(tmp_path: Path) -> None:
    """The file names its table and version, and its pages are compressed with zstd."""
    path = tmp_path / "t.parquet"
    replace_table(path, SERVER, [samples(3)])

    metadata = pq.read_metadata(path)
    assert metadata.metadata[b"giq.table"] == b"server"
    assert metadata.metadata[b"giq.schema_version"] == b"1"
    assert metadata.row_group(0).column(0).compression == "ZSTD"
    assert read(path) == samples(3)


def test_what_fails_midway_leaves_the_old_file(tmp_path: Path) -> None:
    """An error while writing leaves the old content and no temporary file."""
    path = tmp_path / "f"
    write_bytes(path, b"old")

    def write_half() -> None:
        with replacing(path) as file:
            file.write(b"new")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        write_half()
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["f"]


def test_a_full_disk_leaves_the_old_table(tmp_path: Path) -> None:
    """Without room for the new table the old one stays as it was, and the error says what to do."""
    path = tmp_path / "t.parquet"
    replace_table(path, SERVER, [samples(3)])
    before = path.read_bytes()

    with largest_file(len(before) + 100), pytest.raises(StorageError, match="File too large") as told:
        replace_table(path, SERVER, [samples(20_000)])
    assert str(path) in str(told.value)
    assert "Free some space" in str(told.value)
    assert path.read_bytes() == before
    assert os.listdir(tmp_path) == ["t.parquet"]


def test_a_device_without_room_is_told_as_such() -> None:
    """What the system says of a full device becomes what is full and what to do."""
    with pytest.raises(OSError, match="No space left") as full, open("/dev/full", "wb", buffering=0) as device:
        device.write(b"rows")

    assert str(storage_error(full.value, "results")).startswith(
        "results: cannot be written: No space left on device\nFree"
    )


@pytest.mark.parametrize(("number", "advice"), [(13, "may write"), (30, "may write"), (5, "Check the disk")])
def test_each_way_to_fail_has_its_advice(number: int, advice: str) -> None:
    """No permission, a read-only file system and a broken disk are told apart."""
    assert advice in str(storage_error(OSError(number, os.strerror(number)), "results"))


def test_a_folder_that_is_not_there_is_a_clear_error(tmp_path: Path) -> None:
    """Writing below a missing folder raises an error with the path."""
    with pytest.raises(StorageError, match="nowhere"):
        write_bytes(tmp_path / "nowhere" / "f", b"")


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_a_truncated_file_is_named(tmp_path: Path, data: st.DataObject) -> None:
    """Cut anywhere, a Parquet file is refused by its name with what to do."""
    path, cut = tmp_path / "t.parquet", tmp_path / "cut.parquet"
    if not path.exists():
        replace_table(path, SERVER, [samples(50)])
    content = path.read_bytes()
    cut.write_bytes(content[: data.draw(st.integers(0, len(content) - 1))])

    with pytest.raises(DamagedFileError, match=r"cut\.parquet: not a whole Parquet file: .*\nIt was cut off"):
        read(cut)


def test_a_changed_page_is_noticed(tmp_path: Path) -> None:
    """One flipped bit in the data is found by the page's checksum."""
    path = tmp_path / "t.parquet"
    replace_table(path, SERVER, [samples(50)])
    column = pq.read_metadata(path).row_group(0).column(2)
    content = bytearray(path.read_bytes())
    content[column.data_page_offset + column.total_compressed_size - 3] ^= 1
    path.write_bytes(content)

    with pytest.raises(DamagedFileError, match=r"t\.parquet"):
        read(path)


def test_another_table_is_not_opened(tmp_path: Path) -> None:
    """A file of samples is no file of requests."""
    path = tmp_path / "requests.parquet"
    replace_table(path, SERVER, [samples(1)])

    with pytest.raises(DamagedFileError, match="holds the table 'server', not 'requests'"):
        open_table(path, REQUESTS, str(path))


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    """Reading what is not there is an error with the path, and is not called damage."""
    with pytest.raises(DataError, match="missing") as told:
        read(tmp_path / "missing")
    assert not isinstance(told.value, DamagedFileError)
