"""The last recommendation survives the disk, and what is wrong with its file is told."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from giq.catalog.catalog import Catalog
from giq.catalog.configuration import ServingConfiguration
from giq.curve.curve import Curve
from giq.curve.targets import Target
from giq.documents import decode_json, encode_json
from giq.errors import DamagedFileError, NewerFormatError, StorageError, UsageError
from giq.recommend.ranking import rank
from giq.recommend.recommendation import Recommendation
from giq.recommend.requirement import Requirement
from giq.recommend.saved import FILE_NAME, last_recommendation, save_recommendation
from giq.workload.workload import Workload


@pytest.fixture(scope="module")
def recommendation(
    catalog: Catalog,
    chatbot: Workload,
    make_curve: Callable[..., Curve],
    make_config: Callable[..., ServingConfiguration],
) -> Recommendation:
    """One with a ranked row, one without a price, and a rejected one."""
    curves = [
        make_curve(make_config("alpha")),
        make_curve(make_config("gamma"), evidence="estimated", hardware="simulated"),
        make_curve(make_config("beta"), base_s=3.0),
    ]
    requirement = Requirement(model="tiny-8b", workload=chatbot, targets=(Target("ttft", 0.3),), request_rate_rps=20.0)
    return rank(curves, requirement, catalog, made_at="2026-11-21T10:00:00+00:00", notes=("a note",))


def test_comes_back_equal(recommendation: Recommendation, tmp_path: Path) -> None:
    """What was saved is what is read, twice over, and nothing else is left in the folder."""
    home = tmp_path / "new" / "home"
    for _ in range(2):
        assert save_recommendation(recommendation, home) == home / FILE_NAME
    assert last_recommendation(home) == recommendation
    assert [path.name for path in home.iterdir()] == [FILE_NAME]
    assert (len(recommendation.rows), len(recommendation.rejected)) == (2, 1)


def test_users_folder(recommendation: Recommendation, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a folder it is the one that $GIQ_HOME names."""
    monkeypatch.setenv("GIQ_HOME", str(tmp_path))
    assert save_recommendation(recommendation).parent == tmp_path
    assert last_recommendation() == recommendation


def test_none_yet(tmp_path: Path) -> None:
    """Before the first recommendation the error says what to run."""
    with pytest.raises(UsageError, match="Run `giq recommend") as caught:
        last_recommendation(tmp_path)
    assert caught.value.exit_code == 2


def test_newer(recommendation: Recommendation, tmp_path: Path) -> None:
    """A file of a newer giq is refused by its version, whatever else is in it."""
    path = save_recommendation(recommendation, tmp_path)
    fields = decode_json(path.read_bytes(), dict[str, object], "here") | {"schema_version": 99, "new": 1}
    path.write_bytes(encode_json(fields))
    with pytest.raises(NewerFormatError, match="99"):
        last_recommendation(tmp_path)


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"schema_version": 1}', b"\xff\xfe"])
def test_damaged(content: bytes, tmp_path: Path) -> None:
    """A torn or foreign file is named, with what to do."""
    (tmp_path / FILE_NAME).write_bytes(content)
    with pytest.raises(DamagedFileError, match="not a saved recommendation") as caught:
        last_recommendation(tmp_path)
    assert caught.value.where == str(tmp_path / FILE_NAME)
    assert "giq recommend" in str(caught.value)


def test_unreadable(tmp_path: Path) -> None:
    """What is no file is an error of the data, not a crash."""
    (tmp_path / FILE_NAME).mkdir()
    with pytest.raises(DamagedFileError, match="cannot be read"):
        last_recommendation(tmp_path)


def test_not_writable_leaves_the_old(recommendation: Recommendation, tmp_path: Path) -> None:
    """Where it cannot be put, the error names the place and no half-written file stays."""
    (tmp_path / FILE_NAME).mkdir()
    (tmp_path / FILE_NAME / "inside").touch()
    with pytest.raises(StorageError, match=FILE_NAME):
        save_recommendation(recommendation, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == [FILE_NAME]
    (tmp_path / "file").touch()
    with pytest.raises(StorageError, match="GIQ_HOME"):
        save_recommendation(recommendation, tmp_path / "file")
