"""The laws of a recommendation, on random noisy curves."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace as with_fields
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from giq.catalog.catalog import Catalog
from giq.catalog.configuration import ServingConfiguration
from giq.curve.capacity import capacity
from giq.curve.curve import Curve
from giq.curve.point import Distribution, Estimate, Point
from giq.curve.targets import PERCENTILES, Target
from giq.documents import replace
from giq.recommend.ranking import cost, rank
from giq.recommend.recommendation import Recommendation
from giq.recommend.requirement import Requirement
from giq.workload.workload import Workload

MakeCurves = Callable[[list[dict[str, Any]]], list[Curve]]

LOADS = (0.1, 0.3, 0.5, 0.8, 0.95, 1.2)
UNITS = st.fixed_dictionaries(
    {
        "unit": st.sampled_from([("alpha", 1), ("alpha", 2), ("beta", 1), ("beta", 4), ("gamma", 1)]),
        "knee": st.floats(0.5, 100),
        "base_s": st.floats(0.005, 0.4),
        "spread": st.floats(0, 0.5),
        "slower": st.lists(st.floats(0.5, 2.0), min_size=len(LOADS), max_size=len(LOADS)),
        "longer": st.lists(st.floats(0.9, 1.1), min_size=len(LOADS), max_size=len(LOADS)),
        "open": st.booleans(),
    }
)
SPECS = st.lists(UNITS, min_size=1, max_size=4, unique_by=lambda item: item["unit"])
RATES = st.none() | st.floats(0.1, 500)


@pytest.fixture(scope="session")
def make_curves(make_curve: Callable[..., Curve], make_config: Callable[..., ServingConfiguration]) -> MakeCurves:
    """Makes curves whose latencies and lengths are disturbed point by point."""

    def noisy(point: Point, slower: float, longer: float, is_open: bool) -> Point:
        disturbed = replace(
            point,
            ttft=_scaled(point.ttft, slower),
            ttft_scheduled=_scaled(point.ttft_scheduled, slower),
            output_tokens_mean=point.output_tokens_mean * longer,
            output_tps=point.output_tps * longer,
        )
        if is_open:
            return disturbed
        return replace(
            disturbed,
            load_kind="closed",
            offered_rps=None,
            concurrency=10 * (point.offered_rps or 0),
            in_flight_slope=None,
        )

    def curve(spec: dict[str, Any]) -> Curve:
        known = {name: spec[name] for name in ("knee", "base_s", "spread")}
        made = make_curve(make_config(*spec["unit"]), loads=LOADS, **known)
        noise = zip(made.points, spec["slower"], spec["longer"], strict=True)
        points = tuple(noisy(point, slower, longer, spec["open"]) for point, slower, longer in noise)
        return Curve(made.config, made.workload, points)

    return lambda specs: [curve(spec) for spec in specs]


def _scaled(distribution: Distribution, factor: float) -> Distribution:
    def scaled(item: Estimate | None) -> Estimate | None:
        if item is None:
            return None
        return Estimate(value=item.value * factor, lo=(item.lo or 0) * factor, hi=(item.hi or 0) * factor)

    return Distribution(
        mean=scaled(distribution.mean),
        p50=scaled(distribution.p50),
        p90=scaled(distribution.p90),
        p95=scaled(distribution.p95),
        p99=scaled(distribution.p99),
    )


def _best(found: Recommendation) -> float:
    first = found.row(1)
    known = None if first is None else cost(first, found.requirement)
    return math.inf if known is None else known.value


def _ask(workload: Workload, *targets: Target, rate: float | None = None) -> Requirement:
    return Requirement(model="tiny-8b", workload=workload, targets=targets, request_rate_rps=rate)


@given(SPECS, RATES, st.floats(0.01, 2), st.floats(0.3, 1), st.sampled_from(PERCENTILES))
@settings(deadline=None)
def test_stricter_target_never_costs_less(
    catalog: Catalog,
    chatbot: Workload,
    make_curves: MakeCurves,
    specs: list[dict[str, Any]],
    rate: float | None,
    seconds: float,
    share: float,
    percentile: Any,
) -> None:
    """A lower limit, a higher percentile or a further target never makes the best answer cheaper."""
    curves = make_curves(specs)
    loose = Target("ttft", seconds, percentile)
    higher = PERCENTILES[min(PERCENTILES.index(percentile) + 1, len(PERCENTILES) - 1)]
    base = _best(rank(curves, _ask(chatbot, loose, rate=rate), catalog))
    for stricter in (
        (Target("ttft", seconds * share, percentile),),
        (Target("ttft", seconds, higher),),
        (loose, Target("tpot", 0.03, percentile)),
    ):
        assert _best(rank(curves, _ask(chatbot, *stricter, rate=rate), catalog)) >= base * (1 - 1e-12)
    assert _best(rank(curves, _ask(chatbot, rate=rate), catalog)) <= base * (1 + 1e-12)


@given(SPECS, RATES, st.sampled_from(["alpha-1g", "alpha-2g", "beta-1g", "beta-4g"]), st.floats(0.05, 1))
@settings(deadline=None)
def test_cheaper_price_never_worsens_a_rank(
    catalog: Catalog,
    chatbot: Workload,
    make_curves: MakeCurves,
    specs: list[dict[str, Any]],
    rate: float | None,
    machine: str,
    share: float,
) -> None:
    """The unit whose machine becomes cheaper is ranked as high as before or higher."""
    (prices,) = catalog.price_lists
    hourly = {name: dict(row) for name, row in prices.usd_per_hour.items()}
    hourly[machine]["on-demand"] *= share
    cheaper = with_fields(catalog, price_lists=(replace(prices, usd_per_hour=hourly),))
    curves, asked = make_curves(specs), _ask(chatbot, Target("ttft", 0.5), rate=rate)

    def place(of: Catalog) -> int | None:
        rows = rank(curves, asked, of).rows
        return next((row.rank for row in rows if row.shape and row.shape.machine_type == machine), None)

    before, after = place(catalog), place(cheaper)
    assert (before is None) == (after is None)
    assert (after or 0) <= (before or 0)


@given(SPECS, RATES, st.randoms(use_true_random=False))
@settings(deadline=None, max_examples=50)
def test_order_never_matters(
    catalog: Catalog,
    chatbot: Workload,
    make_curves: MakeCurves,
    specs: list[dict[str, Any]],
    rate: float | None,
    random: Any,
) -> None:
    """Curves and their points in another order, or split into runs of one point, give the same recommendation."""
    curves, asked = make_curves(specs), _ask(chatbot, Target("ttft", 0.3), rate=rate)
    pieces = [Curve(curve.config, curve.workload, (point,)) for curve in curves for point in curve.points]
    random.shuffle(pieces)
    expected = rank(curves, asked, catalog)
    assert rank(pieces, asked, catalog) == expected
    assert rank(list(reversed(curves)), asked, catalog) == expected


@given(SPECS, RATES, st.floats(0.02, 2))
@settings(deadline=None)
def test_rows_are_sound(
    catalog: Catalog,
    chatbot: Workload,
    make_curves: MakeCurves,
    specs: list[dict[str, Any]],
    rate: float | None,
    seconds: float,
) -> None:
    """Intervals contain their value, ranks count up by cost, no price means no rank, no capacity beyond saturation."""
    curves, asked = make_curves(specs), _ask(chatbot, Target("ttft", seconds), rate=rate)
    found = rank(curves, asked, catalog)
    assert len(found.rows) + len(found.rejected) == len(curves)
    ranked = [row for row in found.rows if row.rank is not None]
    assert [row.rank for row in ranked] == list(range(1, len(ranked) + 1))
    assert [row.rank for row in found.rows[len(ranked) :]] == [None] * (len(found.rows) - len(ranked))
    costs = [known.value for row in ranked if (known := cost(row, asked)) is not None]
    assert costs == sorted(costs)
    for row in found.rows:
        assert (row.rank is None) == (row.price is None) == (row.config.main.accelerator == "gamma")
        if row.saturation is not None:
            assert row.capacity.value <= row.saturation.value * (1 + 1e-12)
        intervals = (row.capacity, row.usd_per_hour, row.usd_per_million_output, row.usd_per_million_input)
        for estimate in (item for item in intervals if item is not None):
            assert estimate.lo is None or estimate.lo <= estimate.value
            assert estimate.hi is None or estimate.hi >= estimate.value


@given(SPECS, st.floats(1e-4, 1e4))
@settings(deadline=None)
def test_mean_never_stands_for_a_percentile(
    catalog: Catalog, chatbot: Workload, make_curves: MakeCurves, specs: list[dict[str, Any]], factor: float
) -> None:
    """Other means beside the same percentiles change neither a capacity nor a rank."""
    curves, target = make_curves(specs), Target("ttft", 0.3)
    moved = [
        Curve(curve.config, curve.workload, tuple(_other_means(point, factor) for point in curve.points))
        for curve in curves
    ]
    assert [capacity(curve, (target,)) for curve in moved] == [capacity(curve, (target,)) for curve in curves]
    before, after = (rank(given_curves, _ask(chatbot, target), catalog) for given_curves in (curves, moved))
    assert [(row.rank, row.curve_id) for row in after.rows] == [(row.rank, row.curve_id) for row in before.rows]


def _other_means(point: Point, factor: float) -> Point:
    mean = Estimate(value=factor)
    return replace(point, ttft=replace(point.ttft, mean=mean), ttft_scheduled=replace(point.ttft_scheduled, mean=mean))
