"""`giq calibrate`: fits published rows, keeps the calibration, and predictions rest on it from then on."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from giq.documents import read
from giq.engine.calibrating import observations_of
from giq.engine.calibrations import CalibrationRecord
from giq.errors import DataError
from tests.engine.test_scoring import loads, table


def giq(home: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """The command with its own home."""
    command = [sys.executable, "-m", "giq", *words]
    return subprocess.run(
        command, capture_output=True, text=True, check=False, env={**os.environ, "GIQ_HOME": str(home)}
    )


def test_predictions_rest_on_what_was_calibrated(tmp_path: Path) -> None:
    """Residuals and the next measurement are told, the file is kept, and a prediction names it."""
    path = table(tmp_path / "points.csv", *loads(1, 4, 16))
    made = giq(tmp_path, "calibrate", str(path), "-o", "json")
    assert made.returncode == 0, made.stderr
    rows = json.loads(made.stdout)
    assert [row["point"] for row in rows] == ["R0", "R1", "R2"]
    assert all(abs(row["tpot_residual"]) < 0.2 for row in rows)
    assert "What would help most next" in made.stderr
    identifier = rows[0]["calibration_id"]
    (kept,) = (tmp_path / "profiles" / "calibrations").iterdir()
    assert identifier in kept.read_text()
    asked = ("--model", "llama-3.1-8b", "--accelerator", "h100", "--concurrency", "4", "--requests", "20")
    predicted = giq(tmp_path, "predict", *asked)
    assert predicted.returncode == 0, predicted.stderr
    assert identifier in predicted.stderr


def test_a_calibration_says_where_its_points_are_from(tmp_path: Path) -> None:
    """In the folder asked for, with the rows' own source, licence and server versions, and not the file's name."""
    path = table(tmp_path / "points.csv", *loads(1, 4, 16))
    rows = path.read_text().splitlines()
    path.write_text("\n".join([rows[0] + ",source,licence", *(f"{row},a/paper#row 7,Apache-2.0" for row in rows[1:])]))
    made = giq(tmp_path, "calibrate", str(path), "--to", str(tmp_path / "mine"))
    assert made.returncode == 0, made.stderr
    (file,) = (tmp_path / "mine" / "calibrations").iterdir()
    kept = read(file, CalibrationRecord)
    assert (kept.source, kept.licence, kept.evidence) == ("a/paper", "Apache-2.0", "published")
    assert kept.server_version == "unknown"
    assert not (tmp_path / "profiles").exists()


def test_what_was_never_measured_calibrates_nothing() -> None:
    """Without a measured or published point there is an error, not an empty calibration."""
    with pytest.raises(DataError, match="no valid measured or published"):
        observations_of([])
