"""giq against a real vLLM: what it says must be what the server itself counted."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass

import duckdb
import pandas as pd
import pytest
from client import GIQ, Run
from conftest import Profile
from counters import Counters, read_counters
from server import VllmServer

PROBES = 12
"""The most requests that giq may send to find out who answers, before any load; it says how many it sent."""

SHARE, FLOOR_S = 0.05, 0.010
"""A mean may be off by 5 % or 10 ms, whichever is more."""


@dataclass(frozen=True)
class Saturated:
    """A profile until saturation, and by how much the server's counters grew meanwhile."""

    run: Run
    points: pd.DataFrame
    requests: pd.DataFrame
    grown: Counters
    seconds: float


@pytest.fixture(scope="module")
def saturated(server: VllmServer, profile: Profile) -> Saturated:
    """Profile as a user who pays for the time would: until the server saturates, within eight minutes."""
    before, began = read_counters(server.url), time.monotonic()
    run = profile("--input-tokens", "128", "--output-tokens", "64", "--target-ttft", "250ms", "--budget", "8m")
    seconds = time.monotonic() - began
    grown = read_counters(server.url) - before
    assert run.process.returncode == 0, run.process.stderr
    print(run.process.stdout, run.process.stderr)
    points = pd.read_parquet(run.folder / "points.parquet")
    return Saturated(run, points, pd.read_parquet(run.folder / "requests.parquet"), grown, seconds)


def ok_of(requests: pd.DataFrame) -> pd.DataFrame:
    """The requests that succeeded."""
    return requests[requests.outcome == "ok"]


def counted(run: Run, metric: str) -> float:
    """By how much a counter grew between giq's own idle readings before and after its points, summed."""
    query = f"""
        select sum(growth) from (
            select max(value) - min(value) as growth from '{run.folder}/server.parquet'
            where metric = '{metric}'
            and coalesce(map_extract(labels, 'finished_reason')[1], '') not in ('abort', 'error')
            group by point_id, labels)
    """
    row = duckdb.execute(query).fetchone()
    assert row is not None
    return float(row[0])


def test_the_search_ends_at_saturation(saturated: Saturated) -> None:
    """The profile goes on until twice the concurrency completes less than 15 % more, says so, and keeps its budget."""
    best = saturated.points.achieved_rps.max()
    rungs = saturated.points[saturated.points.load_kind == "closed"].sort_values("concurrency")

    doublings = math.log2(rungs.concurrency.iloc[-1] / rungs.concurrency.iloc[-2])

    assert len(rungs) >= 3
    assert rungs.achieved_rps.iloc[-1] < 1.15**doublings * rungs.achieved_rps.iloc[-2]
    assert best > 1.4 * rungs.achieved_rps.iloc[0]
    assert "Saturation" in saturated.run.process.stderr
    assert saturated.seconds < 9.5 * 60, "the budget holds for loads; detection and calibration come before"


def test_hardware_model_and_version_are_found_out(saturated: Saturated) -> None:
    """The server runs on this machine's CPU: detected, measured, with vLLM's own version."""
    point = saturated.points.iloc[0]

    assert (point.evidence, point.hardware_source, point.accelerator) == ("measured", "detected", "cpu")
    assert (point.model, point.server, point.server_version) == ("giq-tiny", "vllm", "0.32.0")


def test_requests_and_tokens_are_those_the_server_counted(saturated: Saturated) -> None:
    """Successful requests, input and output tokens equal the growth of the server's counters, point by point."""
    ok = ok_of(saturated.requests)

    assert len(ok) == len(saturated.requests)
    assert len(ok) == counted(saturated.run, "vllm:request_success_total")
    assert ok.output_tokens.sum() == counted(saturated.run, "vllm:generation_tokens_total")
    assert ok.input_tokens.sum() == counted(saturated.run, "vllm:prompt_tokens_total")


def test_beyond_the_load_only_a_few_probes_were_sent(saturated: Saturated) -> None:
    """Read from outside, the server saw giq's load and a handful of tiny probes, and nothing else."""
    ok = ok_of(saturated.requests)

    assert 0 <= saturated.grown.succeeded - len(ok) <= PROBES
    assert 0 <= saturated.grown.output_tokens - ok.output_tokens.sum() <= 16 * PROBES


def test_lengths_are_exactly_as_asked(saturated: Saturated) -> None:
    """By the server's count: 128 and 64 tokens, and as asked where a load began half-way through (its warm-up)."""
    ok = ok_of(saturated.requests)
    judged = ok[ok.phase == "measure"]

    assert (set(judged.input_tokens), set(judged.output_tokens)) == ({128}, {64})
    assert (ok.input_tokens == ok.requested_input_tokens).all()
    assert (ok.output_tokens == ok.requested_output_tokens).all()
    assert set(ok.input_tokens + ok.output_tokens) == {128 + 64}


def test_mean_latencies_agree_with_the_servers_histograms(saturated: Saturated) -> None:
    """Mean TTFT and end-to-end latency are the histograms' within 5 % or 10 ms."""
    ok = ok_of(saturated.requests)
    ttft = ((ok.first_token_ns - ok.sent_ns) / 1e9).mean()
    latency = ((ok.end_ns - ok.sent_ns) / 1e9).mean()

    print(f"TTFT {ttft:.4f} s, server {saturated.grown.ttft.mean:.4f} s")
    print(f"latency {latency:.4f} s, server {saturated.grown.latency.mean:.4f} s")
    assert ttft == pytest.approx(saturated.grown.ttft.mean, rel=SHARE, abs=FLOOR_S)
    assert latency == pytest.approx(saturated.grown.latency.mean, rel=SHARE, abs=FLOOR_S)


def test_median_latencies_lie_in_the_histograms_median_buckets(saturated: Saturated) -> None:
    """The p50 of TTFT and of latency lie inside the bucket that holds the server's median.

    The server's clock starts when it has taken a request in, ours when it was sent: where that moves the median
    over the edge of a bucket, it may be as far beyond as the means may differ.
    """
    ok = ok_of(saturated.requests)
    for name, ours, theirs in (
        ("TTFT", (ok.first_token_ns - ok.sent_ns) / 1e9, saturated.grown.ttft),
        ("latency", (ok.end_ns - ok.sent_ns) / 1e9, saturated.grown.latency),
    ):
        low, high = theirs.median_bucket()
        print(f"{name} p50 {ours.median():.4f} s in ({low}, {high}]")
        assert low <= ours.median() <= max(high + FLOOR_S, high * (1 + SHARE))


def test_no_valid_point_was_doubted_by_the_counters(saturated: Saturated) -> None:
    """Client and server agree after every point, and nobody else was served."""
    flags = {flag for row in saturated.points["flags"] for flag in row}

    assert not flags & {"COUNTERS_DISAGREE", "FOREIGN_TRAFFIC", "COUNTERS_UNAVAILABLE", "ERRORS", "IMPLAUSIBLE"}
    assert saturated.points.valid.sum() >= 2


def test_below_the_knee_what_is_delivered_is_completed_and_above_it_is_not(
    saturated: Saturated, profile: Profile
) -> None:
    """Constant arrivals: at half the capacity completions keep up within 3 %, at 1.6 times they fall behind."""
    plateau = saturated.points.achieved_rps.max()
    low, high = round(0.5 * plateau, 1), round(1.6 * plateau, 1)

    def constant(rate: float, requests: int) -> tuple[pd.Series, pd.DataFrame]:
        words = ("--arrival", "constant", "--request-rate", f"{rate}", "--requests", f"{requests}")
        run = profile("--input-tokens", "128", "--output-tokens", "64", *words)
        assert run.process.returncode == 0, run.process.stderr
        point = pd.read_parquet(run.folder / "points.parquet").iloc[0]
        print(point[["offered_rps", "achieved_rps", "in_flight_slope", "in_flight_slope_lo", "n_requests", "flags"]])
        return point, pd.read_parquet(run.folder / "requests.parquet")

    # Warm-up is at most half of a point, and a little more is drain.
    below, sent = constant(low, 400)
    above, _ = constant(high, 400)
    delivered = sent[sent.phase == "measure"]
    rate = (len(delivered) - 1) / ((delivered.sent_ns.max() - delivered.sent_ns.min()) / 1e9)

    assert below.n_requests >= 160
    assert below.achieved_rps == pytest.approx(rate, rel=0.03)
    assert above.achieved_rps < 0.9 * high
    assert above.in_flight_slope > 0
    assert above.in_flight_slope_lo > 0
    assert not above.valid


def test_two_runs_with_one_seed_hit_no_prefix(server: VllmServer, profile: Profile) -> None:
    """The same seed against the same live server twice: the prefix cache has nothing to give."""
    before = read_counters(server.url)
    words = ("--input-tokens", "300", "--output-tokens", "8", "--concurrency", "8", "--requests", "100", "--seed", "7")
    first, second = profile(*words), profile(*words)
    grown = read_counters(server.url) - before

    assert (first.process.returncode, second.process.returncode) == (0, 0)
    assert grown.input_tokens >= 2 * 100 * 300
    assert grown.prefix_hits == 0


def test_a_poisson_point_with_spread_lengths_is_exact(profile: Profile) -> None:
    """Lengths drawn from distributions arrive at the server as drawn, request by request."""
    run = profile(
        "--input-tokens", "uniform:16-400", "--output-tokens", "normal:24,8", "--request-rate", "4",
        "--duration", "40s",
    )  # fmt: skip
    assert run.process.returncode == 0, run.process.stderr
    sent = ok_of(pd.read_parquet(run.folder / "requests.parquet"))

    assert len(sent) > 100
    assert sent.input_tokens.nunique() > 50
    assert (sent.input_tokens == sent.requested_input_tokens).all()
    assert (sent.output_tokens == sent.requested_output_tokens).all()


def test_the_result_is_read_by_path_alone(saturated: Saturated) -> None:
    """DuckDB and pandas read points, requests and server metrics from their paths, with nothing of giq."""
    folder = saturated.run.folder
    for name in ("points", "requests", "server"):
        row = duckdb.execute(f"select count(*) from '{folder.parent}/run=*/{name}.parquet'").fetchone()
        assert row is not None
        assert row[0] == len(pd.read_parquet(folder / f"{name}.parquet")) > 0


def test_points_can_be_made_anew_from_the_records(saturated: Saturated) -> None:
    """Every stored point follows again from the stored records."""
    import subprocess

    command = [str(GIQ), "benchmarks", "recompute", str(saturated.run.folder)]
    again = subprocess.run(command, capture_output=True, text=True, check=False)

    assert again.returncode == 0, again.stdout + again.stderr


def test_launch_starts_measures_and_stops_vllm(server: VllmServer, profile: Profile) -> None:
    """`--launch` with the interpreter that has vLLM measures a server of its own and leaves none behind."""
    import subprocess

    python = server.environment / "bin" / "python"

    def running() -> set[str]:
        pids = subprocess.run(["pgrep", "-f", f"{python} -m vllm"], capture_output=True, text=True, check=False)
        return set(pids.stdout.split())

    before = running()
    run = profile(
        "--launch", "--python", str(python), "--model", str(server.environment / "giq-tiny"),
        "--engine-arg", "load_format=dummy", "--engine-arg", "enforce_eager=true",
        "--engine-arg", "gpu_memory_utilization=0.1",
        "--input-tokens", "32", "--output-tokens", "8", "--concurrency", "4", "--requests", "60",
        endpoint=False,
    )  # fmt: skip

    assert run.process.returncode == 0, run.process.stderr
    assert len(pd.read_parquet(run.folder / "requests.parquet")) == 60
    assert running() == before
