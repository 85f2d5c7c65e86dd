"""A command on one core with all its children, at a terminal if asked, watched for its memory."""

from __future__ import annotations

import contextlib
import os
import pty
import signal
import subprocess
import tempfile
import termios
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

SAMPLE_S = 0.25
TAIL_CHARACTERS = 4_000


@dataclass
class Ended:
    """How a command went: exit code (None: it ran past its limit), what it said last, its time and memory.

    `memory` holds (seconds since its start, resident bytes of it and its children together) four times a second;
    `peak_bytes` is the kernel's own peak of the command's first process.
    """

    code: int | None = None
    said: str = ""
    wall_s: float = 0.0
    cpu_s: float = 0.0
    peak_bytes: int = 0
    memory: list[tuple[float, int]] = field(default_factory=list)


def run(
    command: Sequence[str | Path],
    core: int,
    *,
    limit_s: float,
    cwd: Path | None = None,
    env: dict[str, str] | None = None,
    terminal: bool = False,
) -> Ended:
    """Run *command* on *core*, its children too, for at most *limit_s*; with *terminal* its stderr is one."""
    ended = Ended()
    before = os.times()
    began = time.monotonic()
    with tempfile.TemporaryFile() as told, _stderr(told if not terminal else None, ended) as stderr:
        process = subprocess.Popen(
            list(map(str, command)), stdin=subprocess.DEVNULL, stdout=told, stderr=stderr, cwd=cwd,
            env={**os.environ, **(env or {}), "TERM": "xterm-256color"}, start_new_session=True,
            preexec_fn=lambda: os.sched_setaffinity(0, {core}),
        )  # fmt: skip
        try:
            _watch(process, ended, began, limit_s)
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)  # what it may have left behind too
        told.seek(0)
        said = told.read().decode(errors="replace")
    ended.wall_s = time.monotonic() - began
    after = os.times()
    ended.cpu_s = after.children_user + after.children_system - before.children_user - before.children_system
    ended.said = (ended.said + said)[-TAIL_CHARACTERS:]
    return ended


def _watch(process: subprocess.Popen[bytes], ended: Ended, began: float, limit_s: float) -> None:
    """Note the memory until the process ends, or its time is over."""
    while process.poll() is None:
        if (since := time.monotonic() - began) > limit_s:
            return
        peak, resident = _memory(process.pid)
        ended.peak_bytes = max(ended.peak_bytes, peak)
        ended.memory.append((since, resident))
        time.sleep(SAMPLE_S)
    ended.code = process.returncode


def _memory(pid: int) -> tuple[int, int]:
    """The peak of the process, and what its whole session holds now, in bytes; 0 where it is gone."""
    peak, resident = _status(pid, "VmHWM"), 0
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and _session(entry) == pid:
            resident += _status(int(entry.name), "VmRSS")
    return peak, resident


def _session(process: Path) -> int:
    try:
        return int((process / "stat").read_text().rpartition(")")[2].split()[3])
    except (OSError, ProcessLookupError):
        return -1


def _status(pid: int, name: str) -> int:
    with contextlib.suppress(OSError):
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith(name + ":"):
                return int(line.split()[1]) * 1024
    return 0


@contextlib.contextmanager
def _stderr(shared: IO[bytes] | None, ended: Ended) -> Iterator[int]:
    """Where a command's stderr goes: with its stdout, or to a terminal that somebody reads."""
    if shared is not None:
        yield shared.fileno()
        return
    ours, theirs = pty.openpty()
    termios.tcsetwinsize(theirs, (50, 200))
    reader = threading.Thread(target=_read_all, args=(ours, ended), daemon=True)
    reader.start()
    try:
        yield theirs
    finally:
        os.close(theirs)
        reader.join(5)
        os.close(ours)


def _read_all(terminal: int, ended: Ended) -> None:
    with contextlib.suppress(OSError):  # how a terminal says that nobody writes to it any more
        while data := os.read(terminal, 65_536):
            ended.said = (ended.said + data.decode(errors="replace"))[-TAIL_CHARACTERS:]
