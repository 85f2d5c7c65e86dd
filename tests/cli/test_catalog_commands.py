"""Help, the catalog's commands, and what wrong words get."""

from __future__ import annotations

import csv
import io
import json
import re
from pathlib import Path

import pytest
import yaml

from tests.cli.conftest import Giq

COMMANDS = (
    "profile", "recommend", "manifest", "predict", "engine serve", "models list", "models show", "accelerators list",
    "accelerators show", "use-cases list", "use-cases show", "servers list", "servers show", "prices list",
    "benchmarks list", "benchmarks show", "benchmarks recompute",
)  # fmt: skip


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help_with_an_example(giq: Giq, command: str) -> None:
    """`--help` of each command explains it and shows one example."""
    result = giq(*command.split(), "--help")

    assert result.returncode == 0
    assert f"giq {command}" in re.sub(r"\s+", " ", result.stdout)
    assert "Example:" in result.stdout
    assert result.stderr == ""


def test_help_names_every_command(giq: Giq) -> None:
    """The first help lists the table of commands."""
    result = giq("--help")

    assert result.returncode == 0
    assert all(command.split()[0] in result.stdout for command in COMMANDS)


def test_the_version_is_printed(giq: Giq) -> None:
    """`--version` prints the version and nothing else."""
    assert re.fullmatch(r"giq \d+\.\d+\.\d+\n", giq("--version").stdout)


@pytest.mark.parametrize("kind", ["models", "accelerators", "use-cases", "servers", "prices"])
@pytest.mark.parametrize("form", ["json", "yaml", "csv", "table", "wide"])
def test_lists_come_in_every_form(giq: Giq, kind: str, form: str) -> None:
    """Each list is data on stdout in the form asked for, with nothing on stderr."""
    result = giq(kind, "list", "-o", form)

    assert (result.returncode, result.stderr) == (0, "")
    if form == "json":
        assert len(json.loads(result.stdout)) > 2
    elif form == "yaml":
        assert len(yaml.safe_load(result.stdout)) > 2
    elif form == "csv":
        assert len(list(csv.reader(io.StringIO(result.stdout)))) > 3
    else:
        assert len(result.stdout.splitlines()) > 4


def test_show_prints_yaml_and_which_layer_spoke(giq: Giq) -> None:
    """`show` prints an entry as YAML on stdout and its file on stderr."""
    result = giq("models", "show", "meta-llama/Meta-Llama-3-8B")

    assert yaml.safe_load(result.stdout)["name"] == "llama-3-8b"
    assert "llama-3-8b.yaml" in result.stderr


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (("models", "show", "lama-3-8b"), "llama-3-8b"),
        (("accelerators", "show", "nvidia-l44"), "nvidia-l4"),
        (("use-cases", "show", "chatbott"), "chatbot"),
        (("recommend", "--model", "llama-3-9b"), "llama-3-8b"),
        (("recommend", "--model", "llama-3-8b", "--region", "us-centrall"), "us-central1"),
        (("predict", "--model", "llama-3-8b", "--accelerator", "h10"), "h100"),
    ],
)
def test_an_unknown_name_gets_the_nearest_known(giq: Giq, words: tuple[str, ...], expected: str) -> None:
    """A misspelt name ends with exit code 2 and the nearest known names."""
    result = giq(*words)

    assert result.returncode == 2
    assert expected in result.stderr
    assert result.stdout == ""
    assert "Traceback" not in result.stderr


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (("recommend", "--model", "llama-3-8b", "--target-ttft", "300"), "300ms"),
        (("recommend", "--model", "llama-3-8b", "--target-ttft", "300parsec"), "Known units"),
        (("recommend", "--model", "llama-3-8b", "--percentile", "mean"), "p90"),
        (("recommend", "--model", "llama-3-8b", "--pricing", "free"), "pricing_model"),
        (("recommend", "--model", "llama-3-8b", "--input-tokens", "12"), "--output-tokens"),
        (("profile", "--concurrency", "1,x"), "number above zero"),
        (("profile", "--concurrency", "1.5"), "not whole"),
        (("profile", "--request-rate", "0"), "number above zero"),
        (("profile", "--arrival", "pareto"), "poisson, constant"),
        (("profile", "--input-tokens", "many", "--output-tokens", "3"), "uniform:64-512"),
        (("profile", "--engine-arg", "nonsense"), "max_num_seqs=128"),
        (("profile", "--simulate", "--launch"), "exclude each other"),
        (("profile", "--endpoint", "http://192.0.2.1:8000"), "--yes"),
        (("profile", "--endpoint", "http://u:p@127.0.0.1:1", "--yes"), "the address has a user"),
        (("profile", "--simulate"), "--model and --accelerator"),
        (("profile", "--simulate", "--model", "llama-3-8b", "--accelerator", "nvidia-l4:3"), "g2-standard"),
        (("profile", "--workers", "0"), "--workers"),
        (("profile", "--seed", "-1"), "--seed"),
        (("profile", "--requests", "9"), "explicit loads"),
        (("profile", "--python", "python3"), "--launch"),
        (("profile", "--engine-arg", "api_key=abc"), "GIQ_API_KEY"),
        (("recommend", "--model", "llama-3-8b", "--request-rate", "-1"), "request_rate_rps"),
        (("recommend", "--model", "llama-3-8b", "--attainment", "2"), "attainment"),
        (("recommend", "--model", "llama-3-8b", "--results-dir", "nowhere"), "no such folder"),
        (("predict", "--model", "llama-3-8b", "--accelerator", "v6e:3x3"), "does not come as 3x3"),
        (("nonsense",), "No such command"),
    ],
)
def test_wrong_words_are_usage_errors(giq: Giq, words: tuple[str, ...], expected: str) -> None:
    """A wrong value ends with exit code 2 and one message that says what would be right."""
    result = giq(*words)

    assert result.returncode == 2
    assert expected in result.stderr
    assert "Traceback" not in result.stderr


def test_a_wrong_field_in_the_users_catalog_names_file_field_and_value(giq: Giq, tmp_path: Path) -> None:
    """A price that is no number is an error of exit code 4 that says where it stands."""
    folder = tmp_path / "home" / "profiles" / "prices"
    folder.mkdir(parents=True)
    (folder / "mine.yaml").write_text(
        "region: us-central1\nunit: machine\nusd_per_hour: {g2-standard-12: {spot: cheap}}\n"
        "source: {title: mine, date: '2026-11-21'}\n"
    )

    result = giq("prices", "list")

    assert result.returncode == 4
    assert "mine.yaml" in result.stderr
    assert "'cheap'" in result.stderr


def test_a_manifest_without_recommendation_says_what_to_run(giq: Giq) -> None:
    """Before any recommendation `giq manifest` writes nothing and names the command that makes one."""
    result = giq("manifest")

    assert (result.returncode, result.stdout) == (2, "")
    assert "giq recommend" in result.stderr


def test_a_traceback_is_shown_only_on_request(giq: Giq) -> None:
    """`--debug` adds the traceback to the same message."""
    words = ("models", "show", "nothing-like-it")

    assert "Traceback" in giq("--debug", *words).stderr
    assert "Traceback" not in giq(*words).stderr
