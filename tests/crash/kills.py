"""`giq profile`, the installed command, killed with signal 9 at moments of our choice, and what must hold then."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import pandas as pd

from giq.store.run import open_run, recover
from tests.profiling.exact_client import remember_exact_client

Victim = Literal["client", "worker", "server"]
GIQ = Path(sys.executable).parent / "giq"
ROOT = Path(__file__).parents[2]

MARK = "CRASH_SCENE"
"""The variable in their environment by which the processes of one scene are known."""

MISSING_NS = 2_000_000_000
"""What may be missing after a kill: the last two seconds."""
KNOWN_FILES = {"run.json", "requests.parquet", "server.parquet", "points.parquet"}


@dataclass
class Scene:
    """One run of `giq profile` with explicit loads against a server that may die and come back elsewhere.

    `said` is what each process wrote to stderr, `lost` how many answers the kills so far left without a record.
    """

    folder: Path
    concurrency: tuple[int, ...] = (2, 4)
    requests: int = 80
    workers: int = 1
    said: list[str] = field(default_factory=list)
    lost: int = 0

    def __post_init__(self) -> None:
        self.log = self.folder / "finished"
        self.log.touch()
        remember_exact_client(self.folder / "home")  # no run waits for the client's calibration
        self.server, self.url = self._served()

    def close(self) -> None:
        """Stop the server."""
        self.server.kill()
        self.server.communicate()

    def clear(self) -> None:
        """Stop whatever is left."""
        self.close()
        for pid in self.processes():
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def _served(self) -> tuple[subprocess.Popen[str], str]:
        command = [sys.executable, "-m", "tests.crash.serve", str(self.log)]
        process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
        assert process.stdout is not None
        return process, process.stdout.readline().strip()

    def revive_server(self) -> None:
        """Start it anew, at another address, when it is dead."""
        if self.server.poll() is not None:
            self.close()
            self.server, self.url = self._served()

    def start(self, *words: str) -> subprocess.Popen[str]:
        """Start `giq profile`; the environment by which its processes are known goes with it."""
        command = [str(GIQ), "profile", "--endpoint", self.url, *words]
        clean = {name: value for name, value in os.environ.items() if not name.startswith(("GIQ_", "OPENAI_"))}
        ours = {"GIQ_HOME": str(self.folder / "home"), MARK: str(self.folder)}
        return subprocess.Popen(
            command, cwd=self.folder, env=clean | ours,
            stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip

    def begin(self) -> subprocess.Popen[str]:
        """Start the run."""
        loads = ",".join(map(str, self.concurrency))
        return self.start(
            "--input-tokens", "8", "--output-tokens", "4", "--concurrency", loads, "--requests", str(self.requests),
            "--workers", str(self.workers), "--seed", "5",
        )  # fmt: skip

    def resume(self) -> subprocess.Popen[str]:
        """Go on with the run."""
        return self.start("--resume")

    def finished(self) -> list[int]:
        """When the server finished each request."""
        return [int(line) for line in self.log.read_text().splitlines()]

    def run_folder(self) -> Path | None:
        """The folder of the run, once it is there."""
        return next((self.folder / "results").glob("run=*"), None)

    def processes(self) -> list[int]:
        """The living processes of giq, those it started included."""
        mark = f"{MARK}={self.folder}\0".encode()
        return [int(path.parent.name) for path in Path("/proc").glob("[0-9]*/environ") if mark in _environment(path)]

    def workers_of(self, client: subprocess.Popen[str]) -> list[int]:
        """The worker processes of a living client."""
        return [
            pid
            for pid in self.processes()
            if pid != client.pid and b"spawn_main" in _environment(Path(f"/proc/{pid}/cmdline"))
        ]


def _environment(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:  # it ended meanwhile, or is another user's
        return b""


@contextmanager
def scene(folder: Path, workers: int = 1, concurrency: tuple[int, ...] = (2, 4), requests: int = 80) -> Iterator[Scene]:
    """A scene with a living server."""
    made = Scene(folder, concurrency=concurrency, requests=requests, workers=workers)
    try:
        yield made
    finally:
        made.clear()


@dataclass(frozen=True)
class Kill:
    """One kill: of whom, after how many more finished requests, and how much later than that."""

    victim: Victim
    after_requests: int
    wait_s: float = 0.0


def wait_for(what: Callable[[], bool], seconds: float, why: str) -> None:
    """Wait until *what* holds.

    Raises:
        AssertionError: it did not in time.
    """
    until = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < until, why
        time.sleep(0.005)


def strike(play: Scene, client: subprocess.Popen[str], kill: Kill) -> int | None:
    """Kill at the moment chosen; returns when (ns, monotonic), None when the run was over before.

    A worker that is to be killed while none lives (between two points) is waited for.
    """
    aim = len(play.finished()) + kill.after_requests
    wait_for(lambda: len(play.finished()) >= aim or client.poll() is not None, 300, "the load did not come")
    time.sleep(kill.wait_s)
    victim = play.server.pid if kill.victim == "server" else client.pid
    if kill.victim == "worker":
        wait_for(lambda: bool(play.workers_of(client)) or client.poll() is not None, 60, "no worker came")
        victim = next(iter(play.workers_of(client)), 0)
    if client.poll() is not None or not victim:
        return None
    at_ns = time.monotonic_ns()
    os.kill(victim, signal.SIGKILL)
    return at_ns


def saved_before(play: Scene) -> pd.DataFrame:
    """The points that are saved now: none while there is no file."""
    folder = play.run_folder()
    path = folder / "points.parquet" if folder else None
    return pd.read_parquet(path) if path and path.exists() else pd.DataFrame({"point_id": []})


def settle(play: Scene, client: subprocess.Popen[str]) -> None:
    """Wait until every process of giq has ended by itself.

    Raises:
        AssertionError: one stayed.
    """
    play.said.append(client.communicate(timeout=300)[1])
    wait_for(lambda: not play.processes(), 60, f"orphans stay: {play.processes()}")


def check(play: Scene, at_ns: int, before: pd.DataFrame) -> str:
    """What must hold after a kill, once any giq command has recovered the run; returns what is in it, in words.

    Raises:
        AssertionError: something is lost, doubled or left behind.
    """
    recover(play.folder / "results")
    folder = play.run_folder()
    if folder is None:
        assert not play.finished(), "requests were sent before there was a run"
        return "no run yet"
    run = open_run(folder)
    left = {path.name for path in folder.iterdir()}
    assert left <= KNOWN_FILES, f"left behind: {left - KNOWN_FILES}"
    assert run.manifest.state in ("interrupted", "failed", "done")
    points = {point.point_id: point for point in run.points()}
    assert set(before.point_id) <= set(points), "a saved point is lost"
    for row in before.itertuples():
        assert points[str(row.point_id)].n_requests == row.n_requests

    requests = _requests(folder)
    assert not requests.duplicated(["point_id", "request_id"]).any(), "a record is there twice"
    ok = int((requests.outcome == "ok").sum())
    finished = play.finished()
    due = sum(moment < at_ns - MISSING_NS for moment in finished)
    told = f"{ok} records of {len(finished)} answers, {due} of them 2 s before the kill; {play.lost} lost before"
    assert due - play.lost <= ok <= len(finished), told
    lost, play.lost = play.lost, len(finished) - ok
    return f"{len(points)} points, {ok} records, {play.lost - lost} answers without one"


def _requests(folder: Path) -> pd.DataFrame:
    path = folder / "requests.parquet"
    return pd.read_parquet(path) if path.exists() else pd.DataFrame({"point_id": [], "request_id": [], "outcome": []})


def check_whole(play: Scene) -> None:
    """What must hold at the end: every load has a point of all its requests, and no repeat shares a point's id.

    Raises:
        AssertionError: it does not.
    """
    folder = play.run_folder()
    assert folder is not None
    run = open_run(folder)
    requests = _requests(folder)
    counts = requests[requests.outcome == "ok"].groupby("point_id").size()
    whole = [point for point in run.points() if counts.get(point.point_id, 0) == play.requests]
    assert run.manifest.state == "done", run.manifest.stopped
    assert [point.concurrency for point in whole] == list(play.concurrency)
    assert counts.max() <= play.requests, "a repeat was mixed with what it repeats"
    assert {path.name for path in folder.iterdir()} <= KNOWN_FILES
    assert [path.name for path in (play.folder / "results").iterdir()] == [folder.name], "a run folder of its own"
