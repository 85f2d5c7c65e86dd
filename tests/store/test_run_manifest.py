"""run.json says what a run was, holds no secrets, and is read for ever."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

import pytest

from giq.errors import DamagedFileError, DataError, NewerFormatError
from giq.store.run_manifest import new_run_id, read_manifest, redacted, without_credentials, write_manifest

from .examples import manifest


def test_a_manifest_is_read_as_it_was_written(tmp_path: Path) -> None:
    """All that was known of a run is there again, its ids with it."""
    write_manifest(tmp_path, manifest())

    assert read_manifest(tmp_path) == manifest()
    assert read_manifest(tmp_path).config.config_id == manifest().config.config_id


def test_every_field_is_spelled_out(tmp_path: Path) -> None:
    """The file names its version and state even where they are the usual ones."""
    write_manifest(tmp_path, manifest())
    plain = json.loads((tmp_path / "run.json").read_text())

    assert (plain["schema_version"], plain["state"], plain["stopped"]) == (1, "running", None)
    assert plain["loads"] == [{"kind": "closed", "concurrency": 1}, {"kind": "open", "rate_rps": 2.0}]


def test_credentials_are_not_stored(tmp_path: Path) -> None:
    """What stands before the @ of a URL is in neither the endpoint nor the command of the file."""
    secret = manifest(
        endpoint="https://me:hunter2@host:8000/v1", command=("giq", "--endpoint=https://me:hunter2@host:8000/v1")
    )
    write_manifest(tmp_path, secret)

    assert "hunter2" not in (tmp_path / "run.json").read_text()
    assert read_manifest(tmp_path).endpoint == "https://host:8000/v1"


@pytest.mark.parametrize(
    ("text", "public"),
    [
        ("http://a@b/c", "http://b/c"),
        ("http://a:p@ss@b", "http://b"),
        ("http://b/c?d=e@f", "http://b/c?d=e@f"),
        ("me@host", "me@host"),
    ],
)
def test_only_credentials_are_left_out(text: str, public: str) -> None:
    """The rest of a URL, and what is no URL, stays as it is."""
    assert without_credentials(text) == public
    assert redacted([text, "x"]) == (public, "x")


def test_a_field_of_a_later_giq_is_left_aside(tmp_path: Path) -> None:
    """A field that is not known here does no harm."""
    write_manifest(tmp_path, manifest())
    path = tmp_path / "run.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "later": 1}))

    assert read_manifest(tmp_path) == manifest()


def test_a_newer_version_is_refused(tmp_path: Path) -> None:
    """A run.json of version 2 is refused by name, even if the rest means nothing here."""
    (tmp_path / "run.json").write_text('{"schema_version": 2, "all": "new"}')

    with pytest.raises(NewerFormatError, match=r"run\.json: schema version 2"):
        read_manifest(tmp_path)


@pytest.mark.parametrize("text", ["{", "[]", '{"schema_version": 1}', '{"schema_version": 1, "run_id": 3}'])
def test_a_damaged_manifest_is_named(tmp_path: Path, text: str) -> None:
    """Broken JSON, or fields that are missing or wrong, name the file."""
    (tmp_path / "run.json").write_text(text)

    with pytest.raises(DamagedFileError, match=r"run\.json"):
        read_manifest(tmp_path)


def test_a_folder_without_a_manifest_is_no_run(tmp_path: Path) -> None:
    """The error names the file that is not there."""
    with pytest.raises(DataError, match=r"run\.json: cannot be read"):
        read_manifest(tmp_path)


def test_run_ids_tell_the_time_and_differ() -> None:
    """An id begins with the time in UTC; two of one second are different."""
    now = datetime(2026, 11, 21, 12, 30, 5, tzinfo=UTC)
    made = {new_run_id(now) for _ in range(20)}

    assert len(made) > 15
    assert all(name.startswith("20261121T123005Z-") for name in made)
