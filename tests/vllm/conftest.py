"""One real vLLM on the CPU for the whole session, and giq as a user would call it."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from server import SETTINGS, VllmServer, is_installed

GIQ = Path(sys.executable).parent / "giq"


@dataclass(frozen=True)
class Run:
    """What one `giq profile` printed, and the folder of its run."""

    process: subprocess.CompletedProcess[str]
    folder: Path


Profile = Callable[..., Run]


@pytest.fixture(scope="session")
def server() -> Iterator[VllmServer]:
    """A vLLM that serves the tiny model."""
    if not is_installed():
        pytest.fail("vLLM is not installed: run `make test-vllm`, which installs it")
    with VllmServer() as running:
        yield running


@pytest.fixture(scope="session")
def profile(server: VllmServer, tmp_path_factory: pytest.TempPathFactory) -> Profile:
    """A function that runs `giq profile` with the given words on the client's core, into a folder of its own."""

    def run(*words: str, endpoint: bool = True) -> Run:
        results = tmp_path_factory.mktemp("results")
        where = ["--endpoint", server.url] if endpoint else []
        command = [str(GIQ), "profile", *where, "--results-dir", str(results), *words]
        core = server.client_core

        def pin() -> None:
            if core is not None:
                os.sched_setaffinity(0, {core})

        process = subprocess.run(
            command,
            env=os.environ | SETTINGS,
            capture_output=True,
            text=True,
            timeout=1800,
            check=False,
            preexec_fn=pin if endpoint else None,
        )
        folders = sorted(results.glob("run=*"))
        assert len(folders) == 1, process.stderr
        return Run(process, folders[0])

    return run
