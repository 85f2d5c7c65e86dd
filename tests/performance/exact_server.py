"""The exact server: compiled when it is needed, started on a core of its own, asked afterwards how exact it was."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from giq.profiling.server_process import free_port

SOURCE = Path(__file__).resolve().parent / "exact_server.c"
STARTS_WITHIN_S = 5.0


@dataclass(frozen=True)
class Timing:
    """When an exact server sends: the first token after `first_ms`, and then one every `gap_ms`."""

    first_ms: float
    gap_ms: float


class ExactServer:
    """A running exact server at `url`; once it has ended `lateness` and `answers` tell what it did."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.lateness: dict[str, float] = {}
        """Its own lateness in ms: late_p50_ms, late_p99_ms, late_max_ms over so many `events`."""
        self.answers: NDArray[np.int64] = np.zeros((0, 3), dtype=np.int64)
        """One row an answered request, in the order of their ends: received and last byte sent (ns), tokens."""


def build(folder: Path) -> Path:
    """Compile the server into *folder*; the program."""
    compiler = shutil.which("cc")
    if compiler is None:
        raise SystemExit("The exact server is written in C: install a compiler (cc).")
    program = folder / "exact_server"
    subprocess.run([compiler, "-O2", "-o", program, SOURCE], check=True)
    return program


@contextlib.contextmanager
def running(program: Path, timing: Timing, core: int, folder: Path) -> Iterator[ExactServer]:
    """Run *program* on *core*; its log of answers goes through *folder*."""
    port, log = free_port(), folder / "answers.log"
    command: list[Any] = [program, port, timing.first_ms, timing.gap_ms, log]
    process = subprocess.Popen(list(map(str, command)), stdout=subprocess.PIPE)
    os.sched_setaffinity(process.pid, {core})
    server = ExactServer(f"http://127.0.0.1:{port}")
    try:
        wait_for(port)
        yield server
    finally:
        process.terminate()
        told, _ = process.communicate()
        server.lateness = json.loads(told)
        server.answers = np.fromfile(log, dtype=np.int64).reshape(-1, 3)


def wait_for(port: int) -> None:
    """Return once a server listens on that loopback port."""
    until = time.monotonic() + STARTS_WITHIN_S
    while True:
        with contextlib.suppress(ConnectionRefusedError), socket.create_connection(("127.0.0.1", port)):
            return
        if time.monotonic() > until:
            raise SystemExit("The exact server does not start.")
        time.sleep(0.02)


def cores() -> tuple[int, int]:
    """The cores of the client and of the server: the first two that this process may use."""
    found = sorted(os.sched_getaffinity(0))
    if len(found) < 2:
        raise SystemExit("Two cores are needed: one for the client, one for the server.")
    return found[0], found[1]
