"""Campaigns as data, and going on with one: the real commands, on giq's simulated engine instead of vLLM."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from giq.catalog import load_catalog
from giq.cli.asked import targets_of, workload_of
from giq.errors import CatalogError, UsageError
from giq.profiling.random_weights import model_config
from giq.recommend.candidates import longest_request
from giq.store.run import open_run
from tests.campaign.campaign import Profile, Serve, read_campaign
from tests.campaign.client import Cores
from tests.campaign.loading import measured_curves, runs_in
from tests.campaign.measuring import ROOT
from tests.profiling.exact_client import remember_exact_client

SHIPPED = sorted((ROOT / "benchmarks" / "campaigns").glob("*.yaml"))

CAMPAIGN = """
title: A test
about: Two short profiles of one server.
steps:
  - step: serve
    name: one
    model: llama-3.1-8b
    precision: bf16
    engine_args: {load_format: dummy, max_model_len: 8192}
    starts_in: 5s
    items:
      - {item: profile, name: first, input_tokens: "64", output_tokens: "8", concurrency: "1,2", duration: 2s}
      - {item: profile, name: second, input_tokens: "32", output_tokens: "4", concurrency: "1", duration: 1s}
"""

STUB = """#!{python}
# Stands for an interpreter that has vLLM: whatever it is asked to serve, giq's simulated engine serves.
import os, sys
port = sys.argv[sys.argv.index("--port") + 1]
words = "engine serve --model llama-3.1-8b --precision bf16 --accelerator nvidia-h100-80gb --port".split()
words += [port, "--engine-arg", "load_format=dummy", "--engine-arg", "max_model_len=8192"]
os.execv({python!r}, [{python!r}, "-m", "giq", *words])
"""


@pytest.fixture
def campaign(tmp_path: Path) -> list[str]:
    """The words that run a campaign of two short profiles, each time the same."""
    (tmp_path / "test.yaml").write_text(CAMPAIGN)
    stub = tmp_path / "python"
    stub.write_text(STUB.format(python=sys.executable))
    stub.chmod(0o755)
    remember_exact_client(tmp_path / "home")
    words = ["run", str(tmp_path / "test.yaml"), "--results", str(tmp_path / "results"), "--python", str(stub)]
    return [sys.executable, "-m", "tests.campaign", *words]


def begun(words: list[str]) -> subprocess.Popen[str]:
    """The campaign's process."""
    home = str(Path(words[words.index("--results") + 1]).parent / "home")
    return subprocess.Popen(
        words, cwd=ROOT, env=os.environ | {"GIQ_HOME": home}, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_what_ships_can_be_run(path: Path) -> None:
    """Every model can be served with random weights, and giq knows every workload, which fits, and every target."""
    catalog = load_catalog()
    for step in read_campaign(path).steps:
        if isinstance(step, Serve):
            assert model_config(catalog.model(step.model), step.precision)
            for item in step.items:
                if isinstance(item, Profile):
                    workload, _ = workload_of(
                        catalog, item.use_case, (item.input_tokens, item.output_tokens), "poisson"
                    )
                    assert longest_request(workload) <= int(step.engine_args["max_model_len"])
                    assert len(targets_of("p90", **item.targets)) == len(item.targets)


@pytest.mark.parametrize(
    ("was", "is_now", "error", "words"),
    [
        ("name: second", "name: first", CatalogError, "given twice"),
        ("name: one", "name: ../one", CatalogError, "letters, digits"),
        ("duration: 1s", "duration: '1'", UsageError, "not a duration"),
        ("duration: 1s", "budget: ''", UsageError, "not a duration"),
        (", duration: 1s", "", UsageError, "neither a budget nor loads"),
        ("precision:", "precison:", CatalogError, "precison"),
    ],
)
def test_a_wrong_campaign_is_refused_before_anything_starts(
    tmp_path: Path, was: str, is_now: str, error: type[Exception], words: str
) -> None:
    """A name that is taken or no folder's, a time without a unit and a field that is none are named."""
    path = tmp_path / "wrong.yaml"
    path.write_text(CAMPAIGN.replace(was, is_now))
    with pytest.raises(error, match=words):
        read_campaign(path)


def test_what_does_not_fit_is_not_begun(campaign: list[str], tmp_path: Path) -> None:
    """With too little time no server is started, what is missing is listed, and the exit code says so."""
    process = begun([*campaign, "--time-limit", "20s"])
    out, err = process.communicate(timeout=60)

    assert (process.returncode, list(tmp_path.glob("results/**/run=*"))) == (3, [])
    assert "not begun" in err
    assert re.findall(r"one/\w+", out) == ["one/first", "one/second"]


def test_a_campaign_that_is_stopped_goes_on_where_it_was(campaign: list[str], tmp_path: Path) -> None:
    """SIGTERM saves the run and ends the server; the same command resumes it, then makes the next, then nothing."""
    process = begun(campaign)
    until = time.monotonic() + 60
    while not list(tmp_path.glob("results/one/first/run=*/points.parquet")) and time.monotonic() < until:
        time.sleep(0.1)
    process.send_signal(signal.SIGTERM)
    out, err = process.communicate(timeout=60)
    (stopped,) = tmp_path.glob("results/one/first/run=*")
    saved = [point.point_id for point in open_run(stopped).points()]

    assert (process.returncode, open_run(stopped).manifest.state) == (130, "interrupted"), err
    assert "one/first (begun" in out
    assert "one/second (missing" in out

    process = begun(campaign)
    out, err = process.communicate(timeout=90)
    runs = list(runs_in(tmp_path / "results"))

    assert process.returncode == 0, err
    assert out == "Nothing is missing.\n"
    assert [(run.path.parent.name, run.manifest.state) for run in runs] == [("first", "done"), ("second", "done")]
    assert [point.point_id for point in runs[0].points()][: len(saved)] == saved
    assert measured_curves(runs) == []


@pytest.mark.parametrize(
    ("cores", "servers", "workers"), [(2, 1, 1), (4, 1, 3), (8, 2, 6), (16, 4, 12)], ids=lambda count: str(count)
)
def test_cores_are_shared_out(cores: int, servers: int, workers: int) -> None:
    """Each core is a server's or a worker's, never both."""
    found = Cores.shared_out(range(cores))

    assert (len(found.servers), len(found.workers)) == (servers, workers)
    assert set(found.servers).isdisjoint(found.workers)
