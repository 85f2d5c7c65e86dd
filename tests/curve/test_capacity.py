"""Capacity and saturation: by hand, and by their laws."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from giq.curve import Attainment, Curve, Distribution, Estimate, Point, Target, capacity, saturation
from giq.curve.point import Expected

MakePoint = Callable[..., Point]
MakeCurve = Callable[[Iterable[Point]], Curve]
Same = Callable[..., Distribution]
TTFT = Target("ttft", 0.3)
RISING = Estimate(value=1.0, lo=0.5, hi=1.5)


@pytest.fixture(scope="session")
def opened(make_point: MakePoint, same: Same) -> Callable[..., Point]:
    """An open-loop point with that p90 TTFT and interval; *ttft* None: not told."""

    def build(
        rate: float, ttft: float | None, lo: float | None = None, hi: float | None = None, **fields: Any
    ) -> Point:
        told = {} if ttft is None else {"ttft_scheduled": same(ttft, lo, hi)}
        return make_point("open", rate, **told, **fields)

    return build


@pytest.fixture(scope="session")
def rung(make_point: MakePoint, same: Same) -> Callable[..., Point]:
    """A closed-loop point of that concurrency, completions and p90 TTFT."""

    def build(concurrency: float, achieved: float, ttft: float = 0.1, **fields: Any) -> Point:
        name = f"closed-{concurrency}-{achieved}"
        return make_point("closed", achieved, concurrency=concurrency, ttft=same(ttft), point_id=name, **fields)

    return build


def overload(
    opened: Callable[..., Point], rate: float, achieved: float, ttft: float, lo: float | None = None, **fields: Any
) -> Point:
    """A point past saturation."""
    known = {"achieved_rps": achieved, "in_flight_slope": RISING, "flags": ("NOT_STEADY",)}
    return opened(rate, ttft, lo, **(known | fields))


def test_capacity_is_interpolated_between_meeting_and_missing(
    opened: Callable[..., Point], make_curve: MakeCurve
) -> None:
    """Between 0.2 s at 4 and 0.6 s at 8 req/s 0.3 s is reached at 5; the interval is that of the curves."""
    points = [opened(2.0, 0.1, 0.1, 0.1), opened(4.0, 0.2, 0.1, 0.25), opened(8.0, 0.6, 0.5, 0.85)]
    found = capacity(make_curve(points), [TTFT])
    assert (found.status, found.limiting, found.nearest_miss) == ("met", TTFT, None)
    assert found.rate is not None
    assert [found.rate.value, found.rate.hi] == pytest.approx([5.0, 6.0])
    assert found.rate.lo == pytest.approx(4 + 4 * 0.05 / 0.6)
    assert "p90 TTFT" in found.reason


def test_what_is_expected_in_the_long_run_decides(opened: Callable[..., Point], make_curve: MakeCurve) -> None:
    """Where points tell what would come in the long run, not what chance made of it sets the capacity."""

    def told(rate: float, expected: float) -> Point:
        known = Expected(target=TTFT.key, value_s=expected, lo_s=expected / 1.02, hi_s=expected * 1.02)
        return opened(rate, 0.25, 0.24, 0.26, run_id="r", expected=(known,))

    found = capacity(make_curve([told(2.0, 0.2), told(4.0, 0.25), told(6.0, 0.4)]), [TTFT])
    assert found.rate is not None
    assert 4.0 < found.rate.value < 6.0


def test_a_dip_behind_a_miss_does_not_count(opened: Callable[..., Point], make_curve: MakeCurve) -> None:
    """A higher rate that meets the target again is of no use: every lower rate must meet it too."""
    points = [opened(1.0, 0.1), opened(2.0, 0.5), opened(3.0, 0.2), opened(4.0, 0.1)]
    found = capacity(make_curve(points), [TTFT])
    assert found.rate == Estimate(value=pytest.approx(1.5))  # type: ignore[arg-type]


def test_of_points_at_one_rate_the_worst_counts(opened: Callable[..., Point], make_curve: MakeCurve) -> None:
    """A rate measured twice meets the target only if both do."""
    points = [opened(1.0, 0.1), opened(2.0, 0.5, point_id="a"), opened(2.0, 0.2, point_id="b"), opened(3.0, 0.6)]
    assert capacity(make_curve(points), [TTFT]).rate == Estimate(value=pytest.approx(1.5))  # type: ignore[arg-type]


def test_to_infinite_latency_there_is_no_line(opened: Callable[..., Point], make_curve: MakeCurve) -> None:
    """When the first miss is infinite the last rate that meets the target is taken; what lies between is the doubt."""
    points = [opened(1.0, 0.1, 0.1, 0.1), opened(2.0, 0.2, 0.2, 0.2), opened(3.0, math.inf, math.inf, math.inf)]
    assert capacity(make_curve(points), [TTFT]).rate == Estimate(value=2.0, lo=2.0, hi=3.0)


def test_all_loads_that_meet_give_a_lower_bound(opened: Callable[..., Point], make_curve: MakeCurve) -> None:
    """Without a miss the highest rate is a lower bound, and said to be one."""
    found = capacity(make_curve([opened(1.0, 0.1, 0.1, 0.1), opened(2.0, 0.2, 0.2, 0.2)]), [TTFT])
    assert (found.status, found.limiting) == ("met_beyond_range", None)
    assert found.rate == Estimate(value=2.0, lo=2.0)
    assert "lower bound" in found.reason


def test_a_miss_at_the_lowest_load_is_unmet(opened: Callable[..., Point], make_curve: MakeCurve, same: Same) -> None:
    """The nearest miss names the target that is missed by the largest factor, its value, rate and point."""
    points = [opened(1.0, 0.4, tpot=same(0.2)), opened(2.0, 0.5, tpot=same(0.2))]
    found = capacity(make_curve(points), [TTFT, Target("tpot", 0.05)])
    assert (found.rate, found.status) == (None, "unmet")
    assert found.nearest_miss is not None
    assert (found.nearest_miss.target, found.nearest_miss.value.value) == (Target("tpot", 0.05), 0.2)
    assert (found.nearest_miss.rate_rps, found.nearest_miss.point_id) == (1.0, "open-1.0")
    assert found.reason == "at the lowest load measured p90 TPOT is 200 ms at 1.00 req/s, above 50.0 ms"


def test_the_tightest_of_several_targets_limits(
    opened: Callable[..., Point], make_curve: MakeCurve, same: Same
) -> None:
    """The capacity at several targets is the lowest of theirs."""
    points = [opened(1.0, 0.1, tpot=same(0.01)), opened(3.0, 0.5, tpot=same(0.05))]
    tpot = Target("tpot", 0.02)
    found = capacity(make_curve(points), [TTFT, tpot])
    assert found.limiting == tpot
    assert found.rate == Estimate(value=pytest.approx(1.5))  # type: ignore[arg-type]


def test_joint_attainment_is_told_and_can_be_demanded(opened: Callable[..., Point], make_curve: MakeCurve) -> None:
    """The share that meets all targets is interpolated at the capacity; demanding more of it lowers the rate."""
    shares = [(1.0, 0.1, 1.0), (2.0, 0.2, 0.95), (3.0, 0.4, 0.89)]
    points = [
        opened(rate, ttft, attainment=(Attainment(targets="ttft<0.3", joint=joint, goodput_rps=rate * joint),))
        for rate, ttft, joint in shares
    ]
    plain = capacity(make_curve(points), [TTFT])
    assert plain.joint_attainment == pytest.approx(0.92)
    strict = capacity(make_curve(points), [TTFT], attainment=0.97)
    assert strict.rate == Estimate(value=pytest.approx(1.6))  # type: ignore[arg-type]
    assert strict.joint_attainment == pytest.approx(0.97)
    assert (strict.limiting, strict.reason) == (None, "limited by 97 % of requests meeting all targets at once")
    assert capacity(make_curve(points[1:]), [TTFT], attainment=0.97).status == "unmet"
    assert capacity(make_curve(points), [Target("ttft", 0.31)], attainment=0.5).status == "no_points"


def test_interval_of_a_rate_that_the_joint_share_sets_is_not_known(
    opened: Callable[..., Point], make_curve: MakeCurve
) -> None:
    """The targets' own intervals say nothing of it, and it is no exact number; where a target limits, its own holds."""
    points = [
        opened(rate, ttft, ttft * 0.9, ttft * 1.1, attainment=(Attainment(targets="ttft<0.3", joint=s, goodput_rps=1),))
        for rate, ttft, s in ((1.0, 0.1, 1.0), (2.0, 0.2, 0.95), (3.0, 0.4, 0.89))
    ]
    by_share = capacity(make_curve(points), [TTFT], attainment=0.97).rate
    assert by_share is not None
    assert (by_share.lo, by_share.hi) == (None, None)
    assert capacity(make_curve(points), [TTFT], attainment=0.5) == capacity(make_curve(points), [TTFT])


def test_joint_attainment_over_a_cliff_is_not_less_than_the_percentiles_leave(
    opened: Callable[..., Point], make_curve: MakeCurve
) -> None:
    """Where p90 is read as met, 90 % of requests meet it, whatever the share interpolated over the same cliff says."""
    points = [
        opened(rate, ttft, attainment=(Attainment(targets="ttft<0.3", joint=joint, goodput_rps=0.0),))
        for rate, ttft, joint in [(1.0, 0.2, 1.0), (2.0, 0.4, 0.0)]
    ]
    found = capacity(make_curve(points), [TTFT])
    assert found.rate == Estimate(value=pytest.approx(1.5))  # type: ignore[arg-type]
    assert found.joint_attainment == pytest.approx(0.9)


def test_without_open_points_closed_ones_are_read_at_what_they_completed(
    rung: Callable[..., Point], opened: Callable[..., Point], make_curve: MakeCurve
) -> None:
    """One open point is not enough: closed ones stand in, and the reason says so."""
    points = [rung(1, 2.0, 0.1), rung(2, 4.0, 0.2), rung(4, 8.0, 0.6), opened(7.0, 0.2)]
    found = capacity(make_curve(points), [TTFT])
    assert found.rate == Estimate(value=pytest.approx(5.0))  # type: ignore[arg-type]
    assert "closed-loop" in found.reason


def test_more_concurrency_beyond_the_plateau_is_no_capacity(rung: Callable[..., Point], make_curve: MakeCurve) -> None:
    """A rung that completes no more than a lower one only adds latency, and the plateau limits."""
    points = [rung(4, 5.0, 0.1), rung(8, 9.0, 0.2), rung(16, 9.2, 0.25), rung(32, 9.1, 2.0)]
    found = capacity(make_curve(points), [TTFT])
    assert (found.status, found.limiting) == ("met", None)
    assert found.rate is not None
    assert found.rate.value == pytest.approx(9.1)  # of the rungs from 8 on
    assert "saturation" in found.reason


def test_an_overload_that_plainly_misses_ends_the_range(opened: Callable[..., Point], make_curve: MakeCurve) -> None:
    """An unsteady point closes the bracket only when its interval, or half its value, is above the target."""
    valid = [opened(1.0, 0.1, 0.1, 0.1), opened(2.0, 0.2, 0.2, 0.2)]
    for ttft, lo, status in [
        (5.0, 4.0, "met"),
        (5.0, None, "met"),
        (0.5, 0.2, "met_beyond_range"),
        (0.5, None, "met_beyond_range"),
    ]:
        found = capacity(make_curve([*valid, overload(opened, 3.0, 2.5, ttft, lo)]), [TTFT])
        assert found.status == status
        assert found.rate is not None
        assert found.rate.value == 2.0
        assert (found.rate.hi is None) == (status == "met_beyond_range")
        assert found.rate.hi is None or 2.5 < found.rate.hi <= 3.0  # saturation, or the overload
    late = opened(3.0, 5.0, 4.0, 6.0, flags=("NOT_STEADY", "GENERATOR_LATE"))
    assert capacity(make_curve([*valid, late]), [TTFT]).status == "met_beyond_range"
    below = capacity(make_curve([*valid, overload(opened, 0.5, 0.4, 5.0, 4.0)]), [TTFT])
    assert below.status == "unmet"
    assert below.nearest_miss is not None
    assert below.nearest_miss.rate_rps == 0.5


def test_nothing_to_judge_by_is_said(opened: Callable[..., Point], make_curve: MakeCurve) -> None:
    """No point, no valid point, and no point with that percentile are three reasons."""
    for points, words in [
        ([], "no load point"),
        ([opened(1.0, 0.1, flags=("ERRORS",)), opened(2.0, 0.1, flags=("TOO_FEW",))], "ERRORS, TOO_FEW"),
        ([opened(1.0, None), opened(2.0, None)], "tells the p90 TTFT"),
    ]:  # fmt: skip
        found = capacity(make_curve(points), [TTFT])
        assert (found.rate, found.status) == (None, "no_points")
        assert words in found.reason


def test_without_targets_the_capacity_is_what_is_stable(opened: Callable[..., Point], make_curve: MakeCurve) -> None:
    """Saturation where it was reached, otherwise the highest rate as a lower bound."""
    valid = [opened(1.0, 0.1), opened(2.0, 0.2)]
    bound = capacity(make_curve(valid), [])
    assert (bound.rate, bound.status) == (Estimate(value=2.0), "met_beyond_range")
    known = capacity(make_curve([*valid, overload(opened, 3.0, 2.5, 9.0)]), [])
    assert known.status == "met"
    assert known.rate == saturation(make_curve([*valid, overload(opened, 3.0, 2.5, 9.0)])).rate


def test_saturation_is_the_plateau_of_overload(opened: Callable[..., Point], make_curve: MakeCurve) -> None:
    """Completing less than 97 % of what is offered while in-flight rises shows the plateau and its doubt."""
    found = saturation(make_curve([opened(8.0, 0.1), overload(opened, 12.0, 10.0, 9.0)]))
    assert found.reached
    assert found.rate is not None
    counted = 10.0 * 1.645 / math.sqrt(10.0 * 60)  # of a Poisson count of 600, wider than the slope's 0.5
    assert [found.rate.value, found.rate.lo, found.rate.hi] == pytest.approx([10.0, 10.0 - counted, 10.0 + counted])
    unsure = overload(opened, 12.0, 10.0, 9.0, in_flight_slope=Estimate(value=2.0, lo=1.0, hi=4.0))
    assert saturation(make_curve([unsure])).rate == Estimate(value=10.0, lo=8.0, hi=11.0)
    assert "10.0 req/s" in found.reason


def test_the_plateau_is_pooled_and_a_collapse_left_out(opened: Callable[..., Point], make_curve: MakeCurve) -> None:
    """Completions within 5 % of the best are averaged over time; what a collapsing server completes is left out."""
    points = [
        overload(opened, 12.0, 10.0, 9.0),
        overload(opened, 13.0, 9.7, 9.0),
        overload(opened, 20.0, 6.0, 9.0),
    ]
    found = saturation(make_curve(points)).rate
    assert found is not None
    assert found.value == pytest.approx(9.85)


def test_saturation_is_not_below_what_a_valid_point_completed(
    opened: Callable[..., Point], make_curve: MakeCurve
) -> None:
    """Overload can lower completions: the highest that a steady point completed is sustained for sure."""
    found = saturation(make_curve([opened(11.0, 0.1), overload(opened, 12.0, 10.0, 9.0)]))
    assert found.rate is not None
    assert (found.rate.value, found.rate.hi) == (11.0, 11.0)
    assert found.rate.lo is not None
    assert found.rate.lo < 10.0


def test_what_is_not_past_saturation_is_no_plateau(opened: Callable[..., Point], make_curve: MakeCurve) -> None:
    """Keeping up, a slope that may be 0, or a late client: not reached, and the highest rate is a lower bound."""
    flat = Estimate(value=0.1, lo=-0.1, hi=0.3)
    for other in [
        opened(12.0, 0.2, achieved_rps=11.8, in_flight_slope=RISING, flags=("NOT_STEADY",)),
        opened(12.0, 0.2, achieved_rps=10.0, in_flight_slope=flat, flags=("NOT_STEADY",)),
        opened(12.0, 0.2, achieved_rps=10.0, in_flight_slope=RISING, flags=("GENERATOR_LATE",)),
    ]:
        found = saturation(make_curve([opened(8.0, 0.1), other]))
        assert (found.reached, found.rate) == (False, Estimate(value=8.0, lo=8.0))
    assert saturation(make_curve([])).rate is None


def test_a_server_that_refuses_saturates_where_that_begins(opened: Callable[..., Point], make_curve: MakeCurve) -> None:
    """Refusals keep in-flight flat, but what is completed is the plateau."""
    refusing = opened(12.0, 0.2, achieved_rps=9.0, flags=("ERRORS",))
    found = saturation(make_curve([opened(8.0, 0.1), refusing]))
    assert found.rate is not None
    assert (found.reached, found.rate.value) == (True, 9.0)


def test_saturation_of_a_closed_loop_is_where_doubling_gains_little(
    rung: Callable[..., Point], make_curve: MakeCurve
) -> None:
    """Below 5 % per doubling the plateau is reached; a step of less than a quarter is no evidence."""
    rising = [rung(1, 1.0), rung(2, 1.9), rung(4, 3.5)]
    assert not saturation(make_curve(rising)).reached
    assert not saturation(make_curve([*rising, rung(4.5, 3.51)])).reached
    found = saturation(make_curve([*rising, rung(8, 3.6)]))
    assert found.reached
    assert found.rate is not None
    assert found.rate.value == pytest.approx((3.5 + 3.6) / 2)


LATENCY = st.one_of(st.floats(0.01, 10), st.just(math.inf))


@st.composite
def cases(draw: st.DrawFn) -> list[tuple[str, float, float, float, float, tuple[str, ...], float, bool]]:
    """Points of any kind: kind, rate, latency, lower and upper part, flags, completed share, rising."""
    flags = st.sampled_from([(), (), (), ("NOT_STEADY",), ("ERRORS",), ("NOT_STEADY", "TOO_FEW"), ("LENGTHS_DIFFER",)])
    one = st.tuples(
        st.sampled_from(["open", "open", "closed"]), st.sampled_from([1.0, 2.0, 3.0, 4.0, 5.0, 7.5]), LATENCY,
        st.floats(0.3, 1), st.floats(1, 3), flags, st.floats(0.5, 1.02), st.booleans(),
    )  # fmt: skip
    return draw(st.lists(one, max_size=9))


@pytest.fixture(scope="session")
def build(make_point: MakePoint, make_curve: MakeCurve, same: Same) -> Callable[..., Curve]:
    """A curve of `cases`, its points in the order given."""

    def curve_of(described: Sequence[tuple[Any, ...]], order: Sequence[int] | None = None) -> Curve:
        points = []
        for number, (kind, rate, latency, low, high, flags, share, rises) in enumerate(described):
            told = same(latency, latency * low, latency * high)
            slope = RISING if rises else None
            done = rate * share if kind == "open" else rate
            points.append(
                make_point(
                    kind, rate, point_id=str(number), achieved_rps=done, flags=flags, ttft=told, ttft_scheduled=told,
                    in_flight_slope=slope, concurrency=2 * rate if kind == "closed" else None,
                )
            )  # fmt: skip
        return make_curve([points[i] for i in (order or range(len(points)))])

    return curve_of


@given(cases(), st.floats(0.01, 10), st.floats(1, 4))
def test_a_stricter_target_never_gives_more_capacity(
    build: Callable[..., Curve], described: list[Any], seconds: float, factor: float
) -> None:
    """Whatever the points, lowering the limit or adding a target never raises the capacity."""
    curve = build(described)
    strict, loose = Target("ttft", seconds), Target("ttft", seconds * factor)
    rates = [
        found.rate.value if found.rate else 0.0
        for found in (capacity(curve, [strict, loose]), capacity(curve, [strict]), capacity(curve, [loose]))
    ]
    assert rates == sorted(rates)


@given(cases(), st.floats(0.01, 10))
def test_capacity_stays_within_saturation_and_the_range(
    build: Callable[..., Curve], described: list[Any], seconds: float
) -> None:
    """Capacity never exceeds saturation or the highest valid rate, and every interval holds its value."""
    curve = build(described)
    found, stable = capacity(curve, [Target("ttft", seconds)]), saturation(curve)
    for estimate in (found.rate, stable.rate):
        if estimate is not None:
            assert estimate.lo is None or estimate.lo <= estimate.value
            assert estimate.hi is None or estimate.hi >= estimate.value
    if found.rate is not None:
        assert stable.rate is not None
        assert found.rate.value <= stable.rate.value
        assert found.rate.value <= max(point.offered_rps or point.achieved_rps for point in curve.valid_points)
    assert (found.rate is None) == (found.status in ("unmet", "no_points"))
    assert (found.nearest_miss is None) == (found.status != "unmet")


@given(cases(), st.floats(0.01, 10), st.randoms(use_true_random=False))
def test_the_order_of_points_never_matters(
    build: Callable[..., Curve], described: list[Any], seconds: float, shuffler: Any
) -> None:
    """Shuffled points give the same capacity and saturation."""
    order = list(range(len(described)))
    shuffler.shuffle(order)
    one, other = build(described), build(described, order)
    assert capacity(one, [Target("ttft", seconds)]) == capacity(other, [Target("ttft", seconds)])
    assert saturation(one) == saturation(other)
