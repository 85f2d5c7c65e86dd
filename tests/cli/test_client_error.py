"""The client's own error: measured before the run, told, stored with the run and with every point."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from giq.profiling.known_client import FILE_NAME, Memory
from tests.cli.conftest import Giq
from tests.profiling.exact_client import remember_exact_client

SIMULATED = (
    "profile", "--simulate", "--model", "llama-3-8b", "--accelerator", "h100", "--input-tokens", "64",
    "--output-tokens", "8", "--requests", "120",
)  # fmt: skip


def stored(folder: Path) -> tuple[dict[str, Any], pd.DataFrame]:
    """The run.json and the points of the only run."""
    (run,) = folder.glob("results/run=*")
    manifest: dict[str, Any] = json.loads((run / "run.json").read_text())
    return manifest, pd.read_parquet(run / "points.parquet")


def test_an_unknown_client_is_calibrated_before_a_server_is_started(giq: Giq, tmp_path: Path) -> None:
    """Its error is said first, stored in run.json with the loads, and the point carries the bound at its load."""
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / FILE_NAME).write_text("[]")
    result = giq(*SIMULATED, "--concurrency", "2")

    assert result.returncode == 0, result.stderr
    assert result.stderr.index("This client itself adds") < result.stderr.index("Starting the simulated engine")
    assert "Measuring the client's own error" in result.stderr
    assert "measured just now" in result.stderr
    manifest, points = stored(tmp_path)
    client = manifest["client"]
    assert (client["workers"], client["cached"]) == (1, False)
    covering = [error for error in client["errors"] if error["streams"] >= 2]
    assert covering
    assert {"ttft", "itl", "tpot", "latency", "server_late_p99_s", "measured_at"} <= set(covering[0])
    known = points.client_error_s.iloc[0]
    worst = [max(error[name]["p99"] for name in ("ttft", "itl", "latency")) for error in client["errors"]]
    assert pd.isna(known) or any(known == pytest.approx(one) for one in worst)


def test_a_known_client_is_not_measured_again(giq: Giq, tmp_path: Path) -> None:
    """What was found today is taken over; every point has its bound, in Parquet, in JSON and in the wide table."""
    result = giq(*SIMULATED, "--concurrency", "2,3", "-o", "json")

    assert result.returncode == 0, result.stderr
    assert "kept for a day" in result.stderr
    assert "Measuring the client" not in result.stderr
    manifest, points = stored(tmp_path)
    assert manifest["client"]["cached"] is True
    assert points.client_error_s.tolist() == [0.0001, 0.0001]
    assert [row["client_error_s"] for row in json.loads(result.stdout)] == [0.0001, 0.0001]


def test_a_load_beyond_what_was_calibrated_says_so(giq: Giq, tmp_path: Path) -> None:
    """Where no calibrated load is as high the bound is null and a sentence says why."""
    home = tmp_path / "home"
    remember_exact_client(home)
    few = [one for one in json.loads(Memory(home).path.read_text()) if one["rung"]["streams"] == 16]
    for one in few:
        one["error"] |= {"requests_per_s": 0.001}
    Memory(home).path.write_text(json.dumps(few))
    result = giq(*SIMULATED, "--concurrency", "2", "-o", "wide")

    assert result.returncode == 0, result.stderr
    assert "is not known at this load" in result.stderr
    assert "Client" in result.stdout
    _, points = stored(tmp_path)
    assert points.client_error_s.isna().all()


@pytest.mark.parametrize("words", ["0", "-1", "two", ""])
def test_workers_are_auto_or_a_number(giq: Giq, words: str) -> None:
    """Anything else is refused before any load."""
    result = giq(*SIMULATED, "--concurrency", "2", "--workers", words)

    assert result.returncode == 2
    assert "--workers" in result.stderr
