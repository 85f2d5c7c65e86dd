"""The score on published points: every row judged or listed, groups beside their ceiling, as the command prints it."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from giq.catalog import load_catalog
from giq.engine.published import COLUMNS, published_accelerator, read_published
from giq.errors import DataError, UnknownNameError

ROW = {
    "model": "meta-llama/Llama-3.1-8B", "precision": "bf16", "accelerator": "H100-SXM-80GB", "tp": "1",
    "engine": "vllm", "engine_version": "unrecorded", "dataset": "InferenceX random (lengths 0.8-1.0x)",
    "load_type": "closed-loop concurrency", "scored": "yes",
}  # fmt: skip


def table(path: Path, *changes: dict[str, str]) -> Path:
    """A CSV file with one row for each of *changes*."""
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS)
        writer.writeheader()
        for number, change in enumerate(changes):
            writer.writerow({**dict.fromkeys(COLUMNS, ""), **ROW, "id": f"R{number}", **change})
    return path


def loads(*concurrencies: int) -> list[dict[str, str]]:
    """Rows of short requests, about as slow as an H100 is."""
    return [
        {"load_value": str(load), "input_len": "256", "output_len": "64", "ttft_mean_ms": str(30 + load),
         "tpot_mean_ms": str(6.6 + 0.05 * load)}
        for load in concurrencies
    ]  # fmt: skip


def scored(path: Path, points: int) -> Any:
    """What `giq predict --score -o json` prints."""
    command = [sys.executable, "-m", "giq", "predict", "--score", str(path), "-o", "json"]
    done = subprocess.run([*command, "--calibration-points", str(points)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_the_score_judges_what_was_not_fitted_and_lists_the_rest(tmp_path: Path) -> None:
    """Two of four rows are fitted, two judged; an unknown model and accelerator are listed with their reasons."""
    unknown = {**loads(4)[0], "model": "nobody/unheard-of-9b"}
    elsewhere = {**loads(4)[0], "accelerator": "Abacus-9000"}
    found = scored(table(tmp_path / "points.csv", *loads(1, 2, 4, 8), unknown, elsewhere), 2)
    summary, (group,) = found["summary"], found["groups"]
    assert (summary["groups"], summary["rows_judged"], summary["rows_left_out"]) == (1, 2, 2)
    assert group["calibrated_on"] == ["R0", "R3"]
    assert [row["id"] for row in group["rows"]] == ["R1", "R2"]
    assert {row["id"] for row in found["left_out"]} == {"R4", "R5"}
    for name in ("tpot_mape", "ttft_mape", "e2e_mape", "coverage"):
        assert 0 <= summary[name] <= 100
        assert group[name] == summary[name]
    assert 0 <= summary["ceiling_tpot_mape"] <= summary["tpot_mape"] + 5


def test_a_file_of_another_form_is_refused(tmp_path: Path) -> None:
    """A missing column is named."""
    path = tmp_path / "points.csv"
    path.write_text("id,model\n1,x\n")
    with pytest.raises(DataError, match="tpot_mean_ms"):
        read_published(path, load_catalog())


@pytest.mark.parametrize(
    ("label", "name"),
    [
        ("H100-SXM-80GB", "nvidia-h100-80gb"),
        ("H200-SXM-141GB", "nvidia-h200-141gb"),
        ("B200-SXM-180GB", "nvidia-b200"),
        ("A100-40GB", "nvidia-tesla-a100"),
        ("L4", "nvidia-l4"),
    ],
)
def test_accelerators_are_known_by_chip_and_memory(label: str, name: str) -> None:
    """Form factors do not matter, memory does."""
    assert published_accelerator(label, load_catalog()).name == name


@pytest.mark.parametrize("label", ["NVIDIA-H100-PCIe", "A100-20GB", "RTX-4090", ""])
def test_another_board_is_not_taken_for_one_in_the_catalog(label: str) -> None:
    """Another form of the chip, or another memory, has no entry."""
    with pytest.raises(UnknownNameError):
        published_accelerator(label, load_catalog())


def test_rows_that_cannot_be_repeated_say_why(tmp_path: Path) -> None:
    """Open loops without a rate, other engines, missing lengths and numbers each have their reason."""
    good = loads(4)[0]
    rows = read_published(
        table(
            tmp_path / "points.csv",
            {**good, "load_type": "open-loop"},
            {**good, "engine": "sglang"},
            {**good, "input_len": ""},
            {**good, "load_value": "a few"},
            {**good, "ttft_mean_ms": "", "tpot_mean_ms": ""},
            {**good, "precision": "fp7"},
            good,
        ),
        load_catalog(),
    )
    assert [bool(row.reason) for row in rows] == [True] * 6 + [False]
    assert all((row.observation is None) == bool(row.reason) for row in rows)
