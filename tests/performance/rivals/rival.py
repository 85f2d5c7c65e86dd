"""What the runner asks of a rival: how it is told to do a cell's work, and how its own records are read."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.performance.figures import Cell, Figures

ROOT = Path(__file__).resolve().parents[3]
FOLDER = Path(os.environ.get("RIVALS_DIR", ROOT / ".venv-rivals"))
VLLM_FOLDER = Path(os.environ.get("VLLM_VENV", ROOT / ".venv-vllm"))


@dataclass(frozen=True)
class Work:
    """One cell as a rival is given it: so many requests to *url*, its files go to *folder*."""

    cell: Cell
    requests: int
    url: str
    folder: Path
    tokenizer: Path


@dataclass(frozen=True)
class Rival:
    """One load tool. `tokens_per_s` and `short_rps` are about what it held on two cores when this was written.

    They only fix how many requests it is given, so that a cell takes some 25 s and no tool is cut off.
    """

    name: str
    title: str
    python: Path
    package: str
    tokens_per_s: float
    short_rps: float
    command: Callable[[Work], Sequence[str | Path]]
    read: Callable[[Work], Figures]
    note: str

    @property
    def installed(self) -> bool:
        """Whether its environment is there."""
        return self.python.exists()


def venv_python(name: str) -> Path:
    """The interpreter of a rival's environment."""
    return FOLDER / name / "bin" / "python"


def read_json(path: Path) -> Any:
    """The JSON in a file.

    Raises:
        ValueError: the tool did not write it, or not whole.
    """
    try:
        return json.loads(path.read_text())
    except OSError:
        raise ValueError(f"it wrote no {path.name}") from None


def read_json_lines(path: Path) -> list[Any]:
    """The JSON of every line of a file; raises as `read_json` does."""
    try:
        return [json.loads(line) for line in path.read_text().splitlines() if line.strip()]
    except OSError:
        raise ValueError(f"it wrote no {path.name}") from None
