"""The server's counts against ours: what agrees, what does not, and what that is called."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from giq.catalog.servers import MetricNames
from giq.curve.requests import Record
from giq.load.client import LoadResult, run_load
from giq.load.counters import deltas, reconcile
from giq.load.job import CounterDeltas
from giq.load.scraper import Reading, lines_of, read_metrics
from giq.load.tally import Tally, merged
from tests.load.exact_server import METRIC_NAMES, Behaviour, ExactServer, Seen
from tests.load.jobs import Heard, closed, identity, job, measured, on_loop, opened

SAMPLES = Path(__file__).resolve().parent.parent / "vllm" / "samples"


def held(asked: object, **server: object) -> tuple[Heard, LoadResult]:
    """Hold a load against an exact server made with these options."""

    async def work() -> tuple[Heard, LoadResult]:
        async with ExactServer(**server) as exact:  # type: ignore[arg-type]
            return await measured(exact, asked)  # type: ignore[arg-type]

    return on_loop(work)


def test_counts_that_agree_raise_no_flag() -> None:
    """When the server counted just our requests and tokens nothing is flagged, and its deltas are in the result."""
    heard, result = held(opened(100, 30))

    assert not heard.told(result), result.reasons
    assert result.counters == CounterDeltas(requests=30, prompt_tokens=240, generation_tokens=120)


@pytest.mark.parametrize(
    ("fault", "flag", "reason"),
    [
        ("foreign_requests", "FOREIGN_TRAFFIC", "the server finished 9 requests that were not ours"),
        ("miscounted_tokens", "COUNTERS_DISAGREE", "40 output tokens were counted here, 49 there"),
    ],
)
def test_counts_that_differ_are_told(fault: str, flag: str, reason: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Requests too many at the server are somebody else's; other tokens are a disagreement, told with both numbers."""
    monkeypatch.setattr("giq.load.client.SETTLE_S", 0.2)

    async def work() -> tuple[Heard, LoadResult]:
        async with ExactServer() as exact:

            def behave(seen: Seen, number: int) -> Behaviour:
                setattr(exact, fault, 9)
                return Behaviour()

            exact.behave = behave
            return await measured(exact, opened(100, 10))

    heard, result = on_loop(work)
    assert heard.told(result) == {flag}
    assert reason in result.reasons


def test_a_server_without_counters_is_no_fault() -> None:
    """Without /metrics the point is told to be unchecked, which does not make it invalid."""
    heard, result = held(opened(100, 5), with_metrics=False)

    assert heard.told(result) == {"COUNTERS_UNAVAILABLE"}
    assert result.counters is None
    assert heard.samples == []


def test_answers_without_counts_are_told() -> None:
    """Answers without usage leave the counts unknown, and the point says so."""
    heard, result = held(opened(100, 5), behave=lambda seen, number: Behaviour(usage="none"))
    assert heard.told(result) == {"COUNTERS_UNAVAILABLE"}


def test_lengths_that_differ_are_told() -> None:
    """A server that adds tokens to a prompt gives other lengths than were asked for."""

    async def work() -> LoadResult:
        async with ExactServer() as exact:
            identity_of_text = identity(alphabet=None, accepts_token_ids=False, words=("a", "b"), overhead_tokens=1)
            return (await measured(exact, opened(100, 5), identity=identity_of_text))[1]

    assert "LENGTHS_DIFFER" in on_loop(work).flags


def test_samples_hold_what_is_kept_and_nothing_else() -> None:
    """Samples come at the start, three times a second and at the end, with the server's own names and labels."""
    noise = 'http_requests_total{handler="/x"} 9.0\nvllm:num_requests_running_by_x{engine="0"} 1.0\n'
    heard, _ = held(opened(50, 60, "constant"), extra_metrics=noise)

    names = {sample.metric for sample in heard.samples}
    assert "vllm:num_requests_running" in names
    assert "vllm:time_to_first_token_seconds_bucket" in names
    assert not {name for name in names if "http" in name or "by_x" in name}
    running = [sample for sample in heard.samples if sample.metric == METRIC_NAMES.running]
    assert 4 <= len(running) <= 8
    assert all(sample.engine == "0" and "engine" not in sample.labels for sample in running)
    success = [sample for sample in heard.samples if sample.metric == "vllm:request_success_total"]
    assert {sample.labels["finished_reason"] for sample in success} == {"length", "abort"}
    assert running == sorted(running, key=lambda sample: sample.ts_ns)


def tally(ok: int = 10, tokens: int = 40, unsure: int = 0) -> Tally:
    """The totals of some requests of 8 tokens in."""
    whole = Tally(input_tokens=8 * ok, output_tokens=tokens)
    whole.outcomes["ok"] = ok
    whole.unsure, whole.unsure_input_tokens, whole.unsure_output_tokens = unsure, 8 * unsure, 4 * unsure
    return whole


@pytest.mark.parametrize(
    ("requests", "prompt", "output", "unsure", "flags"),
    [
        (10, 80, 40, 0, set()),
        (11, 88, 44, 0, {"FOREIGN_TRAFFIC"}),
        (9, 72, 36, 0, {"COUNTERS_DISAGREE"}),
        (10, 81, 40, 0, {"COUNTERS_DISAGREE"}),
        (10, 80, 39, 0, {"COUNTERS_DISAGREE"}),
        (10, 96, 45, 2, set()),
        (12, 96, 48, 2, set()),
        (13, 104, 52, 2, {"FOREIGN_TRAFFIC"}),
        (10, 80, 49, 2, {"COUNTERS_DISAGREE"}),
        (-5, 0, 0, 0, {"COUNTERS_DISAGREE"}),
    ],
)
def test_what_the_differences_mean(requests: int, prompt: int, output: int, unsure: int, flags: set[str]) -> None:
    """Requests that ended badly give room upwards; more requests are foreign, anything else disagrees."""
    counted = CounterDeltas(requests=requests, prompt_tokens=prompt, generation_tokens=output)
    assert {finding.flag for finding in reconcile(counted, tally(unsure=unsure))} == flags


def test_a_server_that_works_for_others_is_noticed_before(monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that does not fall idle before the first request has foreign traffic."""
    monkeypatch.setattr("giq.load.client.IDLE_WAIT_S", 0.2)
    busy = 'vllm:num_requests_waiting{engine="1"} 3.0\n'
    heard, result = held(opened(100, 5), extra_metrics=busy)
    assert heard.told(result) == {"FOREIGN_TRAFFIC"}


def test_stopping_also_stops_the_wait_for_an_idle_server() -> None:
    """Whoever stops the load while it waits for the server to fall idle need not wait as well."""

    async def work() -> tuple[LoadResult, float]:
        async with ExactServer(extra_metrics='vllm:num_requests_waiting{engine="1"} 3.0\n') as exact:
            heard = Heard()
            loop = asyncio.get_running_loop()
            loop.call_later(0.3, heard.hooks.stop.set)
            loop.call_later(3.0, heard.hooks.quit.set)
            began = loop.time()
            return await run_load(job(exact, opened(100, 50)), heard.hooks), loop.time() - began

    result, took_s = on_loop(work)
    assert (result.ending, result.sent) == ("stopped", 0)
    assert took_s < 8


def test_the_metrics_of_a_real_vllm() -> None:
    """Of the 600 lines of vLLM 0.32 the gauges, counters and histograms that giq keeps are read, and no others."""
    reading = read_metrics((SAMPLES / "metrics.txt").read_text(), lines_of(METRIC_NAMES, histograms=True))

    assert reading.total(METRIC_NAMES.running) == 98
    assert reading.total(METRIC_NAMES.waiting) == 42
    kept = {value.metric for value in reading.values}
    for name in (METRIC_NAMES.ttft, METRIC_NAMES.e2e_latency, METRIC_NAMES.inter_token_latency):
        assert {f"{name}_sum", f"{name}_count", f"{name}_bucket"} <= kept
    assert not {name for name in kept if name.endswith("_created") or "by_" in name or "http" in name}
    succeeded = reading.total(METRIC_NAMES.request_success, {"finished_reason": frozenset({"abort", "error"})})
    assert succeeded == reading.total(METRIC_NAMES.request_success)
    assert deltas(reading, reading, METRIC_NAMES).requests == 0


@pytest.mark.parametrize("line", ['vllm:num_requests_running{engine="0"', "vllm:num_requests_running x", "\0 1"])
def test_malformed_metrics_are_left_out(line: str) -> None:
    """A line that is no metric is no reading."""
    reading = read_metrics(f'{line}\nvllm:num_requests_waiting{{engine="0"}} 2\n', lines_of(METRIC_NAMES, False))
    assert (reading.total(METRIC_NAMES.running), reading.total(METRIC_NAMES.waiting)) == (None, 2.0)


def test_counters_that_appear_later_start_at_zero() -> None:
    """A labelled counter has no line until it first counts."""
    names: MetricNames = METRIC_NAMES
    before = Reading(0, ())
    after = read_metrics('vllm:request_success_total{finished_reason="stop"} 4\n', lines_of(names, False))
    assert deltas(before, after, names).requests == 4


def test_tallies_of_workers_add_up() -> None:
    """What several workers did is the sum of what each did, over the time from the first to the last."""
    one, other = tally(10, 40), tally(5, 20, unsure=1)
    one.started_ns, one.ended_ns, other.started_ns, other.ended_ns = 5, 100, 3, 90
    one.delays_ns.extend([1, 2])
    other.delays_ns.extend([3])
    one.sent_span, other.sent_span = (5, 80), (4, 70)
    other.ending = "stopped"
    whole = merged([one, other])

    assert (whole.ok, whole.output_tokens, whole.unsure, list(whole.delays_ns)) == (15, 60, 1, [1, 2, 3])
    assert (whole.started_ns, whole.ended_ns, whole.sent_span, whole.ending) == (3, 100, (4, 80), "stopped")


def test_a_closed_loop_of_failures_counts_them() -> None:
    """Refused requests are neither successes nor unsure: the counters still agree."""
    heard, result = held(closed(2, 6), behave=lambda seen, number: Behaviour(reply=(503, {"error": {"code": 503}})))
    assert heard.outcomes == {"http_error": 6}
    assert {record.error_kind for record in heard.records} == {"503"}
    assert "COUNTERS_DISAGREE" not in result.flags
    records: list[Record] = heard.records
    assert all(record.first_token_ns is None for record in records)
