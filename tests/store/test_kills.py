"""A process that is killed at any step of saving a point loses nothing and leaves nothing half-written."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from giq.errors import UsageError
from giq.store.run import create_run, open_run, recover, take_run

from .examples import manifest, point, record, sample

KILLED = """
import os, signal, sys
from pathlib import Path
from giq.store.run import create_run
from tests.store.examples import manifest, point, record, sample

os.fsync = lambda descriptor: None  # a kill is no loss of power
STEPS = ("rename", "replace", "fsync", "unlink", "rmdir", "ftruncate", "open")

def save(results: Path, fatal: int) -> None:
    '''Save two points; the process dies before its step number *fatal* after the first one.'''
    run = create_run(results, manifest())
    for name in ("p001", "p002"):
        journal = run.journal(name)
        journal.append([record(number, point_id=name) for number in range(20)])
        journal.close()
        samples = run.server_journal(name)
        samples.append([sample(5, point_id=name)])
        samples.close()
        if name == "p002":
            die_at(fatal)
        run.finish_point(point(name), None)
    run.finish("done", "all measured")

def die_at(fatal: int) -> None:
    '''Count what changes files from now on, and die at one of it.'''
    count = [0]
    def counted(call):
        def step(*words, **more):
            count[0] += 1
            if count[0] == fatal:
                os.kill(os.getpid(), signal.SIGKILL)
            return call(*words, **more)
        return step
    for name in STEPS:
        setattr(os, name, counted(getattr(os, name)))

fatal = 0
while True:
    fatal += 1
    results = Path(sys.argv[1]) / f"{fatal:03d}"
    child = os.fork()
    if child == 0:
        save(results, fatal)
        os._exit(0)
    if os.waitpid(child, 0)[1] == 0:
        break
print(fatal - 1)
"""


def test_a_kill_at_any_step_of_saving_a_point_loses_nothing(tmp_path: Path) -> None:
    """Whatever step is the last, each record is there once, points saved before stay, and the folder is clean."""
    script = [sys.executable, "-c", KILLED, str(tmp_path)]
    told = subprocess.run(script, cwd=Path(__file__).parents[2], capture_output=True, text=True, check=True)
    steps = int(told.stdout)

    assert steps >= 12
    saved = []
    for fatal in range(1, steps + 1):
        results = tmp_path / f"{fatal:03d}"
        recover(results)
        run = open_run(results / "run=r1")
        points = [one.point_id for one in run.points()]
        saved.append(len(points))
        assert points in (["p001"], ["p001", "p002"])
        assert [row.request_id for row in run.records("p001")] == list(range(20))
        assert [row.request_id for row in run.records("p002")] == list(range(20))
        assert len(run.samples("p001")) == len(run.samples("p002")) == 1
        assert run.manifest.state in ("interrupted", "done")
        known = {"points.parquet", "requests.parquet", "run.json", "server.parquet"}
        assert set(os.listdir(run.path)) == known, f"step {fatal}"
    assert saved == sorted(saved), "the row is there from one step on"
    assert (saved[0], saved[-1]) == (1, 2)


WRITING = """
import sys, time
from pathlib import Path
from giq.store.run import open_run
from tests.store.examples import record

journal = open_run(Path(sys.argv[1])).journal("p001", 1)
journal.append([record(1, point_id="p001", worker_id=1)])
print("ready", flush=True)
sys.stdin.read()
journal.append([record(3, point_id="p001", worker_id=1)])
journal.close()
"""


def test_a_run_is_not_recovered_under_a_worker_that_still_writes(tmp_path: Path) -> None:
    """A worker whose parent was killed saves its last records first; only then is the run taken up."""
    run = create_run(tmp_path, manifest())
    process = subprocess.Popen(
        [sys.executable, "-c", WRITING, str(run.path)], cwd=Path(__file__).parents[2],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    assert run._lock is not None
    os.close(run._lock)  # what the system does when the parent is killed
    os.kill(process.pid, signal.SIGCONT)

    process.communicate("")  # it ends while the run is being taken up, or before
    taken = take_run(run.path)

    assert [row.request_id for row in taken.records("p001")] == [1, 3]
    with pytest.raises(UsageError, match="being measured"):
        take_run(run.path)
    taken.resume()
    assert open_run(run.path).manifest.state == "running"
    taken.finish("done", "enough")
    with pytest.raises(UsageError, match="is done"):
        take_run(run.path)


def test_a_run_that_never_began_is_cleared_away(tmp_path: Path) -> None:
    """A process killed while it made a run leaves a folder that no command sees, and that goes after a minute."""
    for name, age_s in (("old", 3600), ("new", 0)):
        folder = tmp_path / f".run={name}"
        folder.mkdir()
        (folder / "run.lock").touch()
        moment = folder.stat().st_mtime - age_s
        os.utime(folder, (moment, moment))

    assert recover(tmp_path) == []
    assert os.listdir(tmp_path) == [".run=new"]


def test_a_point_recorded_after_a_kill_is_not_mixed_with_what_was_cut_off(tmp_path: Path) -> None:
    """Records of the cut-off point stay under its own id, and its id cannot be used again."""
    run = create_run(tmp_path, manifest())
    run.journal("p001").append([record(0, point_id="p001")])
    run.finish("interrupted")
    taken = take_run(run.path)
    journal = taken.journal("p002")
    journal.append([record(0, point_id="p002")])
    journal.close()
    taken.finish_point(point("p002"), None)

    assert len(taken.records("p001")) == len(taken.records("p002")) == 1
    assert [one.point_id for one in taken.points()] == ["p002"]
    assert taken.point_ids() == ["p001", "p002"]
    taken.finish("done")


def test_an_id_with_nothing_but_samples_is_used(tmp_path: Path) -> None:
    """A point killed before its first answer has samples of the server: its id is not to be given again."""
    run = create_run(tmp_path, manifest())
    run.server_journal("p001").append([sample(5, point_id="p001")])
    assert run.used_ids() == {"p001"}
    run.finish("interrupted")

    assert (run.point_ids(), run.used_ids()) == ([], {"p001"})
