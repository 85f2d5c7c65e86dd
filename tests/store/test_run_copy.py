"""A finished run is copied once to another place, whole or recognisably not."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from giq.errors import StorageError, UsageError
from giq.store.database import read_curves
from giq.store.run import Run, create_run, open_run
from giq.store.run_copy import copy_run

from .examples import largest_file, manifest, point, record


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """A run with one point, not yet finished."""
    run = create_run(tmp_path / "results", manifest())
    run.journal("p1").append([record(0)])
    run.finish_point(point("p1"))
    return run


def test_a_copy_is_the_run(run: Run, tmp_path: Path) -> None:
    """The copy, at a URI, holds the same bytes, and is read like the run."""
    run.finish("done")
    (run.path / ".hidden").write_text("")
    where = copy_run(run.path, (tmp_path / "bucket").as_uri())

    assert where == f"{(tmp_path / 'bucket').as_uri()}/run=r1"
    copy = tmp_path / "bucket" / "run=r1"
    assert sorted(os.listdir(copy)) == ["points.parquet", "requests.parquet", "run.json"]
    assert all((copy / name).read_bytes() == (run.path / name).read_bytes() for name in os.listdir(copy))
    assert read_curves(where) == read_curves(run.path)
    assert open_run(copy).records("p1") == run.records("p1")


def test_a_copy_is_made_once(run: Run, tmp_path: Path) -> None:
    """A second copy to the same place is refused and changes nothing."""
    run.finish("done")
    copy_run(run.path, tmp_path / "bucket")
    (run.path / "run.json").write_bytes((run.path / "run.json").read_bytes() + b" ")

    with pytest.raises(StorageError, match="run=r1: there is a copy already"):
        copy_run(run.path, tmp_path / "bucket")
    assert open_run(tmp_path / "bucket" / "run=r1").manifest == run.manifest


def test_a_run_that_lives_is_not_copied(run: Run, tmp_path: Path) -> None:
    """Only a finished run is copied."""
    with pytest.raises(UsageError, match="not finished"):
        copy_run(run.path, tmp_path / "bucket")
    assert not (tmp_path / "bucket").exists()


def test_a_copy_that_found_no_room_is_not_taken_for_whole(run: Run, tmp_path: Path) -> None:
    """Where a copy stops midway it has no run.json, and the error names the file."""
    run.finish("done")

    with largest_file(100), pytest.raises(StorageError, match="File too large"):
        copy_run(run.path, tmp_path / "bucket")
    assert not (tmp_path / "bucket" / "run=r1" / "run.json").exists()
