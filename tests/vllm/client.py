"""giq as a user would call it, on the core that server.py keeps for clients. Standard library only."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from server import SETTINGS, VllmServer

GIQ = Path(sys.executable).parent / "giq"


class NoRunError(RuntimeError):
    """`giq profile` left no run behind; the message is what it said."""


@dataclass(frozen=True)
class Run:
    """What one `giq profile` printed, and the folder of its run."""

    process: subprocess.CompletedProcess[str]
    folder: Path


def on_core(
    core: int | None, command: Sequence[str], timeout_s: float | None = None
) -> subprocess.CompletedProcess[str]:
    """Run *command* to its end on *core* alone (None: wherever it likes), under the settings that vLLM has."""

    def pin() -> None:
        if core is not None:
            os.sched_setaffinity(0, {core})

    environment = os.environ | SETTINGS
    return subprocess.run(
        command, env=environment, capture_output=True, text=True, timeout=timeout_s, check=False, preexec_fn=pin
    )


def profiled(server: VllmServer, results: Path, words: Sequence[str], *, endpoint: bool = True) -> Run:
    """Run `giq profile` with *words* to its end, into the folder *results*; its exit code may be any.

    Without *endpoint* the words say which server is measured, and giq is not kept off the server's core.

    Raises:
        NoRunError: it made no run.
    """
    where = ["--endpoint", server.url] if endpoint else []
    before = set(results.glob("run=*"))
    command = [str(GIQ), "profile", *where, "--results-dir", str(results), *words]
    process = on_core(server.client_core if endpoint else None, command, timeout_s=1800)
    found = set(results.glob("run=*")) - before
    if len(found) != 1:
        raise NoRunError(process.stderr)
    return Run(process, found.pop())
