"""The main job as a user does it: profile, recommend, manifest, with the simulated engine in place of hardware."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import kubernetes_validate
import pandas as pd
import pyarrow.parquet as pq
import pytest
import yaml

from tests.cli.conftest import GIQ, Giq

WORKLOAD = ("--input-tokens", "64", "--output-tokens", "8")


@contextlib.contextmanager
def engine(*words: str, port: int = 0) -> Iterator[str]:
    """A simulated engine as a process of its own, on *port* or any free one; the URL at which it answers."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind(("127.0.0.1", port))
        port = probe.getsockname()[1]
    command = [str(GIQ), "engine", "serve", *words, "--port", str(port)]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    try:
        for _ in range(600):
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    break
            time.sleep(0.05)
        else:
            raise TimeoutError("the simulated engine did not come up in 30 s")
        yield f"http://127.0.0.1:{port}"
    finally:
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=20)


@pytest.fixture(scope="module")
def h100() -> Iterator[str]:
    """A simulated llama-3-8b on one H100."""
    with engine("--model", "llama-3-8b", "--accelerator", "h100") as url:
        yield url


def test_the_simulated_engine_is_estimated_however_it_was_started(h100: str, giq: Giq, tmp_path: Path) -> None:
    """By `--endpoint` too: evidence estimated, hardware simulated, and it is said in words."""
    result = giq("profile", "--endpoint", h100, *WORKLOAD, "--concurrency", "16", "--requests", "300")

    assert result.returncode == 0, result.stderr
    (path,) = tmp_path.glob("results/run=*/points.parquet")
    point = pd.read_parquet(path).iloc[0]
    assert (point.evidence, point.hardware_source) == ("estimated", "simulated")
    assert (point.model, point.accelerator) == ("llama-3-8b", "nvidia-h100-80gb")
    assert "ESTIMATED, not measured" in result.stderr
    assert "estimated" in result.stdout


def test_bare_profile_measures_what_answers_at_localhost_8000(giq: Giq, tmp_path: Path) -> None:
    """Without an endpoint the server at localhost:8000 is measured, its model and version found out."""
    with engine("--model", "llama-3-8b", "--accelerator", "h100", port=8000):
        result = giq("profile", *WORKLOAD, "--concurrency", "8", "--requests", "150")

    assert result.returncode == 0, result.stderr
    assert "http://localhost:8000" in result.stderr
    (path,) = tmp_path.glob("results/run=*/points.parquet")
    assert pd.read_parquet(path).iloc[0].server_version == "0.32.0"


def test_what_the_simulated_engine_announces_cannot_be_contradicted(h100: str, giq: Giq) -> None:
    """Declaring another accelerator or model than the engine announces is refused before any load."""
    accelerator = giq("profile", "--endpoint", h100, "--accelerator", "nvidia-l4", *WORKLOAD, "--concurrency", "1")
    model = giq("profile", "--endpoint", h100, "--model", "gemma-2-2b", *WORKLOAD, "--concurrency", "1")

    assert accelerator.returncode == 2
    assert "contradicts" in accelerator.stderr
    assert "nvidia-h100-80gb" in accelerator.stderr
    assert model.returncode in (1, 2)
    assert "llama-3-8b" in model.stderr


def test_lengths_beyond_the_context_are_refused_before_any_load(h100: str, giq: Giq) -> None:
    """A workload that the server would refuse request by request is one error that names its context."""
    result = giq(
        "profile", "--endpoint", h100, "--input-tokens", "8000", "--output-tokens", "800", "--concurrency", "1"
    )

    assert result.returncode == 2
    assert "8192" in result.stderr


def test_open_and_closed_loads_of_every_law_reach_the_records(h100: str, giq: Giq, tmp_path: Path) -> None:
    """Poisson, constant and gamma arrivals and a trace run over the same path, two workers share a schedule."""
    trace = tmp_path / "trace.csv"
    rows = "".join(f"{i * 0.01:.3f},{20 + i % 7},{4 + i % 3}\n" for i in range(120))
    trace.write_text("arrival_s,input_tokens,output_tokens\n" + rows)
    for number, arrival in enumerate(("poisson", "constant", "gamma:0.5", f"trace:{trace}")):
        lengths = () if arrival.startswith("trace") else WORKLOAD
        words = ("--request-rate", "100", "--requests", "120", "--workers", "2", "--results-dir", f"law-{number}")
        result = giq("profile", "--endpoint", h100, *lengths, "--arrival", arrival, *words)

        assert result.returncode == 0, result.stderr
        (path,) = tmp_path.glob(f"law-{number}/run=*/requests.parquet")
        records = pd.read_parquet(path)
        assert sorted(records.request_id) == list(range(120))
        assert set(records.worker_id) == {0, 1}
        assert set(records.outcome) == {"ok"}


def test_the_json_form_of_a_profile_is_data_alone(h100: str, giq: Giq) -> None:
    """`-o json` prints the points and nothing else on stdout; every latency has its unit in the key."""
    words = ("--concurrency", "8", "--requests", "150", "-o", "json", "--quiet")

    rows = json.loads(giq("profile", "--endpoint", h100, *WORKLOAD, *words).stdout)

    assert rows[0]["ttft_p90_s"] > 0
    assert rows[0]["evidence"] == "estimated"


@pytest.fixture
def recommended(giq: Giq) -> Giq:
    """`giq` in a home that holds a recommendation."""
    result = giq("recommend", "--model", "llama-3-8b", "--target-ttft", "500ms", "--accelerator", "l4")
    assert result.returncode == 0, result.stderr
    return giq


def test_a_recommendation_shows_cost_interval_evidence_and_price_date(giq: Giq) -> None:
    """A ranked row carries what a decision needs, and a unit that cannot serve is listed with the reason."""
    words = ("--model", "llama-3-8b", "--target-ttft", "500ms", "--accelerator", "l4", "--accelerator", "v5e")

    result = giq("recommend", *words, "-o", "json")

    answer = json.loads(result.stdout)
    row = answer["rows"][0]
    assert result.returncode == 0
    assert row["evidence"] == "estimated"
    assert row["usd_per_million_output"]["lo"] <= row["usd_per_million_output"]["value"]
    assert row["price"]["source"]["date"]
    assert any("does not fit" in item["reason"] for item in answer["rejected"])


def test_two_recommendations_from_the_same_facts_are_equal(giq: Giq) -> None:
    """Estimates are seeded: the same question gives the same numbers."""
    words = ("recommend", "--model", "gemma-2-2b", "--target-tpot", "40ms", "--accelerator", "l4", "-o", "csv")

    assert giq(*words).stdout == giq(*words).stdout != ""


def test_when_nothing_meets_the_target_the_nearest_miss_is_told(giq: Giq) -> None:
    """An impossible target ends with exit code 3 and says how near the best came."""
    result = giq("recommend", "--model", "llama-3-8b", "--target-ttft", "2ms", "--accelerator", "l4")

    assert result.returncode == 3
    assert re.search(r"p90 TTFT is [\d.]+ ms at", result.stderr)
    assert giq("manifest").returncode == 2


def test_the_manifest_validates_and_leads_back_to_its_curve(recommended: Giq) -> None:
    """Stdout is a Deployment, Service, PodMonitoring and HPA that Kubernetes takes; the evidence is annotated."""
    result = recommended("manifest")

    documents = list(yaml.safe_load_all(result.stdout))
    assert result.returncode == 0, result.stderr
    assert [item["kind"] for item in documents] == ["Deployment", "Service", "PodMonitoring", "HorizontalPodAutoscaler"]
    for item in documents:
        if item["kind"] != "PodMonitoring":
            kubernetes_validate.validate(item, "1.33", strict=True)
    annotations = documents[0]["metadata"]["annotations"]
    assert annotations["giq.dev/evidence"] == "estimated"
    assert re.fullmatch("[0-9a-f]{16}", annotations["giq.dev/curve-id"])
    assert recommended("manifest").stdout == result.stdout


def test_a_rank_that_is_not_there_is_refused(recommended: Giq) -> None:
    """Asking for a rank beyond the last names those there are."""
    result = recommended("manifest", "--rank", "99")

    assert (result.returncode, result.stdout) == (2, "")
    assert "It has: 1" in result.stderr


def run_of(folder: Path) -> Path:
    """The only run in a results folder."""
    (path,) = folder.glob("results/run=*")
    return path


def test_every_point_can_be_followed_back_to_its_records(h100: str, giq: Giq, tmp_path: Path) -> None:
    """`benchmarks list`, `show` and `recompute` lead from the curve to the run and give the same figures again."""
    done = giq("profile", "--endpoint", h100, *WORKLOAD, "--concurrency", "4,16", "--requests", "200")
    assert done.returncode == 0, done.stderr
    run = str(run_of(tmp_path))

    listed = json.loads(giq("benchmarks", "list", "-o", "json").stdout)
    shown = json.loads(giq("benchmarks", "show", run, "-o", "json").stdout)
    again = giq("benchmarks", "recompute", run)

    assert listed[0]["points"] == 2
    assert {row["run_id"] for row in shown} == {Path(run).name.removeprefix("run=")}
    assert again.returncode == 0, again.stdout


def test_results_of_a_newer_giq_are_refused_in_words(h100: str, giq: Giq, tmp_path: Path) -> None:
    """Points with a newer schema version end with exit code 4, the file, and the advice to upgrade."""
    giq("profile", "--endpoint", h100, *WORKLOAD, "--concurrency", "8", "--requests", "150")
    path = run_of(tmp_path) / "points.parquet"
    table = pq.read_table(path, partitioning=None)
    pq.write_table(table.replace_schema_metadata({"giq.schema_version": "99"}), path)

    result = giq("benchmarks", "show", str(path))

    assert result.returncode == 4
    assert "points.parquet" in result.stderr
    assert "Upgrade giq" in result.stderr


def test_a_truncated_file_is_told_and_the_others_are_read(h100: str, giq: Giq, tmp_path: Path) -> None:
    """A damaged Parquet file is named; curves in other files are still there."""
    for _ in range(2):
        done = giq("profile", "--endpoint", h100, *WORKLOAD, "--concurrency", "8", "--requests", "150")
        assert done.returncode == 0, done.stderr
    broken = sorted(tmp_path.glob("results/run=*/points.parquet"))[0]
    os.truncate(broken, broken.stat().st_size // 2)

    alone, together = giq("benchmarks", "show", str(broken)), giq("benchmarks", "list", "-o", "json")

    assert alone.returncode == 4
    assert broken.parent.name in alone.stderr
    assert json.loads(together.stdout)[0]["points"] == 1
    assert broken.parent.name in together.stderr


def measured_l4(results: Path) -> str:
    """Put a curve into *results* as if `giq profile` had measured llama-3-8b for chatbot on an L4; its curve id."""
    from giq.catalog import load_catalog
    from giq.cli.asked import workload_of
    from giq.curve.curve import Curve
    from giq.documents import replace
    from giq.engine.prediction import predict_curve
    from giq.engine.spec import EngineSpec
    from giq.recommend.candidates import candidate_configurations
    from giq.recommend.requirement import Requirement
    from giq.store.database import write_points

    catalog = load_catalog()
    workload, _ = workload_of(catalog, "chatbot", (None, None), "poisson")
    wanted = Requirement(model="llama-3-8b", workload=workload, accelerators=("nvidia-l4",))
    config = candidate_configurations(wanted, catalog).accepted[0].config
    curve = predict_curve(EngineSpec.of(config, catalog), workload)
    points = tuple(
        replace(
            point,
            provenance=replace(
                point.provenance, evidence="measured", hardware_source="detected", source="test",
                measured_at="2026-11-20T12:00:00+00:00", calibration_id=None,
            ),
        )
        for point in curve.points
    )  # fmt: skip
    write_points(str(results), [Curve(config, workload, points)])
    return curve.curve_id


def test_a_measured_curve_speaks_before_an_estimate_of_the_same_unit(giq: Giq, tmp_path: Path) -> None:
    """Measured and estimated rows stand in one ranking, each marked; the manifest says measured, and of when."""
    curve_id = measured_l4(tmp_path / "results")

    result = giq("recommend", "--model", "llama-3-8b", "--target-ttft", "500ms", "--accelerator", "l4", "-o", "json")

    rows = json.loads(result.stdout)["rows"]
    mine = [row for row in rows if row["curve_id"] == curve_id]
    assert [row["evidence"] for row in mine] == ["measured"]
    assert {row["evidence"] for row in rows if row not in mine} == {"estimated"}
    made = giq("manifest", "--rank", str(mine[0]["rank"]))
    annotations = next(yaml.safe_load_all(made.stdout))["metadata"]["annotations"]
    assert annotations["giq.dev/evidence"] == "measured"
    assert annotations["giq.dev/measured-at"].startswith("2026-11-20")
    assert "measured" in made.stderr


def test_only_measured_rows_when_that_is_asked(giq: Giq, tmp_path: Path) -> None:
    """`--measured-only` leaves out every estimate, and ends with exit code 3 when nothing was measured."""
    words = ("recommend", "--model", "llama-3-8b", "--target-ttft", "500ms", "--measured-only", "-o", "json")
    assert giq(*words).returncode == 3

    measured_l4(tmp_path / "results")

    rows = json.loads(giq(*words).stdout)["rows"]
    assert [row["evidence"] for row in rows] == ["measured"]
