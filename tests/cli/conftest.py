"""The installed command, as a user calls it."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from giq.profiling.known_client import FILE_NAME
from tests.profiling.exact_client import remember_exact_client

GIQ = Path(sys.executable).parent / "giq"

Giq = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def giq(tmp_path: Path) -> Giq:
    """A function that runs `giq` in a folder and a home of its own; further environment by keyword.

    The client is known there, so that no test of something else waits for its calibration or depends on it.
    """

    def run(*words: str, timeout: float = 100, **environment: str) -> subprocess.CompletedProcess[str]:
        if not (tmp_path / "home" / FILE_NAME).exists():
            remember_exact_client(tmp_path / "home")
        clean = {name: value for name, value in os.environ.items() if not name.startswith(("GIQ_", "OPENAI_"))}
        return subprocess.run(
            [str(GIQ), *words],
            capture_output=True,
            text=True,
            cwd=tmp_path,
            timeout=timeout,
            check=False,
            env=clean | {"GIQ_HOME": str(tmp_path / "home")} | environment,
        )

    return run
