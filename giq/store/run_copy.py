"""Copies of a finished run in another place, an object store as a rule: written once, never over."""

from __future__ import annotations

import shutil
from pathlib import Path

from giq.errors import StorageError, UsageError
from giq.store.locations import locate
from giq.store.parquet import unreadable
from giq.store.run import open_run
from giq.store.run_lock import LOCK_NAME
from giq.store.run_manifest import FILE_NAME
from giq.store.run_tables import journalled_points

_CHUNK_BYTES = 4 * 2**20


def copy_run(run_path: str | Path, destination: str | Path) -> str:
    """Copy a finished run below *destination* (a folder or a URI); returns where it lies then.

    Its run.json goes last, so that a copy that has one is whole.

    Raises:
        DataError: the run cannot be read.
        StorageError: there is a copy already, or it cannot be written.
        UsageError: the run is not finished.
    """
    run = open_run(run_path)
    if run.manifest.state == "running" or journalled_points(run.path):
        raise UsageError(
            "the run is not finished", hint="Wait for its end; if its process died, any giq command saves it."
        )
    target = locate(destination).below(f"run={run.manifest.run_id}")
    if target.exists():
        raise StorageError(
            "there is a copy already", where=target.name, hint="Runs are put once: choose another place."
        )
    for path in _files(run.path):
        try:
            with path.open("rb") as source, target.below(path.name).writing() as copy:
                shutil.copyfileobj(source, copy, _CHUNK_BYTES)
        except OSError as error:
            raise unreadable(error, str(path)) from None
    return target.name


def _files(folder: Path) -> list[Path]:
    """What belongs to a run in *folder*, run.json last."""
    found = [path for path in folder.iterdir() if path.is_file() and not path.name.startswith(".")]
    return sorted(
        (path for path in found if path.name != LOCK_NAME), key=lambda path: (path.name == FILE_NAME, path.name)
    )
