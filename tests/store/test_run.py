"""A run: points move from journals into Parquet one by one, and nothing that was saved is ever lost."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from giq.curve.requests import Requests
from giq.errors import DamagedFileError, DataError, StorageError, UsageError
from giq.store import frames
from giq.store.database import read_requests
from giq.store.run import Run, create_run, open_run

from .examples import CONFIG, largest_file, manifest, phases, point, record, sample


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """A run that has just begun."""
    return create_run(tmp_path / "results", manifest())


def measure(run: Run, point_id: str, count: int = 4) -> None:
    """Record *count* requests and two samples of one point, from two workers, and save it."""
    journals = [run.journal(point_id, worker) for worker in (0, 1)]
    for number in reversed(range(count)):
        journals[number % 2].append([record(number, point_id=point_id, worker_id=number % 2)])
    run.server_journal(point_id).append([sample(ts, point_id=point_id) for ts in (1, 2)])
    run.finish_point(point(point_id), phases(count, 1))


def names(folder: Path) -> list[str]:
    """What lies in a folder, the lock of the living process aside."""
    return sorted(set(os.listdir(folder)) - {"run.lock"})


def test_a_finished_point_is_in_all_three_tables(run: Run) -> None:
    """Requests of all workers in order with their phases, samples and the point's row can be read; journals go."""
    measure(run, "p1")

    assert names(run.path) == ["journal", "points.parquet", "requests.parquet", "run.json", "server.parquet"]
    assert names(run.path / "journal") == []
    assert [(row.request_id, row.worker_id, row.phase) for row in run.records("p1")] == [
        (0, 0, "warmup"), (1, 1, "measure"), (2, 0, "measure"), (3, 1, "measure"),
    ]  # fmt: skip
    assert run.samples("p1") == [sample(1), sample(2)]
    assert open_run(run.path).points() == [point("p1")]


def test_later_points_leave_earlier_ones_as_they_are(run: Run) -> None:
    """Each point's rows stay the same however many come after it."""
    measure(run, "p1", 3)
    before = run.records("p1")
    measure(run, "p2", 5)
    measure(run, "p3", 2)

    assert run.records("p1") == before
    assert [len(run.requests(name)) for name in ("p1", "p2", "p3")] == [3, 5, 2]
    assert [found.point_id for found in run.points()] == run.point_ids() == ["p1", "p2", "p3"]


def test_columns_are_the_same_before_and_after(run: Run) -> None:
    """What a point's records are in columns is the same from the journal, while it runs, and from Parquet."""
    journal = run.journal("p1")
    journal.append([record(2), record(0, first_token_ns=None, outcome="timeout"), record(1)])
    journal.append([record(3)])
    before = run.requests("p1")
    run.finish_point(point("p1"))
    after = read_requests(run.path, "p1")

    assert before.request_id.tolist() == [0, 1, 2, 3]
    for name in Requests.__dataclass_fields__:
        assert np.array_equal(getattr(before, name), getattr(after, name))


def test_a_process_that_opened_the_run_adds_journals(run: Run) -> None:
    """Workers of other processes write journals of their own into the same point."""
    run.journal("p1", 0).append([record(0)])
    worker = open_run(run.path).journal("p1", 1)
    worker.append([record(1, worker_id=1)])
    worker.close()
    run.finish_point(point("p1"))

    assert [row.worker_id for row in run.records("p1")] == [0, 1]


def test_a_point_without_records_has_its_row(run: Run) -> None:
    """A predicted point is saved with nothing to compact."""
    run.finish_point(point("p1"))

    assert run.points() == [point("p1")]
    assert run.samples("p1") == []
    with pytest.raises(DataError, match=r"no records of the point p1\nPoints with records: none"):
        run.requests("p1")


def test_all_requests_of_a_run_are_one_frame(run: Run) -> None:
    """The frame holds saved points and those still in journals, with one column for each of the table."""
    measure(run, "p1", 2)
    run.journal("p2").append([record(0, point_id="p2")])

    frame = frames.read_requests(run.path)
    assert frame[["point_id", "request_id"]].values.tolist() == [["p1", 0], ["p1", 1], ["p2", 0]]
    assert frame["token_gaps_ns"][0].tolist() == [100, 101, 99]


def test_a_full_disk_keeps_what_was_saved_and_the_journal(run: Run) -> None:
    """When a point finds no room the earlier ones are intact and its journal stays, and later it can be saved."""
    measure(run, "p1")
    before = {path.name: path.read_bytes() for path in run.path.iterdir() if path.is_file()}
    gaps = np.random.default_rng(1).integers(0, 2**62, 20_000).tolist()
    journal = run.journal("p2")
    journal.append([record(0, point_id="p2", token_gaps_ns=gaps)])
    journal.close()

    with largest_file(100_000), pytest.raises(StorageError, match=r"requests\.parquet: .*File too large"):
        run.finish_point(point("p2"))
    assert {name: (run.path / name).read_bytes() for name in before} == before
    assert names(run.path / "journal") == ["p2.0.requests.arrows"]

    run.finish_point(point("p2"))
    assert run.records("p2")[0].token_gaps_ns == gaps
    assert [found.point_id for found in run.points()] == ["p1", "p2"]


def test_saving_a_point_again_replaces_it(run: Run) -> None:
    """A point that is saved a second time has one row, the later one, and its records once."""
    measure(run, "p1")
    run.finish_point(point("p1", achieved_rps=5.0))

    assert [found.achieved_rps for found in run.points()] == [5.0]
    assert len(run.requests("p1")) == 4


def test_a_saved_point_is_not_recorded_again(run: Run) -> None:
    """A journal for a point that is saved would hide what is saved, so it is refused."""
    measure(run, "p1")

    with pytest.raises(StorageError, match="p1 is saved already"):
        run.journal("p1")
    with pytest.raises(StorageError, match="p1 is saved already"):
        run.server_journal("p1")


@pytest.mark.parametrize("name", ["", "a/b", "..", "p*", "é", "x" * 200])
def test_names_cannot_leave_the_folder(run: Run, name: str) -> None:
    """What cannot be part of a file's name is refused, for points and for runs."""
    with pytest.raises(UsageError, match="cannot name a point"):
        run.journal(name)
    with pytest.raises(UsageError, match="cannot name a run"):
        create_run(run.path, manifest(name))


def test_points_with_like_names_are_kept_apart(run: Run) -> None:
    """A point whose name begins like another's has journals of its own."""
    run.journal("p1").append([record(0)])
    run.journal("p1.0").append([record(1, point_id="p1.0"), record(2, point_id="p1.0")])

    assert [len(run.requests(name)) for name in ("p1", "p1.0")] == [1, 2]


def test_a_point_of_another_run_is_refused(run: Run) -> None:
    """A point is saved in its own run only."""
    with pytest.raises(DataError, match="belongs to the run r2"):
        run.finish_point(point("p1", run_id="r2"))


def test_phases_must_be_one_for_each_request(run: Run) -> None:
    """Another number of phases than of requests is refused, and the journal stays."""
    run.journal("p1").append([record(0)])

    with pytest.raises(DataError, match="2 phases were given for the 1 requests"):
        run.finish_point(point("p1"), phases(2, 0))
    assert run.point_ids() == ["p1"]
    assert run.points() == []


def test_finishing_keeps_points_that_were_not_finished(run: Run) -> None:
    """What is in journals at the end of a run is kept, and run.json says how and why it ended."""
    run.journal("p1").append([record(0)])
    run.finish("interrupted", "Ctrl-C")

    assert names(run.path) == ["requests.parquet", "run.json"]
    assert not (run.path / "run.lock").exists()
    ended = open_run(run.path)
    assert (ended.manifest.state, ended.manifest.stopped) == ("interrupted", "Ctrl-C")
    assert ended.records("p1") == [record(0)]


def test_the_manifest_can_be_revised(run: Run) -> None:
    """Fields that are known only later are written into run.json."""
    run.revise(stopped="the knee is known", loads=())

    assert open_run(run.path).manifest == manifest(stopped="the knee is known", loads=())
    assert open_run(run.path).manifest.config == CONFIG


def test_a_run_is_created_once(run: Run) -> None:
    """A run of the same name is never written into."""
    with pytest.raises(StorageError, match="a run of this name"):
        create_run(run.path.parent, manifest())


def test_a_run_that_cannot_be_created_leaves_nothing(tmp_path: Path) -> None:
    """Without room for run.json there is no run, and the results can be used once there is."""
    with largest_file(10), pytest.raises(StorageError, match=r"run\.json"):
        create_run(tmp_path, manifest())
    assert os.listdir(tmp_path) == []

    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match="file"):
        create_run(tmp_path / "file", manifest())


def test_a_damaged_table_is_named_and_not_written_over(run: Run) -> None:
    """A point is not added to a damaged file: the file is named and the journal stays."""
    measure(run, "p1")
    path = run.path / "requests.parquet"
    path.write_bytes(path.read_bytes()[:-20])

    with pytest.raises(DamagedFileError, match=r"requests\.parquet"):
        run.records("p1")
    with pytest.raises(DamagedFileError, match=r"requests\.parquet"):
        run.journal("p2")
