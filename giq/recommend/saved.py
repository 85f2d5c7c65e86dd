"""The last recommendation, kept in the user's folder so that `giq manifest` needs no arguments."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import Any

from giq.catalog.shipped import user_home
from giq.documents import decode_json, encode_json, validate
from giq.errors import CatalogError, DamagedFileError, NewerFormatError, StorageError, UsageError
from giq.recommend.recommendation import SCHEMA_VERSION, Recommendation

FILE_NAME = "last-recommendation.json"


def save_recommendation(recommendation: Recommendation, home: Path | None = None) -> Path:
    """Write *recommendation* to `HOME/last-recommendation.json` (default `$GIQ_HOME`) and return its path.

    It is written beside its place and then renamed, so that a reader sees the old one or the new one.

    Raises:
        StorageError: it cannot be written; what was there stays.
    """
    path = (home or user_home()) / FILE_NAME
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _replace_file(path, encode_json(recommendation, indent=2))
    except OSError as error:
        raise StorageError(
            f"the recommendation cannot be saved: {error.strerror or error}",
            where=str(path),
            hint="Make room or choose another folder with GIQ_HOME.",
        ) from None
    return path


def last_recommendation(home: Path | None = None) -> Recommendation:
    """The recommendation that was saved last.

    Raises:
        UsageError: there is none yet.
        NewerFormatError: a newer giq wrote it.
        DamagedFileError: the file is not a recommendation.
    """
    path = (home or user_home()) / FILE_NAME
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        raise UsageError(
            "there is no recommendation yet",
            where=str(path),
            hint="Run `giq recommend --model MODEL` first; its answer is kept for `giq manifest`.",
        ) from None
    except OSError as error:
        raise DamagedFileError(f"cannot be read: {error.strerror or error}", where=str(path)) from None
    return _decoded(data, str(path))


def _decoded(data: bytes, where: str) -> Recommendation:
    try:
        fields: dict[str, Any] = decode_json(data, dict[str, Any], where)
        version = fields.get("schema_version")
        if isinstance(version, int) and version > SCHEMA_VERSION:
            raise NewerFormatError(where, version, SCHEMA_VERSION)
        return validate(fields, Recommendation, where)
    except (CatalogError, DamagedFileError) as error:
        raise DamagedFileError(
            f"not a saved recommendation: {error.what}",
            where=where,
            hint="Run `giq recommend` again; it writes a new one.",
        ) from None


def _replace_file(path: Path, data: bytes) -> None:
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=path.name, suffix=".tmp")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        Path(name).replace(path)
    except OSError:
        Path(name).unlink(missing_ok=True)
        raise
