"""One real vLLM on the CPU for the whole session, and giq as a user would call it."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from client import Run, profiled
from server import VllmServer, is_installed

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
        return profiled(server, tmp_path_factory.mktemp("results"), words, endpoint=endpoint)

    return run
