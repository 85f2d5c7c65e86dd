"""Finds what ships with giq and where the user's own things go: the one place that knows."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Literal

from giq.errors import DataError

Folder = Literal["profiles", "benchmarks", "manifests"]


def shipped(folder: Folder) -> Path:
    """The read-only folder *folder*: inside an installed package, else beside it in a checkout.

    Raises:
        DataError: neither is there, so the installation is broken.
    """
    package = Path(__file__).resolve().parent.parent
    for candidate in (package / "_shipped" / folder, package.parent / folder):
        if candidate.is_dir():
            return candidate
    raise DataError(
        f"the folder {folder!r} that ships with giq is missing", where=str(package), hint="Install giq again."
    )


def user_home() -> Path:
    """Where the user's own prices, models, calibrations and last recommendation go: `$GIQ_HOME`."""
    given = os.environ.get("GIQ_HOME")
    if given:
        return Path(given).expanduser()
    data = os.environ.get("XDG_DATA_HOME") or "~/.local/share"
    return Path(data).expanduser() / "giq"
