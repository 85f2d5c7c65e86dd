"""When the client's own error could change what a point answers."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from giq.curve.client_error import ClientCalibration, ClientError, LoopLag, Spread, client_bound, judged
from giq.curve.point import Distribution, Estimate, Point, Provenance
from giq.curve.targets import Target, TargetMetric
from giq.documents import replace

QUIET = LoopLag(mean=0.0005, p50=0.0005, p90=0.001, p99=0.0012)
TIMES = st.floats(1e-4, 100.0)


def spread(seconds: float) -> Spread:
    """The same error at every percentile."""
    return Spread(p50=seconds, p90=seconds, p99=seconds)


def error(seconds: float = 0.001, **changes: Any) -> ClientError:
    """A client that adds so much to everything, at 64 streams and 5,800 tokens/s."""
    found: dict[str, Any] = {
        "streams": 64, "output_tokens": 40, "requests": 128, "tokens_per_s": 5800.0, "requests_per_s": 145.0,
        "ttft": spread(seconds), "itl": spread(seconds), "tpot": spread(seconds / 39), "latency": spread(seconds),
        "shortfall": 0.0, "cpu_share": 0.1, "loop_lag_p99_s": 0.001, "server_late_p50_s": 1e-5,
        "server_late_p99_s": 1e-4, "measured_at": "2026-11-21T00:00:00+00:00",
    }  # fmt: skip
    return ClientError(**{**found, **changes})


def flat(seconds: float) -> Distribution:
    """The same value at every statistic."""
    value = Estimate(value=seconds)
    return Distribution(mean=value, p50=value, p90=value, p95=value, p99=value)


def point(ttft_s: float = 0.1, tpot_s: float = 0.02, tokens: float = 100, **changes: Any) -> Point:
    """A closed loop of 32 with these times."""
    latency = flat(ttft_s + tpot_s * (tokens - 1))
    found: dict[str, Any] = {
        "point_id": "p001", "load_kind": "closed", "concurrency": 32.0, "achieved_rps": 10.0, "in_flight_mean": 32.0,
        "error_share": 0.0, "window_s": 30.0, "n_requests": 300, "input_tokens_mean": 100.0,
        "output_tokens_mean": tokens, "input_tps": 1000.0, "output_tps": 1000.0, "total_tps": 2000.0,
        "ttft": flat(ttft_s), "tpot": flat(tpot_s), "itl": flat(tpot_s), "latency": latency,
        "accelerator_seconds": 30.0,
        "provenance": Provenance(evidence="measured", hardware_source="declared", source="test", giq_version="0"),
    }  # fmt: skip
    return Point(**{**found, **changes})


@pytest.mark.parametrize(
    ("measured_ms", "error_ms", "counts"),
    [(295, 30, False), (305, 30, True), (329, 30, True), (331, 30, False), (305, 14, False), (2000, 30, False)],
)
def test_an_error_counts_where_it_decides_about_a_target(measured_ms: float, error_ms: float, counts: bool) -> None:
    """A value above 300 ms that may truly be below counts, unless the error is below 5 % of the limit."""
    found = client_bound(point(measured_ms / 1e3), [Target("ttft", 0.3)], error(error_ms / 1e3), QUIET)
    assert bool(found) is counts
    assert all("TTFT" in reason and f"{error_ms:.3g}" in reason for reason in found)


def test_tpot_may_err_both_ways() -> None:
    """The difference of two late stamps may be too small as well: a target that is just met counts."""
    exact, late = error(0.001), error(0.001, tpot=spread(0.01), output_tokens=101)
    just_met = point(tpot_s=0.045, tokens=101)
    assert not client_bound(just_met, [Target("tpot", 0.05)], exact, QUIET)
    assert client_bound(just_met, [Target("tpot", 0.05)], late, QUIET)


def test_longer_answers_have_a_smaller_error_of_tpot() -> None:
    """One late stamp is shared out over the tokens of an answer."""
    assert error(0.039).of("tpot", "p90", 40) == pytest.approx(0.001)
    assert error(0.039).of("tpot", "p90", 391) == pytest.approx(0.0001)


@pytest.mark.parametrize(("ttft_ms", "error_ms", "counts"), [(50, 4, False), (50, 13, True), (15, 1.5, False)])
def test_without_targets_figures_must_not_be_the_clients_own(ttft_ms: float, error_ms: float, counts: bool) -> None:
    """4 ms of 50 are no matter, a quarter is."""
    assert bool(client_bound(point(ttft_ms / 1e3), [], error(error_ms / 1e3), QUIET)) is counts


def test_lag_while_measuring_counts_as_error() -> None:
    """A client that was exact when calibrated, and starved while it measured, is not believed."""
    starved = LoopLag(mean=0.01, p50=0.001, p90=0.03, p99=0.2)
    assert not client_bound(point(), [], error(), QUIET)
    assert client_bound(point(), [], error(), starved)
    assert client_bound(point(), [], None, starved)


def test_a_client_that_slows_a_closed_loop_counts() -> None:
    """Where its own time is more than 5 % of a request's the rate is its own, whatever the targets are."""
    short = point(ttft_s=0.02, tpot_s=0.001, tokens=8)
    reasons = client_bound(short, [Target("ttft", 1.0)], error(0.004), QUIET)
    assert len(reasons) == 1
    assert "rate" in reasons[0]
    assert not client_bound(replace(short, load_kind="open"), [Target("ttft", 1.0)], error(0.004), QUIET)


@given(
    st.sampled_from(["ttft", "itl", "tpot", "latency"]), TIMES, TIMES, st.floats(0, 1), st.sampled_from(["p50", "p99"])
)
def test_an_error_that_cannot_move_a_value_across_its_target_is_no_matter(
    metric: TargetMetric, value: float, limit: float, own: float, percentile: str
) -> None:
    """Where value and value ± error lie on one side of the limit, an open loop is never flagged."""
    open_loop = replace(point(load_kind="open", concurrency=None), **{metric: flat(value)})
    found = client_bound(open_loop, [Target(metric, limit, percentile)], error(own, tpot=spread(own)), QUIET)
    shift = error(own, tpot=spread(own)).of(metric, percentile, 100)
    same_side = (value - shift > limit) or (value + shift <= limit)
    if same_side:
        assert not found
    if metric != "tpot" and value <= limit:
        assert not found


@given(TIMES, st.floats(0, 1), st.floats(0, 1))
def test_a_larger_error_never_clears_a_point(ttft_s: float, less: float, more: float) -> None:
    """Without targets what is flagged at one error is flagged at every larger one."""
    less, more = sorted((less, more))
    if client_bound(point(ttft_s), [], error(less), QUIET):
        assert client_bound(point(ttft_s), [], error(more), QUIET)


def calibration(*errors: ClientError) -> ClientCalibration:
    """A calibration of one worker."""
    return ClientCalibration(errors=errors, workers=1, cores=2, cached=False)


def test_the_next_higher_load_bounds_the_error() -> None:
    """A load takes the error of the smallest calibrated load that is no less in streams, tokens and requests."""
    small, large = error(0.001), error(0.004, streams=256, tokens_per_s=23000.0, requests_per_s=570.0)
    client = calibration(large, small)
    assert client.at(64, 5800, 145) == small
    assert client.at(65, 100, 1) == large
    assert client.at(10, 6000, 1) == large
    assert client.at(10, 100, 200) == large
    assert client.at(257, 1, 1) is None


def test_points_carry_the_bound_and_say_where_there_is_none() -> None:
    """The bound is the worst p99; beyond the highest calibrated load it is null, and that is said, not flagged."""
    client = calibration(error(0.001, itl=spread(0.003)))
    bounded, nothing = judged(point(), [], client, QUIET)
    beyond, reasons = judged(point(concurrency=100.0), [], client, QUIET)
    unknown, silent = judged(point(), [], None, QUIET)
    assert (bounded.client_error_s, nothing) == (0.003, ())
    assert (beyond.client_error_s, beyond.flags) == (None, ())
    assert "beyond" in reasons[0]
    assert (unknown.client_error_s, silent) == (None, ())


def test_a_bound_point_is_flagged_once_and_not_valid() -> None:
    """CLIENT_BOUND invalidates, beside the flags that were there."""
    flagged, _ = judged(point(0.02, flags=("LENGTHS_DIFFER", "CLIENT_BOUND")), [], calibration(error(0.01)), QUIET)
    assert flagged.flags == ("LENGTHS_DIFFER", "CLIENT_BOUND")
    assert not flagged.valid
