"""Whether two curves really differ: laws of the comparison, its errors, and what it refuses."""

from __future__ import annotations

import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from giq.curve.comparison import Comparison, compare, refuse_other_question
from giq.curve.curve import Curve
from giq.curve.point import Estimate
from giq.curve.targets import Target
from giq.documents import replace
from giq.errors import IncompatibleError
from tests.curve.measured_curves import RATES, SLOTS, config, curve, open_point, workload

TARGETS = (Target("ttft", 0.3), Target("tpot", 0.08))
CURVES = st.builds(
    curve,
    slowness=st.floats(0.5, 2.0),
    width=st.floats(0.0, 0.4),
    rates=st.lists(st.sampled_from((0.5, 1.0, 1.7, 2.0, 3.0, 4.0, 4.5)), min_size=1, unique=True).map(sorted),
    slots=st.lists(st.sampled_from(SLOTS), unique=True),
)
OPPOSITE = {"faster": "slower", "slower": "faster"}


def verdicts(found: Comparison) -> dict[tuple[str, str], str]:
    """The verdict on each thing at each load."""
    return {(item.what, item.load): item.verdict for item in found.differences}


@given(CURVES)
@settings(max_examples=25, deadline=None)
def test_a_curve_never_differs_from_itself(one: Curve) -> None:
    """Every ratio of a curve to itself is 1 and no verdict is that they differ."""
    found = compare(one, one, TARGETS)

    assert not found.differs
    assert all(item.ratio is None or item.ratio.value == 1 for item in found.differences)
    assert found.settings == ()


@given(CURVES, CURVES)
@settings(max_examples=25, deadline=None)
def test_b_against_a_is_the_mirror_of_a_against_b(a: Curve, b: Curve) -> None:
    """Swapped curves give the same comparisons with inverse ratios and intervals and opposite verdicts."""
    there, back = compare(a, b, TARGETS), compare(b, a, TARGETS)

    expected = {key: OPPOSITE.get(verdict, verdict) for key, verdict in verdicts(there).items()}
    assert verdicts(back) == expected
    others = {(item.what, item.load): item.ratio for item in back.differences}
    for item in there.differences:
        other = others[item.what, item.load]
        assert (item.ratio is None) == (other is None)
        if item.ratio and other and item.ratio.lo and other.hi:
            assert item.ratio.value * other.value == pytest.approx(1)
            assert item.ratio.lo * other.hi == pytest.approx(1)


@given(CURVES, CURVES, st.randoms())
@settings(max_examples=15, deadline=None)
def test_the_order_of_points_makes_no_difference(a: Curve, b: Curve, chance: random.Random) -> None:
    """Shuffled points give the same comparison."""
    first, second = (
        Curve(one.config, one.workload, tuple(chance.sample(one.points, len(one.points)))) for one in (a, b)
    )

    assert compare(first, second, TARGETS) == compare(a, b, TARGETS)


def test_a_slower_curve_is_told_at_every_common_load() -> None:
    """Half again as slow with intervals of ± 5 % is slower everywhere, in capacity too."""
    found = compare(curve(), curve(slowness=1.5), TARGETS)

    at_loads = [item for item in found.differences if item.unit == "s"]
    assert len(at_loads) == 3 * len(RATES)
    assert {item.verdict for item in at_loads} == {"slower"}
    assert verdicts(found)["capacity at the targets", "–"] == "slower"
    assert all(item.ratio and item.ratio.value == pytest.approx(1.5) for item in at_loads)


def test_wide_intervals_show_no_difference_and_missing_ones_cannot_tell() -> None:
    """10 % slower within ± 30 % is no difference shown; without intervals nothing can be told."""
    wide = compare(curve(width=0.3), curve(slowness=1.1, width=0.3))
    bare = replace(open_point(2.0), ttft_scheduled=replace(open_point(2.0).ttft, p90=Estimate(value=0.2)))
    without = compare(Curve(config(), workload(), (bare,)), curve())

    assert not wide.differs
    assert wide.can_tell
    assert verdicts(without)["p90 TTFT", "2.00 req/s"] == "cannot tell"


def test_between_measured_rates_values_are_interpolated_inside_both_ranges_only() -> None:
    """Curves without a common rate are compared at each other's rates where both were measured."""
    found = compare(curve(rates=(1.0, 3.0)), curve(rates=(2.0, 4.0)))

    loads = {item.load for item in found.differences if item.unit == "s"}
    assert loads == {"2.00 req/s", "3.00 req/s"}
    assert all(item.interpolated for item in found.differences if item.unit == "s")


def test_false_differences_are_rare_over_all_that_is_compared() -> None:
    """Of 400 pairs of equal servers, measured with noise as wide as told, at most 10 % (+ 3 sigma) differ at all."""
    rng = np.random.default_rng(7)
    width = 0.1

    def noisy() -> Curve:
        points = []
        for rate in RATES:
            point = open_point(rate)
            metrics = {}
            for name in ("ttft_scheduled", "tpot", "latency_scheduled"):
                value = point.metric(name).at("p90")
                assert value is not None
                told = value.value * np.exp(rng.normal(0, width / 1.645))
                p90 = replace(value, value=told, lo=told * np.exp(-width), hi=told * np.exp(width))
                metrics[name] = replace(point.metric(name), p90=p90)
            points.append(replace(point, **metrics))
        return Curve(config(), workload(), tuple(points))

    wrong = sum(compare(noisy(), noisy()).differs for _ in range(400))

    assert wrong <= 0.1 * 400 + 3 * (0.1 * 0.9 * 400) ** 0.5
    assert wrong > 0  # with no chance of error at all it could not find anything


def test_other_questions_are_refused_by_field_and_both_values() -> None:
    """Another workload or model is refused; another accelerator or version is what one compares, and is named."""
    other_work = Curve(config(), workload(output_tokens=256), curve().points)
    other_model = Curve(config(model="gemma-2-2b"), workload(), curve().points)
    other_unit = Curve(config("nvidia-h100-80gb", server_version="0.33.0"), workload(), curve().points)

    with pytest.raises(IncompatibleError, match=r"workload\.output_tokens\.mean is 128\.0 in one and 256\.0"):
        refuse_other_question(curve(), other_work)
    with pytest.raises(IncompatibleError, match="model is 'llama-3-8b' in one and 'gemma-2-2b'"):
        refuse_other_question(curve(), other_model)
    refuse_other_question(curve(), other_unit)
    assert compare(curve(), other_unit).settings == (
        ("server_version", "0.32.0", "0.33.0"), ("accelerator", "nvidia-l4", "nvidia-h100-80gb"),
    )  # fmt: skip


def test_a_lower_bound_can_still_differ() -> None:
    """Capacity that was not reached is surely higher than one far below it, and cannot be told from one above."""
    bound = Curve(config(), workload(), tuple(open_point(rate, slowness=0.1) for rate in RATES))
    slow = curve(slowness=2.0)

    found = compare(slow, bound, (Target("ttft", 0.3),))

    assert verdicts(found)["capacity at the targets", "–"] == "faster"
    (capacity,) = [item for item in found.differences if item.what.startswith("capacity")]
    assert capacity.b is not None
    assert capacity.b.hi == float("inf")
