"""The curves at hand: found by place or id, and imported ones kept once."""

from __future__ import annotations

from pathlib import Path

import pytest

from giq.curve.curve import Curve
from giq.documents import replace
from giq.errors import DataError, UnknownNameError, UsageError
from giq.store.at_hand import imports_folder, keep_imported, named_curves, runs_of
from giq.store.database import write_points
from giq.store.frames import read_requests
from tests.curve.measured_curves import config, curve, open_point, provenance, workload

PUBLISHED = provenance("published", hardware_source="declared", source="GuideLLM 0.8.1")


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The user's own folder."""
    monkeypatch.setenv("GIQ_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


def test_a_curve_is_named_by_how_its_id_begins_and_by_what_it_rests_on(home: Path, tmp_path: Path) -> None:
    """A few digits do; of two kinds of evidence one is chosen by name; unknown and ambiguous ones fail."""
    measured, estimated = curve(), curve(provenance=provenance("estimated"))
    other = curve(accelerator="nvidia-h100-80gb")
    write_points(tmp_path / "results", [measured, estimated, other])
    name = measured.curve_id[:6]

    assert len(named_curves([name], tmp_path / "results")) == 2
    (chosen,) = named_curves([f"{name}:estimated"], tmp_path / "results")
    assert chosen.evidence == "estimated"
    with pytest.raises(UnknownNameError):
        named_curves(["zzzz"], tmp_path / "results")
    with pytest.raises(UsageError, match="begins several"):
        named_curves([""], tmp_path / "results")


def test_without_words_all_are_at_hand_and_places_are_read_where_they_are(home: Path, tmp_path: Path) -> None:
    """Imports and results are found by themselves, any other folder by its path."""
    keep_imported([curve(provenance=PUBLISHED)])
    write_points(tmp_path / "elsewhere", [curve(accelerator="nvidia-h100-80gb")])

    here = {one.config.main.accelerator for one in named_curves([], tmp_path / "results")}
    there = {one.config.main.accelerator for one in named_curves([str(tmp_path / "elsewhere")], tmp_path)}

    assert "nvidia-l4" in here
    assert there == {"nvidia-h100-80gb"}


def test_what_is_imported_again_is_there_once_under_its_last_declaration(home: Path) -> None:
    """The same points declared as on another accelerator replace the old ones; other points stay."""
    first = Curve(config(), workload(), (open_point(1.0, provenance=PUBLISHED, run_id="import-a"),))
    second = Curve(config(), workload(), (open_point(2.0, provenance=PUBLISHED, run_id="import-b"),))
    keep_imported([first])
    keep_imported([second])
    (both,) = named_curves([str(imports_folder())], home)

    keep_imported([Curve(config("nvidia-h100-80gb"), workload(), first.points)])
    left = {one.config.main.accelerator: one for one in named_curves([str(imports_folder())], home)}

    assert len(both.points) == 2
    assert [point.run_id for point in left["nvidia-l4"].points] == ["import-b"]
    assert [point.run_id for point in left["nvidia-h100-80gb"].points] == ["import-a"]
    keep_imported([replace_config(second)])
    assert {one.config.main.accelerator for one in named_curves([str(imports_folder())], home)} == {"nvidia-h100-80gb"}


def replace_config(one: Curve) -> Curve:
    """*one* as on an H100."""
    return Curve(config("nvidia-h100-80gb"), one.workload, one.points)


def test_curves_without_runs_have_no_records(home: Path, tmp_path: Path) -> None:
    """Records of what was imported are asked for in vain, and it is said why."""
    write_points(tmp_path / "results", [curve()])

    with pytest.raises(DataError, match="no run is there"):
        runs_of([curve().curve_id], tmp_path / "results")


def test_runs_are_found_by_place_and_by_the_curve_they_measured() -> None:
    """A run's folder, the folder of runs, and its curve's id all give its records."""
    results = Path(__file__).parent / "version_1"
    (one,) = named_curves([str(results)], results)

    frames = [
        read_requests(results / "run=r1"),
        read_requests(results),
        read_requests(one.curve_id, results_dir=results),
    ]

    assert len(frames[0]) > 0
    assert [len(frame) for frame in frames] == [len(frames[0])] * 3


def test_replacing_fields_makes_no_new_import(home: Path) -> None:
    """A point that is imported anew takes the place of the old one, whatever changed in it."""
    old = open_point(1.0, provenance=PUBLISHED, run_id="import-a")
    keep_imported([Curve(config(), workload(), (old,))])
    keep_imported([Curve(config(), workload(), (replace(old, n_requests=999),))])

    (one,) = named_curves([str(imports_folder())], home)
    assert [point.n_requests for point in one.points] == [999]
