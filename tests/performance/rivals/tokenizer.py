"""The tokenizer that rivals want to have: a small folder of our own, made once by any environment that can."""

from __future__ import annotations

import subprocess
from pathlib import Path

from tests.performance.rivals.rival import FOLDER, ROOT

MAKER = ROOT / "tests" / "vllm" / "make_model.py"


def tokenizer_folder(pythons: list[Path]) -> Path:
    """The folder, made with the first of *pythons* (of rivals' environments) that has what it takes.

    Raises:
        ValueError: none of them has.
    """
    folder = FOLDER / "tokenizer"
    if (folder / "tokenizer.json").exists():
        return folder
    said = "no rival is installed"
    for python in pythons:
        done = subprocess.run([python, MAKER, folder], capture_output=True, text=True)
        if done.returncode == 0:
            return folder
        said = done.stderr.strip().splitlines()[-1]
    raise ValueError(f"the tokenizer cannot be made: {said}")
