"""Summaries of points whose every number is known by hand or in closed form."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from giq.curve import (
    Estimate,
    Point,
    PointFacts,
    Provenance,
    Record,
    Requests,
    ServerStatistics,
    Target,
    Window,
    choose_window,
    summarise,
)
from giq.workload import ClosedLoad, Load, OpenLoad

Queue = Callable[..., Requests]
S = 1_000_000_000
WINDOW = Window(start_ns=1 * S, end_ns=3 * S, steady=True, reason="by hand")
INF = math.inf


def facts(load: Load, window: Window = WINDOW, **fields: Any) -> PointFacts:
    """Facts of a point on two accelerators that took 5 s."""
    source = Provenance(evidence="measured", hardware_source="declared", source="a test", giq_version="0")
    known: dict[str, Any] = {"point_id": "p", "run_id": "r", "provenance": source, "accelerators_total": 2}
    return PointFacts(load=load, window=window, elapsed_s=5.0, **(known | fields))


def record(number: int, scheduled: float, sent: float, *times: float, **fields: Any) -> Record:
    """A record whose tokens came at *times* (s), 10 input tokens long; it ends with the last unless said otherwise."""
    stamps = [round(time * S) for time in times]
    known: dict[str, Any] = {
        "outcome": "ok", "requested_input_tokens": 10, "requested_output_tokens": len(times), "input_tokens": 10,
        "output_tokens": len(times), "first_token_ns": stamps[0] if stamps else None,
        "last_token_ns": stamps[-1] if stamps else None, "end_ns": stamps[-1] if stamps else None,
        "token_gaps_ns": [later - earlier for earlier, later in pairwise(stamps)],
    }  # fmt: skip
    return Record(
        run_id="r", point_id="p", request_id=number, scheduled_ns=round(scheduled * S), sent_ns=round(sent * S),
        **(known | fields),
    )  # fmt: skip


def five() -> list[Record]:
    """One of the warm-up, three measured (the second fails), one of the drain."""
    return [
        record(0, 0.0, 0.0, 0.5, 1.0, 1.5),
        record(1, 1.0, 1.1, 1.3, 1.5, 1.7, 2.1, end_ns=round(2.2 * S)),
        record(
            2, 2.0, 2.0, 2.5, 2.6,
            outcome="timeout", end_ns=round(2.9 * S), output_tokens=None, requested_output_tokens=5,
        ),
        record(
            3, 2.5, 2.5, 2.9, 3.2,
            end_ns=round(3.3 * S), chunk_tokens=[2, 3], output_tokens=5, requested_output_tokens=5,
        ),
        record(4, 3.0, 3.0, 3.5),
    ]  # fmt: skip


def medians(point: Point, *names: str) -> list[float]:
    """The p50 of some metrics."""
    found = [point.metric(name).p50 for name in names]
    return [estimate.value for estimate in found if estimate is not None]


def value_of(point: Point, metric: str, statistic: str) -> float:
    """One statistic, which has no interval here."""
    found = point.metric(metric).at(statistic)
    assert found is not None
    assert (found.lo, found.hi) == (None, None)
    return found.value


def test_every_number_of_a_hand_made_point() -> None:
    """Rates, counts and times of five requests are those computed by hand."""
    point = summarise(Requests.of(five()), facts(OpenLoad(rate_rps=2.0)))
    assert (point.load_kind, point.offered_rps, point.concurrency) == ("open", 2.0, None)
    assert (point.n_requests, point.n_batches, point.window_s) == (3, None, 2.0)
    assert point.achieved_rps == 2 / 2  # requests 0 and 1 succeeded and ended in the window
    assert point.output_tps == (2 + 4 + 2 + 2) / 2
    assert point.input_tps == 30 / 2  # the first tokens of requests 1, 2 and 3 came in the window
    assert point.total_tps == point.input_tps + point.output_tps
    assert point.in_flight_mean == pytest.approx((0.5 + 1.1 + 0.9 + 0.5) / 2)
    assert point.error_share == pytest.approx(1 / 3)
    assert point.accelerator_seconds == 10.0
    assert (point.input_tokens_mean, point.output_tokens_mean) == (10.0, (4 + 5 + 5) / 3)
    assert point.flags == ("TOO_FEW", "ERRORS")
    assert not point.valid


def test_latencies_of_a_hand_made_point() -> None:
    """Each latency follows its definition, from sent and from scheduled, and the failed request is infinite."""
    point = summarise(Requests.of(five()), facts(OpenLoad(rate_rps=2.0)))
    assert medians(point, "ttft", "ttft_scheduled") == pytest.approx([0.4, 0.4])
    assert medians(point, "latency", "latency_scheduled") == pytest.approx([1.1, 1.2])
    assert medians(point, "tpot", "ntpot") == pytest.approx([0.9 / 3, 1.1 / 4])
    assert value_of(point, "ttft", "mean") == pytest.approx(0.3)
    assert value_of(point, "ttft_scheduled", "mean") == pytest.approx(0.35)
    assert value_of(point, "tpot", "mean") == pytest.approx((0.9 / 3 + 0.4 / 4) / 2)
    assert value_of(point, "ntpot", "mean") == pytest.approx((1.1 / 4 + 0.8 / 5) / 2)
    assert value_of(point, "schedule_delay", "mean") == pytest.approx(0.1 / 3)
    for name in ("ttft", "ttft_scheduled", "tpot", "ntpot", "latency", "latency_scheduled", "itl"):
        assert point.metric(name).p90 == Estimate(value=INF)
    assert value_of(point, "schedule_delay", "p99") == pytest.approx(0.1)


def test_gaps_are_pooled_and_those_never_seen_are_infinite() -> None:
    """Gaps .2 .2 .4 | .1 and 3 that never came | .3: p50 is the 4th of 8, p90 infinite, the mean of those seen."""
    point = summarise(Requests.of(five()), facts(OpenLoad(rate_rps=2.0)))
    assert value_of(point, "itl", "mean") == pytest.approx((0.2 + 0.2 + 0.4 + 0.1 + 0.3) / 5)
    assert value_of(point, "itl", "p50") == pytest.approx(0.3)
    assert point.itl.quantiles is not None
    assert sum(math.isinf(value) for value in point.itl.quantiles) == 38  # above 5/8


def test_attainment_and_goodput_of_a_hand_made_point() -> None:
    """Open loop is judged from scheduled: 0.30 s meets 0.35 s, 0.4 s does not; half of what succeeded is good."""
    targets = (Target("ttft", 0.35), Target("tpot", 0.2))
    point = summarise(Requests.of(five()), facts(OpenLoad(rate_rps=2.0), targets=targets))
    found = [(item.targets, item.joint, item.goodput_rps) for item in point.attainment]
    assert found == [("tpot<0.2,ttft<0.35", 0.0, 0.0), ("ttft<0.35", 1 / 3, 0.5), ("tpot<0.2", 1 / 3, 0.5)]
    itl = summarise(Requests.of(five()), facts(OpenLoad(rate_rps=2.0), targets=(Target("itl", 0.2, "p50"),)))
    assert [(item.targets, item.joint) for item in itl.attainment] == [("itl_p50<0.2", 1 / 3)]


def test_closed_loop_counts_requests_by_when_they_were_sent() -> None:
    """Request 1, scheduled before the window's start but sent in it, is measured in a closed loop."""
    window = replace(WINDOW, start_ns=round(1.05 * S), clock="sent")
    point = summarise(Requests.of(five()), facts(ClosedLoad(concurrency=2), window))
    assert (point.n_requests, point.load_kind, point.concurrency, point.offered_rps) == (3, "closed", 2.0, None)
    assert point.in_flight_slope is None
    scheduled = summarise(Requests.of(five()), facts(OpenLoad(rate_rps=2.0), replace(window, clock="scheduled")))
    assert scheduled.n_requests == 2


def test_tpot_is_undefined_below_two_tokens() -> None:
    """One-token answers have no TPOT and no gap, and miss no target on them."""
    records = [record(i, 1.0 + i / 100, 1.0 + i / 100, 1.5 + i / 100) for i in range(4)]
    targets = (Target("tpot", 0.001), Target("itl", 0.001))
    point = summarise(Requests.of(records), facts(OpenLoad(rate_rps=2.0), targets=targets))
    assert (point.tpot.p50, point.itl.p50) == (None, None)
    assert point.attainment[0].joint == 1.0


def test_tokens_that_no_chunk_tells_come_with_the_last_one() -> None:
    """Without tokens per chunk each chunk has one and the last the remainder of the server's count."""
    cases = [(7, 2.0), (3, 2.0), (2, 2.0), (1, 1.0), (None, 2.0)]
    for told, received in cases:  # chunks at 2.8, 2.9 and 3.1 s: the last is outside
        one = record(0, 2.0, 2.0, 2.8, 2.9, 3.1, output_tokens=told)
        assert summarise(Requests.of([one]), facts(OpenLoad(rate_rps=1))).output_tps * 2 == received
    inside = record(0, 1.0, 1.0, 1.8, 1.9, 2.1, output_tokens=7)
    assert summarise(Requests.of([inside]), facts(OpenLoad(rate_rps=1))).output_tps * 2 == 7


def test_an_answer_without_tokens_never_had_a_first_one() -> None:
    """A successful request without a token has an infinite TTFT, a latency, and no TPOT or NTPOT."""
    empty = record(0, 1.0, 1.0, output_tokens=0, end_ns=2 * S)
    point = summarise(Requests.of([empty]), facts(OpenLoad(rate_rps=1)))
    assert medians(point, "ttft", "latency") == [INF, 1.0]
    assert (point.ntpot.p50, point.tpot.p50) == (None, None)


def test_lengths_that_differ_are_told() -> None:
    """More than 1 % of requests whose server counts differ from what was asked sets a flag that does not invalidate."""
    records = [record(i, 1 + i / 200, 1 + i / 200, 1.5 + i / 200, 1.6 + i / 200) for i in range(200)]
    for wrong, flagged in [(2, False), (3, True)]:
        changed = [record(i, 1.5, 1.5, 1.6, 1.7, input_tokens=11) for i in range(wrong)] + records[wrong:]
        point = summarise(Requests.of(changed), facts(OpenLoad(rate_rps=100)))
        assert point.flags == (("LENGTHS_DIFFER",) if flagged else ())
        assert point.valid


def test_facts_are_kept() -> None:
    """Given flags, server statistics, round trip and client error are in the point, and each flag once."""
    server = ServerStatistics(running_mean=2.5, preemptions=1.0, prefix_hit_share=0.25)
    given_facts = facts(
        OpenLoad(rate_rps=2.0), server=server, rtt_s=0.01, client_error_s=0.002, flags=("GENERATOR_LATE", "TOO_FEW")
    )
    point = summarise(Requests.of(five()), given_facts)
    assert (point.running_mean, point.waiting_mean, point.preemptions, point.prefix_hit_share) == (2.5, None, 1.0, 0.25)
    assert (point.rtt_s, point.client_error_s) == (0.01, 0.002)
    assert point.flags == ("TOO_FEW", "ERRORS", "GENERATOR_LATE")


def test_a_point_without_requests_is_empty_and_invalid() -> None:
    """Nothing recorded gives zeros, no percentile and TOO_FEW."""
    load = OpenLoad(rate_rps=2.0)
    none = Requests.of([])
    for window in (WINDOW, choose_window(none, load)):
        point = summarise(none, facts(load, window, targets=(Target("ttft", 1),)))
        assert (point.n_requests, point.achieved_rps, point.output_tps, point.in_flight_mean) == (0, 0.0, 0.0, 0.0)
        assert point.ttft.p90 is None
        assert point.attainment[0].goodput_rps == 0.0
        assert "TOO_FEW" in point.flags


@pytest.mark.parametrize("use", [0.3, 0.6, 0.8])
def test_mean_wait_is_that_of_an_md1_queue(queue: Queue, use: float) -> None:
    """The mean TTFT of one server of 1 s is use / (2 (1 - use)) (Pollaczek-Khinchine); in-flight obeys Little."""
    load = OpenLoad(rate_rps=use)
    requests = queue(load, 40_000, 1, 1.0)
    point = summarise(requests, facts(load, choose_window(requests, load)))
    assert point.valid
    mean = point.ttft.mean
    assert mean is not None
    assert mean.value == pytest.approx(use / (2 * (1 - use)), rel=0.1)
    assert mean.lo < mean.value < mean.hi  # type: ignore[operator]
    assert point.in_flight_mean == pytest.approx(point.achieved_rps * (mean.value + 1.0), rel=0.01)
    assert point.achieved_rps == pytest.approx(use, rel=0.03)


def test_an_overloaded_point_is_not_steady_and_shows_the_plateau(queue: Queue) -> None:
    """At 1.5 times what 16 servers take, completions are at the servers' rate, and growth is the rest."""
    load = OpenLoad(rate_rps=24.0)
    requests = queue(load, 1500, 16, 1.0)
    point = summarise(requests, facts(load, choose_window(requests, load)))
    assert point.flags == ("NOT_STEADY",)
    assert point.achieved_rps == pytest.approx(16.0, rel=0.03)
    assert point.in_flight_slope is not None
    assert point.in_flight_slope.value == pytest.approx(8.0, rel=0.2)


OUTCOME = st.sampled_from(["ok", "ok", "ok", "timeout", "refused", "cut_off"])


@st.composite
def recorded(draw: st.DrawFn) -> list[Record]:
    """Requests over 4 s with any outcome and any tokens."""
    records = []
    for number in range(draw(st.integers(1, 60))):
        sent = draw(st.floats(0, 4))
        times = [sent]
        for gap in draw(st.lists(st.floats(0.001, 1.0), max_size=6)):
            times.append(times[-1] + gap)
        came = times[1:]
        records.append(
            record(
                number, sent, sent, *came, outcome=draw(OUTCOME), end_ns=round(times[-1] * S), requested_output_tokens=6
            )
        )
    return records


@settings(max_examples=60)
@given(recorded(), st.randoms(use_true_random=False), st.floats(0.01, 3), st.booleans())
def test_laws_of_a_point(records: list[Record], shuffler: Any, limit: float, is_open: bool) -> None:
    """Goodput never exceeds completions, shares are shares, and the order of the records does not matter."""
    load: Load = OpenLoad(rate_rps=2.0) if is_open else ClosedLoad(concurrency=3)
    window = replace(WINDOW, clock="scheduled" if is_open else "sent")
    targets = (Target("ttft", limit), Target("latency", 2 * limit), Target("itl", limit))
    point = summarise(Requests.of(records), facts(load, window, targets=targets))
    shuffled = list(records)
    shuffler.shuffle(shuffled)
    assert summarise(Requests.of(shuffled), facts(load, window, targets=targets)) == point
    for item in point.attainment:
        assert 0 <= item.goodput_rps <= point.achieved_rps
        assert 0 <= item.joint <= 1 - point.error_share + 1e-12
    for name in ("ttft", "latency", "itl", "ntpot"):
        found = point.metric(name)
        values = [estimate.value for estimate in (found.p50, found.p90, found.p95, found.p99) if estimate]
        assert values == sorted(values)


@settings(max_examples=30)
@given(recorded())
def test_tokens_are_conserved_over_windows(records: list[Record]) -> None:
    """Tokens and completions of windows that follow each other add up to those of all time."""
    requests = Requests.of(records)
    edges = [0, S, 2 * S, 3 * S, 20 * S]
    parts = []
    for start, end in [(0, 20 * S), *pairwise(edges)]:
        point = summarise(requests, facts(OpenLoad(rate_rps=1), Window(start, end, True, "")))
        parts.append(np.array([point.output_tps, point.input_tps, point.achieved_rps]) * point.window_s)
    assert sum(parts[1:]) == pytest.approx(parts[0])
    came = [record for record in records if record.first_token_ns is not None]
    assert parts[0][0] == pytest.approx(sum(record.output_tokens or 0 for record in came))
