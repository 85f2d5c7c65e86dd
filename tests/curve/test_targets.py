"""Targets are percentiles of a latency, named and judged in one way."""

from __future__ import annotations

from collections.abc import Callable

import pytest

import giq.curve
from giq.curve import Distribution, Estimate, Point, Target, requests_needed, thresholds
from giq.errors import UsageError


def test_a_target_says_what_it_is() -> None:
    """It prints with its percentile and unit, and has a short key and a per-request threshold."""
    ttft, itl = Target("ttft", 0.3), Target(metric="itl", seconds=0.05, percentile="p99")
    assert (str(ttft), ttft.key, ttft.threshold) == ("p90 TTFT <= 300 ms", "ttft_p90<0.3", "ttft<0.3")
    assert (str(itl), itl.key, itl.threshold) == ("p99 ITL <= 50.0 ms", "itl_p99<0.05", "itl_p99<0.05")
    assert str(Target("latency", 12.0)) == "p90 latency <= 12,000 ms"
    assert thresholds([ttft, Target("tpot", 0.05)]) == "tpot<0.05,ttft<0.3" == thresholds([Target("tpot", 0.05), ttft])


@pytest.mark.parametrize("wrong", [("ttft", 0.3, "mean"), ("ttft", 0.3, "p42"), ("tps", 0.3), ("ttft", 0.0)])
def test_what_is_no_target_is_refused(wrong: tuple[str, float, str]) -> None:
    """A mean is never compared with a limit; other metrics, percentiles and limits are usage errors too."""
    with pytest.raises(UsageError):
        Target(*wrong)  # type: ignore[arg-type]


@pytest.mark.parametrize("seconds", [float("nan"), float("inf"), -1.0])
def test_a_limit_is_a_positive_time(seconds: float) -> None:
    """No limit, an infinite or a negative one is a usage error."""
    with pytest.raises(UsageError):
        Target("ttft", seconds)


def test_open_loop_is_judged_from_scheduled(
    make_point: Callable[..., Point], same: Callable[..., Distribution]
) -> None:
    """TTFT and latency count from the scheduled time in open loop and from sent in closed; TPOT is one and the same."""
    fields = {name: same(value) for name, value in [("ttft", 1.0), ("ttft_scheduled", 2.0), ("tpot", 3.0)]}
    values = {
        kind: [Target(metric, 9.0).value(make_point(kind, 1.0, **fields)) for metric in ("ttft", "tpot", "latency")]
        for kind in ("open", "closed")
    }
    assert [found and found.value for found in values["open"]] == [2.0, 3.0, None]
    assert [found and found.value for found in values["closed"]] == [1.0, 3.0, None]


def test_a_source_without_schedule_is_judged_from_sent(make_point: Callable[..., Point]) -> None:
    """A published point has no scheduled times: its plain TTFT is taken; a mean alone is never taken."""
    published = make_point("open", 1.0, ttft=Distribution(p90=Estimate(value=0.4), mean=Estimate(value=0.1)))
    assert Target("ttft", 1.0).value(published) == Estimate(value=0.4)
    assert Target("ttft", 1.0, "p99").value(published) is None


def test_high_percentiles_need_many_requests() -> None:
    """Ten requests must lie beyond the highest percentile asked for."""
    assert requests_needed([]) == 100
    assert requests_needed([Target("ttft", 1, "p50")]) == 20
    assert requests_needed([Target("ttft", 1, "p50"), Target("tpot", 1, "p99")]) == 1000


def test_public_names_are_sorted() -> None:
    """The room's public names are listed in order."""
    assert giq.curve.__all__ == sorted(giq.curve.__all__)
