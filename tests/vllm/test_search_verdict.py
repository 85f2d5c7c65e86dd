"""The judgement of search_check.py: what holds, and every way in which something does not."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import pytest
from search_check import Done, Settings, next_task
from search_verdict import LOWER, UPPER, Found, verdict

import giq
from giq.curve.point import Distribution, Estimate, Point, Provenance

TARGET = giq.target("ttft", "400ms")
HERE = Provenance(evidence="measured", hardware_source="detected", source="a test", giq_version="0")


def held(rate_rps: float, seconds: float, *flags: str, late_s: float = 0.25) -> Point:
    """A rate that was held, with its p90 TTFT, an interval of 10 % on either side, and how late it was sent."""
    known = Estimate(value=seconds, lo=0.9 * seconds, hi=1.1 * seconds)
    return Point(
        point_id="one", provenance=HERE, load_kind="open", offered_rps=rate_rps, achieved_rps=rate_rps,
        in_flight_mean=1.0, error_share=0.0, window_s=300.0, n_requests=1800, input_tokens_mean=128.0,
        output_tokens_mean=64.0, input_tps=1.0, output_tps=1.0, total_tps=2.0, accelerator_seconds=300.0, flags=flags,
        ttft_scheduled=Distribution(p90=known), schedule_delay=Distribution(p99=Estimate(value=late_s)),
    )  # fmt: skip


def found(rate_rps: float, status: Literal["met", "met_beyond_range"] = "met") -> Found:
    """A search that ended with this capacity."""
    rate = Estimate(value=rate_rps, lo=0.95 * rate_rps, hi=1.05 * rate_rps)
    capacity = giq.Capacity(rate=rate, status=status, reason="a test")
    return Found(capacity, [held(rate_rps, 0.4, "TOO_FEW")], 420.0, "it is precise enough")


SEARCHES = {"search 1": found(7.0), "search 2": found(7.2), "search 3": found(7.3)}
LOADS = {LOWER: held(LOWER * 7.2, 0.2), UPPER: held(UPPER * 7.2, 4.0, "NOT_STEADY")}


def faults(
    searches: dict[str, Found | None] | None = None, loads: dict[float, Point | None] | None = None
) -> list[str]:
    """What does not hold where these stand for a case in which all does."""
    findings = verdict(TARGET, {**SEARCHES, **(searches or {})}, {**LOADS, **(loads or {})}, held(1.5, 0.1))
    return [finding.fault for finding in findings if finding.fault]


def test_searches_that_agree_and_loads_that_meet_and_miss_hold() -> None:
    """Three capacities within 10 %, met at 85 % and missed at 115 %: no fault, and every figure said."""
    text = "\n".join(map(str, verdict(TARGET, SEARCHES, LOADS, held(1.5, 0.1))))

    assert faults() == []
    assert "capacity 7.20 req/s [6.84 req/s, 7.56 req/s]; 420 s, 1 points (TOO_FEW 1)" in text
    assert "4.3 % above the lowest (10 % allowed)" in text
    assert "200 ms [180 ms, 220 ms]" in text
    assert "20.0 times the percentile at 1.35 times the rate" in text
    assert "the limit is 4.0 times that" in text


@pytest.mark.parametrize(
    ("searches", "loads", "fault"),
    [
        ({"search 3": found(7.8)}, {}, "the searches disagree"),
        ({"search 3": None}, {LOWER: held(LOWER * 7.1, 0.2), UPPER: held(UPPER * 7.1, 4.0)}, "it is missing"),
        (
            {"search 3": found(7.3, "met_beyond_range")},
            {LOWER: held(LOWER * 7.1, 0.2), UPPER: held(UPPER * 7.1, 4.0)},
            "no capacity was found",
        ),
        ({}, {LOWER: held(LOWER * 7.2, 0.41)}, "it must meet the target"),
        ({}, {UPPER: held(UPPER * 7.2, 0.4)}, "it must miss the target"),
        ({}, {LOWER: held(LOWER * 7.2, 0.2, "ERRORS")}, "ERRORS"),
        ({}, {LOWER: held(LOWER * 7.2, 0.2, "NOT_STEADY")}, "NOT_STEADY"),
        ({}, {LOWER: held(0.9 * 7.2, 0.2)}, "not that share of the median"),
        ({}, {LOWER: held(LOWER * 7.2, 0.39), UPPER: held(UPPER * 7.2, 0.45)}, "steep"),
        ({}, {UPPER: None}, "a load is missing"),
    ],
)
def test_each_fault_is_told(searches: dict[str, Found | None], loads: dict[float, Point | None], fault: str) -> None:
    """One thing at a time that does not hold, or is not measured, is found and named."""
    told = faults(searches, loads)

    assert any(fault in words for words in told), told
    assert len(told) <= 2, told


def test_a_late_client_counts_only_where_it_could_turn_the_answer() -> None:
    """Sent 3 ms late where the percentile is 200 ms from its limit; 250 ms late it is not to be relied on."""
    assert faults(loads={LOWER: held(LOWER * 7.2, 0.2, "GENERATOR_LATE", late_s=0.003)}) == []
    assert faults(loads={LOWER: held(LOWER * 7.2, 0.2, "GENERATOR_LATE")}) == ["not to be relied on: GENERATOR_LATE"]


def test_two_searches_missing_tell_no_spread() -> None:
    """Of one capacity there is no agreement to speak of."""
    assert "fewer than two searches found a capacity" in faults({"search 2": None, "search 3": None})


def test_what_is_done_is_not_done_again() -> None:
    """The light load comes first, then the searches, each with a seed of its own."""
    done: dict[str, Done] = {}
    words = []
    for _ in range(3):
        task = next_task(Settings(repeats=2), done)
        assert task is not None
        words.append(task.words)
        done[task.name] = Done(run=Path("nowhere"), seconds=1.0)

    assert words[0][:2] == ("--request-rate", "1.5")
    assert words[1:] == [("--budget", "7m", "--seed", "1"), ("--budget", "7m", "--seed", "2")]
