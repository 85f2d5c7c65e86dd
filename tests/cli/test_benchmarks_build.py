"""`giq benchmarks build` and what is made of what ships: the same bytes each time, and by the engine of today."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from giq.catalog import load_catalog
from giq.catalog.shipped import shipped
from giq.curve.curve import Curve
from giq.curve.point import Point
from giq.engine.calibrations import kept_calibrations
from giq.engine.engine_id import engine_id
from giq.recommend.catalog_curves import Part, catalog_curves, units
from giq.recommend.estimates import engine_of
from giq.store.database import read_curves
from tests.cli.conftest import Giq

PART = ("--model", "llama-3-8b", "--model", "gpt-oss-20b", "--accelerator", "gh200", "--use-case", "code-completion")
AGAIN = "The shipped curves were made by another engine; run the command again: giq benchmarks build --to benchmarks"


def test_two_builds_give_equal_bytes(giq: Giq, tmp_path: Path) -> None:
    """Of two models, by one process and by two; each row says its evidence, calibration, source and engine."""
    for folder, processes in (("one", "1"), ("two", "2")):
        made = giq("benchmarks", "build", "--to", folder, "--processes", processes, *PART)
        assert made.returncode == 0, made.stderr
        assert "estimated curves" in made.stderr
    files = sorted(path.name for path in (tmp_path / "one" / "estimates").iterdir())
    assert files == ["gpt-oss-20b.parquet", "llama-3-8b.parquet"]
    for name in files:
        first, second = (tmp_path / folder / "estimates" / name for folder in ("one", "two"))
        assert first.read_bytes() == second.read_bytes()
    for curve in read_curves(tmp_path / "one"):
        for point in curve.points:
            told = point.provenance
            assert (told.evidence, told.hardware_source, told.measured_at) == ("estimated", "simulated", None)
            assert told.source == "giq simulated engine"
            assert told.calibration_id
            assert told.engine_id


def test_published_points_are_passed_on_only_where_their_licence_allows_it(giq: Giq, tmp_path: Path) -> None:
    """With source, licence and date in each row; a row without a permissive licence is refused by its name."""
    rows = (shipped("benchmarks") / "published.csv").read_text().splitlines()
    (tmp_path / "db").mkdir()
    (tmp_path / "db" / "published.csv").write_text("\n".join(rows[:4]))
    made = giq("benchmarks", "build", "--to", "db", *PART[:2], *PART[4:])
    assert made.returncode == 0, made.stderr
    assert "3 published points" in made.stderr
    points = [point for curve in read_curves(tmp_path / "db" / "published.parquet") for point in curve.points]
    assert len(points) == 3
    for point in points:
        assert (point.provenance.evidence, point.provenance.licence) == ("published", "Apache-2.0")
        assert point.provenance.source.endswith("silicon_sample.csv")
        assert point.provenance.measured_at
    (tmp_path / "db" / "published.csv").write_text("\n".join(rows[:4]).replace("Apache-2.0", "all rights reserved"))
    refused = giq("benchmarks", "build", "--to", "db", *PART[:2], *PART[4:])
    assert refused.returncode == 4
    assert "does not allow to pass it on" in refused.stderr


def test_slices_of_several_hosts_and_all_precisions_are_in_the_catalog() -> None:
    """Each precision on single hosts, the default one on larger slices; nothing on a CPU."""
    found = units(Part(models=("llama-3.1-70b",), use_cases=("chatbot",)), load_catalog())
    configs = [spec.config for spec, _ in found]
    assert {config.main.precision for config in configs} == {"bf16", "fp8"}
    assert {config.main.hosts for config in configs if config.main.precision == "fp8"} == {1}
    assert max(config.main.hosts for config in configs) >= 2
    assert all(config.main.tp == config.accelerators_total for config in configs)
    assert len({config.config_id for config in configs}) == len(configs)
    assert all(spec.accelerator.kind != "cpu" for spec, _ in found)


@pytest.fixture(scope="module")
def ours() -> list[Curve]:
    """Curves that ship, of two models."""
    return [curve for name in ("llama-3-8b", "gpt-oss-20b") for curve in _shipped(name)]


def _shipped(model: str) -> list[Curve]:
    return read_curves(shipped("benchmarks") / "estimates" / f"{model}.parquet", only={"use_case": "code"})


def test_what_ships_was_made_by_this_engine(ours: list[Curve]) -> None:
    """Models, accelerators and calibrations are still those that it rests on, and two curves come out again."""
    catalog, kept = load_catalog(), kept_calibrations()
    assert len(ours) > 20
    for curve in ours:
        spec = engine_of(curve.config, catalog, kept)
        assert not isinstance(spec, str)
        assert curve.points[0].provenance.engine_id == engine_id(spec), AGAIN
    for curve in (ours[0], ours[-1]):
        spec = engine_of(curve.config, catalog, kept)
        assert not isinstance(spec, str)
        (again,) = catalog_curves([(spec, curve.workload)])
        assert again is not None
        for one, other in zip(curve.points, again.points, strict=True):
            assert _numbers(one) == pytest.approx(_numbers(other), rel=0.02), AGAIN


def _numbers(point: Point) -> list[float]:
    estimates = [point.ttft.p90, point.tpot.mean, point.latency.p50]
    bounds = [end for one in estimates if one is not None for end in (one.value, one.lo, one.hi)]
    return [point.achieved_rps, point.in_flight_mean, *(end for end in bounds if end is not None)]


def test_the_list_says_what_ships_and_shows_a_part(giq: Giq) -> None:
    """Without words a line a model; with a model its curves, of which one can be shown by its id."""
    everything = giq("benchmarks", "list")
    assert everything.returncode == 0, everything.stderr
    assert "What ships" in everything.stdout
    assert len(everything.stdout.splitlines()) < 60
    asked = ("--model", "llama-3-8b", "--accelerator", "l4", "--use-case", "chatbot")
    rows = json.loads(giq("benchmarks", "list", *asked, "-o", "json").stdout)
    assert {(row["accelerator"], row["evidence"]) for row in rows} == {("nvidia-l4", "estimated")}
    shown = giq("benchmarks", "show", rows[0]["curve_id"])
    assert shown.returncode == 0, shown.stderr
    assert "estimated" in shown.stdout
    assert giq("benchmarks", "list", "--accelerator", "l4").returncode == 2
