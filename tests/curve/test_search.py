"""The search brackets the knee and the capacity of a server whose law is known, within its budget."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from giq.curve import (
    Curve,
    Distribution,
    Estimate,
    Finished,
    Point,
    SearchPlan,
    Target,
    capacity,
    next_load,
    saturation,
)
from giq.workload import ClosedLoad, Load, OpenLoad

MakePoint = Callable[..., Point]
MakeCurve = Callable[[Iterable[Point]], Curve]
Server = Callable[[Load], Point]


@pytest.fixture(scope="session")
def server(make_point: MakePoint, same: Callable[..., Distribution]) -> Callable[[float, float], Server]:
    """A server that completes at most *limit* req/s, with TTFT base / (1 - rate / limit)."""

    def build(limit: float, base: float) -> Server:
        def answer(load: Load) -> Point:
            if isinstance(load, ClosedLoad):
                done = limit * load.concurrency / (load.concurrency + 10)
                ttft = same(base * (1 + load.concurrency / 10))
                return make_point("closed", done, concurrency=float(load.concurrency), ttft=ttft, point_id=str(load))
            if load.rate_rps < limit:
                told = same(base / (1 - load.rate_rps / limit))
                return make_point("open", load.rate_rps, ttft_scheduled=told, point_id=str(load))
            return make_point(
                "open", load.rate_rps, ttft_scheduled=same(1000 * base), point_id=str(load), achieved_rps=0.9 * limit,
                flags=("NOT_STEADY",), in_flight_slope=Estimate(value=1.0, lo=0.9, hi=1.1),
            )  # fmt: skip

        return answer

    return build


def searched(answer: Server, plan: SearchPlan) -> tuple[list[Load], list[Point], Finished]:
    """Every load tried until the search is finished, with its points."""
    loads: list[Load] = []
    points: list[Point] = []
    while True:
        following = next_load(points, plan)
        if isinstance(following, Finished):
            return loads, points, following
        assert len(loads) < 100
        loads.append(following)
        points.append(answer(following))


def test_rungs_double_until_the_plateau_then_rates_bracket_the_knee(server: Callable[..., Server]) -> None:
    """Concurrency 1, 2, 4 ... to where a doubling gains below 5 %, then shares of the plateau up to overload."""
    loads, points, finished = searched(server(10.0, 0.1), SearchPlan())
    rungs = [load.concurrency for load in loads if isinstance(load, ClosedLoad)]
    rates = [load.rate_rps for load in loads if isinstance(load, OpenLoad)]
    assert rungs == [1, 2, 4, 8, 16, 32, 64, 128, 256]
    plateau = points[len(rungs) - 1].achieved_rps
    assert rates[:5] == [float(f"{share * plateau:.4g}") for share in (0.5, 0.7, 0.85, 0.95, 1.1)]
    assert "past saturation" in finished.reason


def test_a_missed_target_and_little_gain_end_the_rungs(server: Callable[..., Server]) -> None:
    """Below 10 % gain more concurrency is pointless once TTFT is missed."""
    loads, _, _ = searched(server(10.0, 0.1), SearchPlan(targets=(Target("ttft", 0.5),)))
    assert max(load.concurrency for load in loads if isinstance(load, ClosedLoad)) == 128


def test_the_highest_concurrency_is_kept(server: Callable[..., Server]) -> None:
    """A rung never exceeds the plan's limit, and rates go up until the load is past saturation all the same."""
    loads, points, _ = searched(server(10.0, 0.1), SearchPlan(max_concurrency=24))
    assert [load.concurrency for load in loads if isinstance(load, ClosedLoad)] == [1, 2, 4, 8, 16, 24]
    assert points[-1].load_kind == "open"
    assert any("NOT_STEADY" in point.flags for point in points)


@settings(max_examples=60)
@given(st.floats(0.05, 2000), st.floats(0.01, 5), st.floats(1.05, 30))
def test_the_capacity_found_is_that_of_the_server(
    server: Callable[..., Server], make_curve: MakeCurve, limit: float, base: float, factor: float
) -> None:
    """For any speed and target the search ends by itself, and the capacity is within 10 % of the truth."""
    target = Target("ttft", base * factor)
    truth = limit * (1 - 1 / factor)
    _, points, finished = searched(server(limit, base), SearchPlan(targets=(target,), max_points=40))
    assert str(target) in finished.reason
    found = capacity(make_curve(points), [target])
    stable = saturation(make_curve(points))
    assert stable.reached
    if found.rate is None:
        assert truth < 0.13 * limit  # rates below an eighth of the plateau are not tried
    else:
        assert found.rate.value <= truth * 1.1
        assert found.rate.value >= truth * 0.89


@given(st.integers(1, 30), st.floats(0.1, 100), st.integers(1, 2048), st.floats(0.01, 10))
def test_a_search_keeps_its_budget_and_repeats_nothing(
    server: Callable[..., Server], most: int, limit: float, concurrency: int, seconds: float
) -> None:
    """Never more than max_points, never one load twice, and always a reason."""
    plan = SearchPlan(targets=(Target("ttft", seconds),), max_points=most, max_concurrency=concurrency)
    loads, points, finished = searched(server(limit, 0.1), plan)
    assert len(points) <= most
    assert len({str(load) for load in loads}) == len(loads)
    assert finished.reason
    rungs = [load.concurrency for load in loads if isinstance(load, ClosedLoad)]
    assert all(later == min(2 * earlier, concurrency) for earlier, later in pairwise(rungs))
    assert most < 4 or any(isinstance(load, OpenLoad) for load in loads)


@given(st.integers(0, 20), st.randoms(use_true_random=False))
def test_the_order_of_points_never_matters(server: Callable[..., Server], kept: int, shuffler: Any) -> None:
    """The same points in another order lead to the same next load."""
    plan = SearchPlan(targets=(Target("ttft", 0.4),))
    points = searched(server(7.0, 0.1), plan)[1][:kept]
    shuffled = list(points)
    shuffler.shuffle(shuffled)
    assert next_load(points, plan) == next_load(shuffled, plan)


def test_a_server_that_never_answers_is_given_up(make_point: MakePoint) -> None:
    """When no request succeeded there is nothing to search."""
    dead = make_point("closed", 0.0, concurrency=1.0, flags=("ERRORS",))
    assert next_load([dead], SearchPlan()) == Finished("no request succeeded")


def test_refusals_end_the_rungs(make_point: MakePoint) -> None:
    """Once requests fail, more concurrency is not tried."""
    points = [
        make_point("closed", 2.0, concurrency=1.0),
        make_point("closed", 4.0, concurrency=2.0, flags=("ERRORS",), error_share=0.2),
    ]
    assert next_load(points, SearchPlan()) == OpenLoad(rate_rps=2.0)


def test_a_late_client_tells_nothing_of_the_server(server: Callable[..., Server]) -> None:
    """When every open-loop point was spoilt by the client the search ends without believing them."""

    def late(load: Load) -> Point:
        point = server(10.0, 0.1)(load)
        spoilt = {name: getattr(point, name) for name in point.__struct_fields__}
        return Point(**(spoilt | {"flags": ("GENERATOR_LATE",)})) if isinstance(load, OpenLoad) else point

    _, points, finished = searched(late, SearchPlan(targets=(Target("ttft", 0.4),)))
    assert "met at no rate" in finished.reason
    assert max(point.offered_rps or 0 for point in points) < 12
    assert not math.isinf(len(points))
