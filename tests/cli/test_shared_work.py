"""Ramps, shared prefixes and conversations by the command line: what is said, sent, recorded and refused."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from giq.cli.app import application
from giq.errors import UsageError
from tests.cli.test_profile_failures import Outcome, is_probe, profile
from tests.load.exact_server import Behaviour, ExactServer

LENGTHS = ("--input-tokens", "20", "--output-tokens", "3")


def run_json(outcome: Outcome) -> dict[str, object]:
    """What run.json holds."""
    (path,) = outcome.results.glob("run=*/run.json")
    held: dict[str, object] = json.loads(path.read_text())
    return held


def test_a_ramp_is_recorded_shown_and_used_for_nothing(tmp_path: Path) -> None:
    """Its requests come ever faster; the point is saved and shown, flagged, and tells no saturation."""
    ramp = (*LENGTHS, "--arrival", "ramp:0-60", "--duration", "2s", "--workers", "1")
    outcome = profile(ExactServer(), tmp_path, *ramp)

    assert outcome.code == 0, outcome.stderr
    assert "ramp:0-60 arrivals" in outcome.stderr
    assert "30.0 req/s" in outcome.stdout
    point = outcome.points().iloc[0]
    assert (point.arrival, point.offered_rps, bool(point.valid)) == ("ramp:0-60", 30.0, False)
    assert "NOT_STEADY" in point["flags"]
    assert "not told by ramp:0-60" in outcome.stderr
    due = outcome.requests().scheduled_ns
    assert len(due) > 30
    assert (due - due.min() < 1e9).mean() < 0.45, "a quarter of them in the first half"


def test_conversations_with_prefixes_reach_the_records(tmp_path: Path) -> None:
    """Turns, pauses, parents and prefixes are in the Parquet; prompts hold the history; the workload says it all."""
    words = (*LENGTHS, "--shared-prefix", "8:2", "--turns", "3", "--think-time", "100ms")
    exact = ExactServer(tells_ids=True, behave=lambda seen, number: Behaviour(first_s=0.01))
    outcome = profile(exact, tmp_path, *words, "--concurrency", "4", "--requests", "60", "--workers", "1")

    assert outcome.code == 0, outcome.stderr
    said = "conversations of 3 turns with 0.1s between, 2 shared prefixes of 8 tokens"
    assert said in " ".join(outcome.stderr.split())
    workload = run_json(outcome)["workload"]
    assert isinstance(workload, dict)
    assert workload["shared_prefix"]["tokens"] == 8
    assert workload["conversation"]["turns"]["mean"] == 3
    records = outcome.requests()
    assert records.turn.value_counts().to_dict() == {1: 20, 2: 20, 3: 20}
    assert set(records.prefix_group) == {0, 1}
    later = records[records.turn > 1].set_index("request_id")
    before = records.set_index("request_id").loc[later.parent_id]
    assert (later.think_ns == 100_000_000).all()
    assert (later.scheduled_ns.to_numpy() == before.end_ns.to_numpy() + 100_000_000).all()
    assert sorted(records.input_tokens.unique()) == [20, 20 + 3 + 12, 20 + 2 * (3 + 12)]
    prompts = [seen.body["prompt"] for seen in exact.seen if not is_probe(seen)]
    assert len({tuple(prompt[:8]) for prompt in prompts}) == 2
    assert all(seen.body["return_token_ids"] for seen in exact.seen if not is_probe(seen))


def test_a_history_of_other_tokens_is_told(tmp_path: Path) -> None:
    """Where the server does not tell its answers' tokens, giq says that others stand for them."""
    words = (*LENGTHS, "--turns", "2", "--concurrency", "2", "--requests", "40", "--workers", "1")
    outcome = profile(ExactServer(), tmp_path, *words)
    assert outcome.code == 0, outcome.stderr
    assert "does not tell the tokens of its answers" in " ".join(outcome.stderr.split())
    assert outcome.requests().turn.max() == 2


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--arrival", "ramp:2-20", "--request-rate", "4"), "says the rates itself"),
        (("--arrival", "ramp:4-4"), "is no ramp"),
        (("--think-time", "5s"), "needs turns"),
        (("--turns", "1", "--think-time", "5s"), "needs turns"),
        (("--turns", "0"), "no number above zero"),
        (("--turns", "4"), "the search for the knee"),
        (("--turns", "4", "--think-time", "5", "--concurrency", "2"), "not a duration"),
        (("--turns", "4", "--think-time", "30s", "--request-rate", "2", "--duration", "60s"), "to settle"),
        (("--shared-prefix", "20:4"), "leaves nothing"),
        (("--shared-prefix", "many"), "is no prefix"),
    ],
)
def test_what_makes_no_sense_is_refused_before_anything_is_sent(words: tuple[str, ...], said: str) -> None:
    """One clear usage error; no server is asked."""
    asked = ["profile", "--endpoint", "http://127.0.0.1:9", *LENGTHS, *words]
    error = CliRunner().invoke(application(), asked).exception
    assert isinstance(error, UsageError)
    assert said in error.what


def test_no_capacity_is_recommended_on_a_ramp() -> None:
    """A ramp is no law that a service lives under: it is refused."""
    asked = ["recommend", "--model", "llama-3-8b", *LENGTHS, "--arrival", "ramp:2-20"]
    error = CliRunner().invoke(application(), asked).exception
    assert isinstance(error, UsageError)
    assert "no capacity is read off a ramp" in error.what
