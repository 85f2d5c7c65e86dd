"""A killed run is recovered by the next command: at most the last second is missing."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from giq import documents
from giq.errors import DamagedFileError, DataError, StorageError
from giq.store.run import create_run, open_run, recover

from .examples import largest_file, manifest, point, record, sample

LIVE = """
import sys, time
from pathlib import Path
from giq import documents
from giq.curve.requests import Record
from giq.store.run import create_run
from giq.store.run_manifest import RunManifest

manifest = documents.decode_json(sys.argv[2], RunManifest, "test")
journal = create_run(Path(sys.argv[1]), manifest).journal("p1")
for number in range(1_000_000):
    now = time.monotonic_ns()
    print(number, now, flush=True)
    journal.append([Record(run_id=manifest.run_id, point_id="p1", request_id=number, scheduled_ns=now, sent_ns=now,
                           outcome="ok", requested_input_tokens=1, requested_output_tokens=1)])
    time.sleep(0.002)
"""


@contextmanager
def living(results: Path) -> Iterator[subprocess.Popen[str]]:
    """A process that records requests of point p1 in run r1 until it is killed, and tells each before it does."""
    command = [sys.executable, "-c", LIVE, str(results), documents.encode_json(manifest()).decode()]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


def told(process: subprocess.Popen[str], seconds: float) -> list[tuple[int, int]]:
    """The numbers and times of the requests that the process told in about so many seconds."""
    assert process.stdout is not None
    lines: list[tuple[int, int]] = []
    while not lines or lines[-1][1] - lines[0][1] < seconds * 1e9:
        number, sent = process.stdout.readline().split()
        lines.append((int(number), int(sent)))
    return lines


def test_a_killed_run_misses_at_most_its_last_second(tmp_path: Path) -> None:
    """After kill -9 the records come back whole but for the last second, and the run is called interrupted."""
    with living(tmp_path) as process:
        lines = told(process, 1.4)
        assert recover(tmp_path) == []
        process.send_signal(signal.SIGKILL)
        process.wait()
        assert process.stdout is not None
        rest = [line.split() for line in process.stdout.read().splitlines()]
    lines += [(int(line[0]), int(line[1])) for line in rest if len(line) == 2]

    assert recover(tmp_path) == ["r1"]
    run = open_run(tmp_path / "run=r1")
    found = run.records("p1")
    assert [row.request_id for row in found] == list(range(len(found)))
    assert 0 <= lines[-1][1] - found[-1].sent_ns < 1.5e9
    assert run.manifest.state == "interrupted"
    assert sorted(os.listdir(run.path)) == ["requests.parquet", "run.json"]
    assert recover(tmp_path) == []


def test_a_run_of_this_process_is_left_alone(tmp_path: Path) -> None:
    """A run that lives in the same process is not recovered; once finished there is nothing to do."""
    run = create_run(tmp_path, manifest())
    run.journal("p1").append([record(0)])

    assert recover(tmp_path) == []
    run.finish("done")
    assert recover(tmp_path) == []
    assert open_run(run.path).manifest.state == "done"


def abandoned(results: Path, run_id: str = "r1") -> Path:
    """The folder of a run with a saved point p1 and a begun point p2, whose process is gone."""
    run = create_run(results, manifest(run_id))
    run.journal("p1").append([record(0, run_id=run_id)])
    run.finish_point(point("p1", run_id=run_id), None)
    for journal in (run.journal("p2"), run.journal("p2", 1)):
        journal.append([record(1, point_id="p2", run_id=run_id)])
        journal.close()
    samples = run.server_journal("p2")
    samples.append([sample(5, point_id="p2", run_id=run_id)])
    assert run._lock is not None
    for held in (run._lock, samples._file):  # what the system does when a process ends
        os.close(held)
    return run.path


def test_a_point_that_was_not_finished_keeps_its_records_without_a_row(tmp_path: Path) -> None:
    """Records and samples of a begun point are saved, though it makes no point."""
    run = open_run(abandoned(tmp_path))
    (run.path / ".requests.parquet.123.tmp").write_bytes(b"half")

    assert recover(tmp_path) == ["r1"]
    assert [found.point_id for found in run.points()] == ["p1"]
    assert run.point_ids() == ["p1", "p2"]
    assert len(run.records("p2")) == 2
    assert run.samples("p2") == [sample(5, point_id="p2")]
    assert sorted(os.listdir(run.path)) == ["points.parquet", "requests.parquet", "run.json", "server.parquet"]


def test_a_crash_between_saving_and_clearing_up_doubles_nothing(tmp_path: Path) -> None:
    """A journal left beside its saved point is removed, and the phases that were saved stay."""
    path = abandoned(tmp_path)
    (path / "journal" / "p2.0.requests.arrows").rename(path / "journal" / "p1.0.requests.arrows")
    before = open_run(path).manifest

    assert recover(tmp_path) == ["r1"]
    assert open_run(path).records("p1") == [record(0)]
    assert open_run(path).manifest == documents.replace(
        before, state="interrupted", stopped="its process ended without a word"
    )


def test_a_full_disk_leaves_a_killed_run_for_later(tmp_path: Path) -> None:
    """Without room nothing changes, and the next time it is recovered."""
    path = abandoned(tmp_path)
    before = sorted(file.name for file in path.rglob("*") if file.is_file() and file.name != "run.lock")

    with largest_file(100), pytest.raises(StorageError, match="File too large"):
        recover(tmp_path)
    assert sorted(file.name for file in path.rglob("*") if file.is_file()) == before

    assert recover(tmp_path) == ["r1"]


def test_one_run_that_cannot_be_read_does_not_keep_others_from_recovery(tmp_path: Path) -> None:
    """A damaged run is handed on, or raises; the others are recovered."""
    abandoned(tmp_path, "r2")
    damaged = abandoned(tmp_path, "r1") / "run.json"
    damaged.write_text("{")
    (tmp_path / "run=empty").mkdir()
    problems: list[DataError] = []

    with pytest.raises(DamagedFileError, match=r"run=r1/run\.json"):
        recover(tmp_path)
    assert recover(tmp_path, problems.append) == ["r2"]
    assert [problem.where for problem in problems] == [str(damaged)]


def test_without_results_there_is_nothing_to_recover(tmp_path: Path) -> None:
    """A results folder that is not there is no error."""
    assert recover(tmp_path / "none") == []
