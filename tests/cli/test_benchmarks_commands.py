"""`giq benchmarks` as a user calls it: drawn, judged, compared, exported and imported."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from giq.curve.curve import Curve
from giq.store.database import write_points
from giq.store.frames import read_points
from tests.cli.conftest import Giq
from tests.curve.measured_curves import config, curve, open_point, workload
from tests.store import foreign_samples as samples


@pytest.fixture
def places(tmp_path: Path) -> dict[str, str]:
    """Folders with one curve each: two alike, one slower, one spoilt, one of another workload."""
    sound = curve(rates=(1.0, 1.2, 1.44, 1.7, 2.0, 2.4, 2.8, 3.3, 3.9, 4.2, 4.5), width=0.02)
    spoilt = Curve(config(), workload(), (open_point(1.0), open_point(3.0, prefix_hit_share=0.5)))
    found = {
        "a": sound,
        "b": sound,
        "slow": curve(slowness=1.5, accelerator="nvidia-tesla-a100"),
        "spoilt": spoilt,
        "other": Curve(config(), workload(output_tokens=256), sound.points),
    }
    for name, one in found.items():
        write_points(tmp_path / name, [one])
    return {name: f"./{name}" for name in found}


def test_show_draws_and_prints_and_writes_a_picture(giq: Giq, places: dict[str, str], tmp_path: Path) -> None:
    """The curve on stdout without colour, its points below, and the picture in the file."""
    result = giq("benchmarks", "show", places["a"], places["slow"], "--target-ttft", "300ms", "--plot", "c.svg")

    assert result.returncode == 0, result.stderr
    assert "p90 TTFT (ms)" in result.stdout
    assert "capacity" in result.stdout
    assert "\x1b" not in result.stdout
    assert "2.40 req/s" in result.stdout
    assert (tmp_path / "c.svg").read_text().startswith("<?xml")
    assert "Drawn in c.svg" in result.stderr


def test_show_as_data_has_no_picture(giq: Giq, places: dict[str, str]) -> None:
    """`-o json` is rows and nothing else."""
    rows = json.loads(giq("benchmarks", "show", places["a"], "-o", "json").stdout)

    assert len(rows) == 12
    assert {"curve_id", "ttft_p90_s", "output_tps"} <= rows[0].keys()


def test_check_exits_by_whether_an_answer_can_rest_on_it(giq: Giq, places: dict[str, str]) -> None:
    """0 for a sound curve, 4 where prefix hits make it useless, with the finding and the advice."""
    sound = giq("benchmarks", "check", places["a"], "--target-ttft", "400ms")
    spoilt = giq("benchmarks", "check", places["spoilt"], "--target-ttft", "400ms", "-o", "json")

    assert sound.returncode == 0, sound.stdout
    assert "0 invalid" in sound.stdout
    assert spoilt.returncode == 4
    (invalid,) = [row for row in json.loads(spoilt.stdout) if row["severity"] == "invalid"]
    assert "prefix cache" in invalid["finding"]
    assert "invalidate an answer" in spoilt.stderr


def test_diff_exits_by_whether_they_differ(giq: Giq, places: dict[str, str]) -> None:
    """0 for equal curves, 5 for a slower one, 4 for another workload unless forced; both help and words say it."""
    same = giq("benchmarks", "diff", places["a"], places["b"])
    slower = giq("benchmarks", "diff", places["a"], places["slow"], "-o", "json")
    other = giq("benchmarks", "diff", places["a"], places["other"])
    forced = giq("benchmarks", "diff", places["a"], places["other"], "--force")
    usage = giq("benchmarks", "diff", "--help")

    assert same.returncode == 0, same.stderr
    assert "no difference shown" in same.stdout
    assert slower.returncode == 5
    assert {"slower"} <= {row["verdict"] for row in json.loads(slower.stdout)}
    assert "accelerator: nvidia-l4 / nvidia-tesla-a100" in slower.stderr
    assert other.returncode == 4
    assert "workload.output_tokens.mean is 128.0 in one and 256.0 in the other" in other.stderr
    assert forced.returncode == 0
    assert "Exit code 0: no difference shown; 5" in " ".join(usage.stdout.replace("│", " ").split())


def test_what_is_exported_can_be_imported_with_the_same_values(
    giq: Giq, places: dict[str, str], tmp_path: Path
) -> None:
    """CSV, JSON and Parquet lead back to the same points; Parquet goes through a pipe too."""
    for form in ("csv", "json", "parquet"):
        exported = giq("benchmarks", "export", places["slow"], "-o", form, "--to", f"points.{form}")
        assert exported.returncode == 0, exported.stderr
        home = str(tmp_path / f"home-{form}")
        back = giq("benchmarks", "import", f"points.{form}", GIQ_HOME=home)
        assert back.returncode == 0, back.stderr

        ours, theirs = read_points(tmp_path / "slow"), read_points(Path(home) / "benchmarks")
        assert ours.equals(theirs)
    assert (tmp_path / "points.csv").read_text() == giq("benchmarks", "export", places["slow"]).stdout


def test_another_tools_result_is_imported_listed_and_judged(giq: Giq, tmp_path: Path) -> None:
    """Without hardware it is refused; declared it is listed as published, with what it lacks said."""
    samples.aiperf(tmp_path / "ap", samples.requests())
    (tmp_path / "v.json").write_text(json.dumps(samples.vllm_bench(samples.requests(), detailed=False)))

    refused = giq("benchmarks", "import", "ap")
    imported = giq("benchmarks", "import", "ap", "--accelerator", "l4", "--server-version", "0.32.0")
    unclear = giq("benchmarks", "import", "v.json", "--accelerator", "l4")
    declared = giq(
        "benchmarks", "import", "v.json", "--accelerator", "l4", "--input-tokens", "64", "--output-tokens", "8"
    )
    listed = json.loads(giq("benchmarks", "list", "-o", "json").stdout)

    assert refused.returncode == 2
    assert "the file does not tell the accelerator" in refused.stderr
    assert imported.returncode == 0, imported.stderr
    assert "unknown: ttft_scheduled" in imported.stderr
    assert unclear.returncode == 2
    assert "--input-tokens" in unclear.stderr
    assert declared.returncode == 0, declared.stderr
    mine = [row for row in listed if "imported from" in row["source"]]
    assert {(row["evidence"], row["hardware_source"], row["accelerator"]) for row in mine} == {
        ("published", "declared", "nvidia-l4")
    }
    assert {row["source"].split(",")[0] for row in mine} == {"AIPerf 0.13.0", "vllm bench serve"}


def test_an_unknown_curve_gets_the_nearest_ids(giq: Giq, places: dict[str, str]) -> None:
    """A wrong id is a usage error, and a missing place one of data."""
    result = giq("benchmarks", "show", "ffffffff")

    assert result.returncode == 2
    assert "unknown curve 'ffffffff'" in result.stderr
    assert giq("benchmarks", "show", "./nowhere").returncode == 4
