"""The search finds the plateau and the capacity of a server whose law is known, within its budget."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from giq.catalog.use_cases import Lengths
from giq.curve import (
    Curve,
    Distribution,
    Estimate,
    Finished,
    Point,
    Probe,
    SearchPlan,
    Target,
    capacity,
    next_probe,
    saturation,
)
from giq.workload import ClosedLoad, Load, OpenLoad, Workload

MakePoint = Callable[..., Point]
MakeCurve = Callable[[Iterable[Point]], Curve]
Server = Callable[[Load, int], Point]
WORKLOAD = Workload(input_tokens=Lengths(mean=100), output_tokens=Lengths(mean=50))
HELD = 20_000
"""Each load is held for as long as the server completes so many requests at most."""


@pytest.fixture(scope="session")
def server(make_point: MakePoint, same: Callable[..., Distribution]) -> Callable[[float, float], Server]:
    """A server that completes at most *limit* req/s, with TTFT base / (1 - rate / limit), known to 2 %."""

    def build(limit: float, base: float) -> Server:
        def seen(kind: str, rate: float, ttft: float, number: int, **more: Any) -> Point:
            told = same(ttft, ttft / 1.02, ttft * 1.02)
            known = {
                "point_id": f"p{number:03d}", "run_id": "test", "ttft": told, "ttft_scheduled": told, "latency": told,
                "window_s": HELD / limit, "n_requests": max(round(rate * HELD / limit), 1),
            }  # fmt: skip
            return make_point(kind, rate, **(known | more))

        def answer(load: Load, number: int) -> Point:
            if isinstance(load, ClosedLoad):
                done = limit * load.concurrency / (load.concurrency + 10)
                return seen("closed", done, base * (1 + load.concurrency / 10), number, concurrency=load.concurrency)
            if load.rate_rps < limit:
                return seen("open", load.rate_rps, base / (1 - load.rate_rps / limit), number)
            rising = Estimate(value=1.0, lo=0.9, hi=1.1)
            return seen(
                "open", load.rate_rps, 1000 * base, number, achieved_rps=0.9 * limit, flags=("NOT_STEADY",),
                in_flight_slope=rising,
            )  # fmt: skip

        return answer

    return build


def plan(*targets: Target, **more: Any) -> SearchPlan:
    """A search for the capacity at *targets*."""
    return SearchPlan(targets=targets, workload=WORKLOAD, **more)


def searched(answer: Server, asked: SearchPlan) -> tuple[list[Probe], list[Point], Finished]:
    """Every load tried until the search is finished, with its points; each is held for as long as it may be."""
    probes: list[Probe] = []
    points: list[Point] = []
    spent = 0.0
    while True:
        following = next_probe(points, asked, spent)
        if isinstance(following, Finished):
            return probes, points, following
        assert len(probes) < 100
        assert following.longest_s > 0
        assert spent + following.longest_s <= spent + following.cut_s <= asked.budget_s
        spent += following.longest_s if math.isfinite(asked.budget_s) else 0.0
        probes.append(following)
        points.append(answer(following.load, len(points)))


def rungs_of(probes: Iterable[Probe]) -> list[int]:
    """The concurrencies of the closed-loop loads."""
    return [probe.load.concurrency for probe in probes if isinstance(probe.load, ClosedLoad)]


def rates_of(probes: Iterable[Probe]) -> list[float]:
    """The rates of the open-loop loads."""
    return [probe.load.rate_rps for probe in probes if isinstance(probe.load, OpenLoad)]


def test_rungs_grow_to_the_plateau_then_rates_go_up_to_overload(server: Callable[..., Server]) -> None:
    """Concurrency by 4, by 2 near the plateau, to where a doubling gains below 3 %; then shares of it past overload."""
    probes, points, finished = searched(server(10.0, 0.1), plan())
    assert rungs_of(probes) == [8, 32, 128, 256, 512]
    plateau = saturation_of(points[:5])
    assert rates_of(probes) == [float(f"{share * plateau:.4g}") for share in (0.5, 0.7, 0.85, 0.95, 1.1)]
    assert "level off" in finished.reason


def saturation_of(points: list[Point]) -> float:
    """The plateau that the rungs tell."""
    from tests.curve.conftest import curve

    found = saturation(curve(points)).rate
    assert found is not None
    return found.value


@given(st.floats(0.31, 1.0))
def test_a_rung_no_more_than_fills_the_kv_cache(make_point: MakePoint, used: float) -> None:
    """Where a rung tells how full the cache is, the next has so many slots as surely fill it, and more than before."""
    rungs = [
        make_point("closed", rate, concurrency=slots, point_id=f"p{slots}", kv_usage_mean=share)
        for slots, rate, share in ((8, 1.0, used / 4), (32, 3.0, used))
    ]
    following = next_probe(rungs, plan(Target("ttft", 1.0)))

    assert isinstance(following, Probe)
    assert isinstance(following.load, ClosedLoad)
    assert 32 / used < following.load.concurrency <= 1.6 * 32 / used + 1


def test_the_highest_concurrency_is_kept(server: Callable[..., Server]) -> None:
    """A rung never exceeds the plan's limit, and rates go up until the load is past saturation all the same."""
    probes, points, _ = searched(server(10.0, 0.1), plan(max_concurrency=24))
    assert rungs_of(probes) == [8, 24]
    assert any("NOT_STEADY" in point.flags for point in points)


@settings(max_examples=25)
@given(st.floats(0.05, 2000), st.floats(0.01, 5), st.floats(1.2, 8))
def test_the_capacity_found_is_that_of_the_server(
    server: Callable[..., Server], make_curve: MakeCurve, limit: float, base: float, factor: float
) -> None:
    """For any speed and target the search ends by itself, and the capacity is within 5 % of the truth."""
    target = Target("ttft", base * factor)
    truth = limit * (1 - 1 / factor)
    _, points, finished = searched(server(limit, base), plan(target, max_points=60))
    assert str(target) in finished.reason
    found = capacity(make_curve(points), [target])
    assert saturation(make_curve(points)).reached
    assert found.rate is not None
    assert found.rate.value == pytest.approx(truth, rel=0.05)


@given(st.floats(20, 4000), st.floats(0.1, 100), st.floats(0.01, 10))
def test_a_search_keeps_its_budget(server: Callable[..., Server], budget: float, limit: float, seconds: float) -> None:
    """No load is held for longer than what is left, and the search always ends with a reason."""
    _, points, finished = searched(server(limit, 0.1), plan(Target("ttft", seconds), budget_s=budget))
    assert finished.reason
    assert points


def test_without_a_budget_no_load_begins_after_the_longest_search() -> None:
    """Precision that costs hours has to be asked for."""
    assert isinstance(next_probe([], plan(longest_s=3600.0), 3599.0), Probe)
    finished = next_probe([], plan(longest_s=3600.0), 3600.0)
    assert isinstance(finished, Finished)
    assert "--budget" in finished.reason


@given(st.integers(1, 30), st.integers(1, 2048), st.floats(0.01, 10))
def test_a_search_is_bounded(server: Callable[..., Server], most: int, concurrency: int, seconds: float) -> None:
    """Never more than max_points, and rungs only grow; one request alone may be asked last, whether it misses."""
    asked = plan(Target("ttft", seconds), max_points=most, max_concurrency=concurrency)
    probes, points, _ = searched(server(7.0, 0.1), asked)
    assert len(points) <= most
    rungs = rungs_of(probes)
    grown = rungs[:-1] if len(rungs) > 1 and rungs[-1] == 1 else rungs
    assert grown == sorted(set(grown))
    assert max(rungs) <= concurrency


@given(st.floats(1, 20))
def test_no_rate_above_the_limit_is_offered(server: Callable[..., Server], limit: float) -> None:
    """Where the highest rate allowed is below the knee the search ends there and says so."""
    probes, _, finished = searched(server(100.0, 0.1), plan(Target("ttft", 1.0), max_rate_rps=limit))
    assert max(rates_of(probes)) <= limit
    assert "may be offered" in finished.reason


@given(st.integers(0, 20), st.randoms(use_true_random=False))
def test_the_order_of_points_never_matters(server: Callable[..., Server], kept: int, shuffler: Any) -> None:
    """The same points in another order lead to the same next load."""
    asked = plan(Target("ttft", 0.4))
    points = searched(server(7.0, 0.1), asked)[1][:kept]
    shuffled = list(points)
    shuffler.shuffle(shuffled)
    assert next_probe(points, asked) == next_probe(shuffled, asked)


def test_a_target_that_one_request_misses_is_given_up(server: Callable[..., Server]) -> None:
    """Where a request alone already misses the target no rate meets it, and little is spent on that."""
    probes, _, finished = searched(server(10.0, 1.0), plan(Target("ttft", 0.5)))
    assert "met at no rate" in finished.reason
    assert len(rates_of(probes)) <= 4


def test_a_server_that_never_answers_is_given_up(make_point: MakePoint) -> None:
    """When no request succeeded there is nothing to search."""
    dead = make_point("closed", 0.0, concurrency=1.0, flags=("ERRORS",))
    assert next_probe([dead], plan()) == Finished("no request succeeded")


def test_refusals_end_the_rungs(make_point: MakePoint) -> None:
    """Once requests fail, more concurrency is not tried."""
    points = [
        make_point("closed", 2.0, concurrency=1.0),
        make_point("closed", 4.0, concurrency=2.0, flags=("ERRORS",), error_share=0.2),
    ]
    following = next_probe(points, plan())
    assert isinstance(following, Probe)
    assert isinstance(following.load, OpenLoad)


def test_a_late_client_tells_nothing_of_the_server(server: Callable[..., Server]) -> None:
    """When every open-loop point was spoilt by the client the search ends without believing them."""

    def late(load: Load, number: int) -> Point:
        point = server(10.0, 0.1)(load, number)
        spoilt = {name: getattr(point, name) for name in point.__struct_fields__}
        return Point(**(spoilt | {"flags": ("GENERATOR_LATE",)})) if isinstance(load, OpenLoad) else point

    probes, points, _ = searched(late, plan(Target("ttft", 0.4)))
    assert max(rates_of(probes)) < 12
    assert len(points) <= 24
