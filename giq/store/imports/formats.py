"""Which tool wrote a result file or folder, and its content."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

from giq.documents import decode_json
from giq.errors import DamagedFileError, DataError
from giq.store.imports.aiperf import (
    JSON_FILE,
    REQUESTS_FILE,
    is_aiperf,
    is_aiperf_csv,
    read_aiperf,
    read_aiperf_csv,
)
from giq.store.imports.foreign import ForeignResult
from giq.store.imports.guidellm import is_guidellm, read_guidellm
from giq.store.imports.inference_perf import is_inference_perf, read_inference_perf
from giq.store.imports.vllm_bench import is_vllm_bench, read_vllm_bench
from giq.store.parquet import unreadable

KNOWN = (
    "vllm bench serve (--save-result JSON), GuideLLM (JSON), inference-perf (the folder of its stages), "
    "AIPerf (profile_export.jsonl, or profile_export_aiperf.json or .csv)"
)


def read_result(path: str | Path) -> ForeignResult:
    """The result of another load tool at *path*, whichever wrote it.

    Raises:
        DamagedFileError: it is not whole, or not as its tool writes it.
        DataError: it cannot be read, or no known tool wrote it.
    """
    place = Path(path).expanduser()
    try:
        return _read_folder(place, _Texts()) if place.is_dir() else _read_file(place, _Texts())
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise DamagedFileError(
            f"is not as its tool writes it: {type(error).__name__} {error}",
            where=str(place),
            hint="It may be of another version of the tool, or cut off.",
        ) from None


def _read_file(place: Path, texts: _Texts) -> ForeignResult:
    text = texts.read(place)
    if place.suffix == ".jsonl":
        return _read_aiperf_folder(place.parent, texts)
    if is_aiperf_csv(text):
        return read_aiperf_csv(text, str(place), texts.content_id)
    if text.lstrip().startswith("{"):
        found: dict[str, Any] = decode_json(text, dict, str(place))
        if is_vllm_bench(found):
            return read_vllm_bench(found, str(place), texts.content_id)
        if is_guidellm(found):
            return read_guidellm(found, str(place), texts.content_id)
        if is_aiperf(found):
            return read_aiperf(found, str(place), texts.content_id)
    raise _unknown(place)


def _read_folder(folder: Path, texts: _Texts) -> ForeignResult:
    if is_inference_perf(folder):
        for path in sorted(folder.glob("*_lifecycle_metrics.json")):
            texts.read(path)
        return read_inference_perf(folder, texts.read, texts.content_id)
    if (folder / JSON_FILE).exists():
        return _read_aiperf_folder(folder, texts)
    raise _unknown(folder)


def _read_aiperf_folder(folder: Path, texts: _Texts) -> ForeignResult:
    export, requests = folder / JSON_FILE, folder / REQUESTS_FILE
    if not export.exists():
        raise DataError(
            f"{JSON_FILE} is missing beside the requests", where=str(folder), hint="It tells which load was asked for."
        )
    found: dict[str, Any] = decode_json(texts.read(export), dict, str(export))
    listed = (texts.read(requests), str(requests)) if requests.exists() else None
    return read_aiperf(found, str(folder), texts.content_id, listed)


def _unknown(place: Path) -> DataError:
    return DataError("no known tool wrote this", where=str(place), hint=f"Known: {KNOWN}.")


class _Texts:
    """The texts read so far, and the id that their contents give: the same files always give the same one."""

    def __init__(self) -> None:
        self._read: dict[str, str] = {}

    def read(self, path: Path) -> str:
        """The whole text of *path*.

        Raises:
            DataError: it cannot be read.
        """
        try:
            text = path.read_text(encoding="utf-8")
        except OSError as error:
            raise unreadable(error, str(path)) from None
        except UnicodeDecodeError:
            raise _unknown(path) from None
        self._read[path.name] = text
        return text

    @property
    def content_id(self) -> str:
        """The first 12 hex digits of the SHA-256 of all texts by name."""
        digest = hashlib.sha256()
        for name in sorted(self._read):
            digest.update(name.encode() + b"\0" + self._read[name].encode() + b"\0")
        return digest.hexdigest()[:12]
