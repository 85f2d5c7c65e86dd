"""The server's own numbers, time-weighted over the window."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from giq.catalog.servers import MetricNames
from giq.curve import Sample, ServerStatistics, server_statistics

NAMES = MetricNames(
    running="v:running", waiting="v:waiting", kv_usage="v:kv", request_success="v:success", prompt_tokens="v:prompt",
    generation_tokens="v:generation", preemptions="v:preemptions", prefix_queries="v:queries", prefix_hits="v:hits",
    ttft="v:ttft", e2e_latency="v:e2e", inter_token_latency="v:itl",  # noqa: S106 - tokens of text
)  # fmt: skip


def samples(metric: str, *values: tuple[int, float], engine: str = "0") -> list[Sample]:
    """Samples of one engine's metric at times in ns."""
    labels = {"engine": engine, "model_name": "m"}
    return [
        Sample(
            run_id="r", point_id="p", ts_ns=time, source="pod", engine=engine, metric=metric, labels=labels, value=value
        )
        for time, value in values
    ]


def test_gauges_are_weighted_by_time() -> None:
    """A gauge rising from 0 to 4 in 40 ns and staying has over [20, 60) the mean of its trapezoids."""
    found = server_statistics(samples("v:running", (0, 0.0), (40, 4.0), (80, 4.0)), NAMES, 20, 60)
    assert found.running_mean == pytest.approx((3.0 * 20 + 4.0 * 20) / 40)
    assert found == ServerStatistics(running_mean=found.running_mean)


def test_engines_are_added_up_and_caches_averaged() -> None:
    """Two engines' queues add, their KV usage is averaged and the fullest gives the maximum."""
    both = [
        *samples("v:waiting", (0, 3.0), (10, 3.0)), *samples("v:waiting", (0, 1.0), (10, 1.0), engine="1"),
        *samples("v:kv", (0, 0.2), (10, 0.2)), *samples("v:kv", (0, 0.4), (5, 0.8), (10, 0.4), engine="1"),
    ]  # fmt: skip
    found = server_statistics(both, NAMES, 0, 10)
    assert (found.waiting_mean, found.kv_usage_max) == (4.0, 0.8)
    assert found.kv_usage_mean == pytest.approx((0.2 + 0.6) / 2)


def test_counters_are_told_by_their_increase() -> None:
    """Counters carry `_total`, count only what falls into the window, and go on after a restart."""
    counted = [
        *samples("v:preemptions_total", (0, 100.0), (10, 110.0), (20, 3.0), (30, 5.0)),
        *samples("v:queries_total", (0, 0.0), (30, 300.0)), *samples("v:hits_total", (0, 0.0), (30, 60.0)),
    ]  # fmt: skip
    assert server_statistics(counted, NAMES, 0, 30).preemptions == pytest.approx(10 + 3 + 2)
    part = server_statistics(counted, NAMES, 5, 25)
    assert part.preemptions == pytest.approx(5 + 3 + 1)
    assert part.prefix_hit_share == pytest.approx(0.2)


def test_what_the_server_does_not_tell_stays_unknown() -> None:
    """Without samples, without a window, or without any query there is no number, not a zero."""
    assert server_statistics([], NAMES, 0, 10) == ServerStatistics()
    assert server_statistics(samples("v:running", (0, 1.0)), NAMES, 5, 5) == ServerStatistics()
    quiet = [*samples("v:queries", (0, 7.0), (9, 7.0)), *samples("v:hits", (0, 1.0), (9, 1.0))]
    assert server_statistics(quiet, NAMES, 0, 9).prefix_hit_share is None


@given(st.lists(st.tuples(st.integers(0, 1000), st.floats(0, 100)), min_size=1, max_size=20), st.randoms())
def test_a_mean_lies_between_the_extremes_in_any_order(values: list[tuple[int, float]], shuffler: object) -> None:
    """The time-weighted mean is within what was sampled, and the order of samples does not matter."""
    distinct = list(dict(values).items())
    shuffled = list(distinct)
    shuffler.shuffle(shuffled)  # type: ignore[attr-defined]
    found = server_statistics(samples("v:running", *distinct), NAMES, 100, 900)
    assert server_statistics(samples("v:running", *shuffled), NAMES, 100, 900) == found
    assert found.running_mean is not None
    sampled = [value for _, value in distinct]
    assert min(sampled) - 1e-9 <= found.running_mean <= max(sampled) + 1e-9
