"""The ranking: capacities, costs by hand, ties, rows without a price, rejected pairs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from giq.catalog.catalog import Catalog, load_catalog
from giq.catalog.configuration import ServingConfiguration
from giq.curve.curve import Curve
from giq.curve.targets import Target
from giq.documents import replace
from giq.errors import UnmetError
from giq.recommend.ranking import rank
from giq.recommend.recommendation import Recommendation, nearest_misses, require_any
from giq.recommend.requirement import Requirement
from giq.workload.workload import Workload

MakeCurve = Callable[..., Curve]
MakeConfig = Callable[..., ServingConfiguration]
Ask = Callable[..., Requirement]
TTFT = (Target("ttft", 0.3),)


@pytest.fixture(scope="module")
def ask(chatbot: Workload) -> Ask:
    """Makes a requirement of tiny-8b, p90 TTFT within 300 ms."""

    def asked(**fields: Any) -> Requirement:
        known: dict[str, Any] = {"model": "tiny-8b", "workload": chatbot, "targets": TTFT}
        return Requirement(**(known | fields))

    return asked


def _units(found: Recommendation) -> list[tuple[int | None, str]]:
    return [(row.rank, row.config.main.accelerator) for row in found.rows]


def test_one_row_by_hand(catalog: Catalog, make_curve: MakeCurve, make_config: MakeConfig, ask: Ask) -> None:
    """Capacity, tokens, replicas and costs of one unit are those worked out on paper.

    p90 TTFT is 200 ms at 5 req/s and 333.3 ms at 7, so 300 ms at 6.5 req/s; that is 702 tokens/s in and 858 out,
    and at ratio 4 one USD/h buys 3600 x (702/4 + 858) = 3,720,600 equivalent output tokens.
    """
    curve = make_curve(make_config("alpha"))
    (row,) = rank([curve], ask(), catalog).rows
    assert row.capacity.value == pytest.approx(6.5)
    assert [row.input_tps, row.output_tps] == pytest.approx([702, 858])
    assert row.operating_point.metric("ttft_scheduled", "p90") == pytest.approx(0.3)
    assert [level.rate_rps for level in row.levels] == pytest.approx([1, 2.5, 5])
    assert row.usd_per_million_output is not None
    assert row.usd_per_million_output.value == pytest.approx(1e6 / 3_720_600)
    assert row.usd_per_million_input is not None
    assert row.usd_per_million_input.value == pytest.approx(1e6 / 3_720_600 / 4)
    assert (row.replicas, row.usd_per_hour and row.usd_per_hour.value) == (None, 1.0)
    assert (row.limiting, row.shape and row.shape.machine_type) == ("p90 TTFT <= 300 ms", "alpha-1g")
    (row,) = rank([curve], ask(request_rate_rps=20.0, spare_replicas=1), catalog).rows
    assert (row.replicas, row.usd_per_hour and row.usd_per_hour.value) == (5, 5.0)


def test_published_h100_row_at_todays_spot_price(make_curve: MakeCurve, make_config: MakeConfig) -> None:
    """GIQ's 2050 tokens/s of gemma-2-27b on an H100 cost $0.712 per million at the spot price in the catalog.

    At 108 in and 132 out: 2050 x (1 + 108/132/4) = 2469.3 equivalent tokens/s, and $6.3262/h over those.
    """
    catalog = load_catalog()
    config = make_config("nvidia-h100-80gb", model="gemma-2-27b")
    curve = make_curve(config, knee=2050 / 132)
    requirement = Requirement(model="gemma-2-27b", workload=curve.workload, pricing_model="spot")
    (row,) = rank([curve], requirement, catalog).rows
    assert row.price is not None
    assert row.price.usd_per_hour == pytest.approx(6.3262)
    assert row.output_tps == pytest.approx(2050, rel=0.001)
    assert row.usd_per_million_output is not None
    assert row.usd_per_million_output.value == pytest.approx(6.3262 / 3600 / 2469.3 * 1e6, rel=0.001)


def test_cheapest_first(catalog: Catalog, make_curve: MakeCurve, make_config: MakeConfig, ask: Ask) -> None:
    """A faster accelerator wins by its tokens, a slower one by a small rate that needs a single unit."""
    curves = [make_curve(make_config("alpha"), knee=10), make_curve(make_config("beta"), knee=80)]
    assert _units(rank(curves, ask(), catalog)) == [(1, "beta"), (2, "alpha")]
    assert _units(rank(curves, ask(request_rate_rps=5.0), catalog)) == [(1, "alpha"), (2, "beta")]


def test_no_price_is_shown_not_ranked(
    catalog: Catalog, make_curve: MakeCurve, make_config: MakeConfig, ask: Ask
) -> None:
    """A unit without a price comes after all others, without a rank, however fast it is."""
    curves = [make_curve(make_config("gamma"), knee=1e4), make_curve(make_config("alpha"))]
    found = rank(curves, ask(), catalog)
    assert _units(found) == [(1, "alpha"), (None, "gamma")]
    last = found.rows[-1]
    assert (last.usd_per_hour, last.usd_per_million_output, last.tie_with) == (None, None, None)
    assert "no price in us-central1 for on-demand; not ranked" in last.notes
    assert found.row(1) == found.rows[0]
    assert found.row(2) is None


def test_tie_names_the_measurement(catalog: Catalog, make_curve: MakeCurve, make_config: MakeConfig, ask: Ask) -> None:
    """Costs whose intervals overlap are said to be tied, with the command that measures the estimated one."""
    estimate = make_curve(make_config("alpha", 2), knee=20.2, evidence="estimated", hardware="simulated", spread=0.3)
    found = rank([estimate, make_curve(make_config("alpha"), knee=10, spread=0.05)], ask(), catalog)
    first, second = found.rows
    assert (first.tie_with, second.tie_with) == (None, 1)
    assert second.notes[-1] == (
        "cost not distinguishable from rank 1; to settle it: giq profile --model tiny-8b --accelerator alpha:2 "
        "--input-tokens 108 --output-tokens 132 --target-ttft 300ms"
    )


def test_clear_cost_is_no_tie(catalog: Catalog, make_curve: MakeCurve, make_config: MakeConfig, ask: Ask) -> None:
    """Costs whose intervals lie apart are not tied."""
    curves = [make_curve(make_config("alpha"), knee=10), make_curve(make_config("beta"), knee=10)]
    assert [row.tie_with for row in rank(curves, ask(), catalog).rows] == [None, None]


def test_machine_that_was_measured_is_priced(
    catalog: Catalog, make_curve: MakeCurve, make_config: MakeConfig, ask: Ask
) -> None:
    """A curve that names its machine is priced as that one, not as the cheapest of its size."""
    (row,) = rank([make_curve(make_config("alpha", machine_type="alpha-1g-wide"))], ask(), catalog).rows
    assert row.price is not None
    assert row.price.usd_per_hour == 1.5


def test_unmet_target(catalog: Catalog, make_curve: MakeCurve, make_config: MakeConfig, ask: Ask) -> None:
    """A unit that misses already at its lowest load is rejected with that number, and alone it is exit code 3."""
    curves = [make_curve(make_config("beta"), base_s=3.0), make_curve(make_config("alpha"), base_s=0.2)]
    found = rank(curves, ask(), catalog)
    assert not found.rows
    assert [item.nearest_miss for item in found.rejected] == [
        "p90 TTFT 444 ms at 1.00 req/s, target 300 ms",
        "p90 TTFT 6,667 ms at 1.00 req/s, target 300 ms",
    ]
    assert nearest_misses(found).startswith("alpha ×1 (measured): p90 TTFT 444 ms")
    with pytest.raises(UnmetError, match=r"nothing serves tiny-8b for chatbot.*p90 TTFT <= 300 ms") as caught:
        require_any(found)
    assert caught.value.exit_code == 3
    assert "444 ms" in str(caught.value)
    require_any(rank([make_curve(make_config("alpha"))], ask(), catalog))


def test_nothing_to_judge(catalog: Catalog, make_curve: MakeCurve, make_config: MakeConfig, ask: Ask) -> None:
    """Without any curve, and with one of unusable points only, the reason is told."""
    with pytest.raises(UnmetError, match="there is no curve of tiny-8b"):
        require_any(rank([], ask(), catalog))
    flagged = make_curve(make_config("alpha"), flags=("GENERATOR_LATE",))
    found = rank([flagged], ask(), catalog)
    assert [(item.unit, item.reason) for item in found.rejected] == [
        ("alpha ×1", "none of 8 load points is valid: GENERATOR_LATE")
    ]
    with pytest.raises(UnmetError, match="alpha ×1: none of 8"):
        require_any(found)


def test_mean_is_no_percentile(catalog: Catalog, make_curve: MakeCurve, make_config: MakeConfig, ask: Ask) -> None:
    """A curve that knows only means of TTFT is rejected, however far they lie below the target."""
    curve = make_curve(make_config("alpha"))
    points = tuple(
        replace(
            point,
            ttft=replace(point.ttft, p50=None, p90=None, p95=None, p99=None),
            ttft_scheduled=replace(point.ttft_scheduled, p50=None, p90=None, p95=None, p99=None),
        )
        for point in curve.points
    )
    found = rank([Curve(curve.config, curve.workload, points)], ask(targets=(Target("ttft", 1e6),)), catalog)
    assert not found.rows
    assert "no valid point tells the p90 TTFT" in found.rejected[0].reason


def test_joint_attainment(
    catalog: Catalog, make_curve: MakeCurve, make_config: MakeConfig, ask: Ask, attained: Callable[..., Any]
) -> None:
    """A share asked for jointly rejects units whose points show less, or do not tell."""
    told = make_curve(make_config("alpha"), attainment=attained("ttft<0.3", 0.92))
    silent = make_curve(make_config("beta"))
    found = rank([told, silent], ask(attainment=0.9), catalog)
    assert _units(found) == [(1, "alpha")]
    assert "92.0 % of requests meet all targets at once" in found.rows[0].notes[1]
    assert found.rejected[0].accelerator == "beta"
    assert not rank([told], ask(attainment=0.95), catalog).rows


def test_what_is_said_of_a_row(catalog: Catalog, make_curve: MakeCurve, make_config: MakeConfig, ask: Ask) -> None:
    """Evidence and its date, declared hardware, what limits, saturation, and points left out stand beside a row."""
    declared = make_curve(make_config("alpha"), hardware="declared")
    late = replace(declared.points[0], point_id="late", flags=("GENERATOR_LATE",))
    (row,) = rank([Curve(declared.config, declared.workload, (*declared.points, late))], ask(), catalog).rows
    assert row.notes == (
        "measured on 2026-11-20, hardware declared, not detected",
        "limited by p90 TTFT <= 300 ms; saturates at 10.0 req/s",
        "1 of 9 points not used (GENERATOR_LATE ×1)",
    )
    estimated = make_curve(make_config("alpha"), evidence="estimated", hardware="simulated")
    (row,) = rank([estimated], ask(), catalog).rows
    assert row.notes[0] == "estimated by the simulated engine, calibration prior; not measured"
    published = make_curve(make_config("alpha"), evidence="published", hardware="published")
    (row,) = rank([published], ask(), catalog).rows
    assert row.notes[0] == "published: test"


def test_met_beyond_the_range(catalog: Catalog, make_curve: MakeCurve, make_config: MakeConfig, ask: Ask) -> None:
    """Where every load measured meets the target, the capacity is a lower bound and said to be one."""
    (row,) = rank([make_curve(make_config("alpha"), loads=(0.1, 0.2, 0.3))], ask(), catalog).rows
    assert (row.lower_bound, row.limiting) == (True, None)
    assert row.capacity.value == pytest.approx(3.0)
    assert "lower bound" in row.notes[1]
    assert "saturation was not reached" in row.notes[1]
    assert row.saturation is None


def test_defaults_are_told(catalog: Catalog, ask: Ask) -> None:
    """What holds by default is listed; what was chosen otherwise is not."""
    told = rank([], ask(), catalog).defaults
    assert {"use case chatbot", "percentile p90", "region us-central1", "pricing on-demand"} <= set(told)
    chosen = ask(targets=(Target("ttft", 0.3, "p99"),), region="us-east5", pricing_model="spot", request_rate_rps=1.0)
    told = rank([], chosen, catalog).defaults
    assert told == ("use case chatbot", "no spare replicas", "output:input cost ratio 4", "precision as served")
