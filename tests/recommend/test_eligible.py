"""Which stored curves speak for a requirement."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from giq.catalog.catalog import Catalog
from giq.catalog.configuration import ServingConfiguration
from giq.catalog.use_cases import Lengths
from giq.curve.curve import Curve
from giq.documents import replace
from giq.errors import UsageError
from giq.recommend.ranking import rank
from giq.recommend.recommendation import Recommendation
from giq.recommend.requirement import Requirement, target_words, workload_words
from giq.workload import Arrival, Conversation, SharedPrefix, ThinkTime, Workload

MakeCurve = Callable[..., Curve]
MakeConfig = Callable[..., ServingConfiguration]


def _ranked(curves: list[Curve], catalog: Catalog, workload: Workload, **fields: Any) -> Recommendation:
    return rank(curves, Requirement(model=fields.pop("model", "tiny-8b"), workload=workload, **fields), catalog)


@pytest.mark.parametrize(
    "fields",
    [
        {"shared_prefix": SharedPrefix(tokens=64)},
        {"shared_prefix": SharedPrefix(tokens=64, groups=2)},
        {"conversation": Conversation(turns=Lengths(mean=4))},
        {"conversation": Conversation(turns=Lengths(mean=4), think=ThinkTime(mean_s=5))},
        {"arrival": Arrival(law="ramp", from_rps=2, to_rps=20)},
    ],
    ids=str,
)
def test_work_that_shares_something_is_other_work(fields: dict[str, Any]) -> None:
    """Neither speaks for the other: work with and without a prefix, turns, pauses or a ramp is never joined."""
    alone = Workload(input_tokens=Lengths(mean=512), output_tokens=Lengths(mean=128))
    shared = replace(alone, **fields)
    assert not Requirement(model="m", workload=alone).asks_for(shared)
    assert not Requirement(model="m", workload=shared).asks_for(alone)
    assert Requirement(model="m", workload=shared).asks_for(replace(shared, use_case="chatbot"))


def test_other_workload_is_noted(
    catalog: Catalog, chatbot: Workload, make_curve: MakeCurve, make_config: MakeConfig
) -> None:
    """A run under other lengths is not used, neither as a row nor as a rejected pair, and that is said plainly."""
    short = Workload(input_tokens=Lengths(mean=128), output_tokens=Lengths(mean=32))
    curve = make_curve(make_config("alpha"), workload=short, evidence="estimated", hardware="simulated")
    found = _ranked([curve], catalog, chatbot)
    assert (found.rows, found.rejected) == ((), ())
    assert found.notes == (
        "alpha ×1, bf16, vllm 0.20.0: estimated for workload (128 input, 32 output tokens, poisson arrivals), "
        "not for this workload; not used",
    )


def test_name_of_use_case_makes_no_difference(
    catalog: Catalog, chatbot: Workload, make_curve: MakeCurve, make_config: MakeConfig
) -> None:
    """The same lengths and arrivals under another name are the same workload."""
    curve = make_curve(make_config("alpha"), workload=replace(chatbot, use_case=None))
    assert len(_ranked([curve], catalog, chatbot).rows) == 1


@pytest.mark.parametrize("name", ["tiny", "owner/tiny-8b", "Tiny-8B"])
def test_model_by_any_of_its_names(
    catalog: Catalog, chatbot: Workload, make_curve: MakeCurve, make_config: MakeConfig, name: str
) -> None:
    """A curve stored under an alias or a repository counts; one of another model is ignored."""
    curves = [make_curve(make_config("alpha", model=name)), make_curve(make_config("beta", model="odd-12h"))]
    found = _ranked(curves, catalog, chatbot)
    assert [row.config.main.accelerator for row in found.rows] == ["alpha"]
    assert not found.rejected


def test_model_outside_the_catalog(
    catalog: Catalog, chatbot: Workload, make_curve: MakeCurve, make_config: MakeConfig
) -> None:
    """A model that the catalog does not know is ranked by its own curves."""
    curve = make_curve(make_config("alpha", model="someone/own"))
    assert len(_ranked([curve], catalog, chatbot, model="someone/own").rows) == 1


def test_measured_beats_estimated(
    catalog: Catalog, chatbot: Workload, make_curve: MakeCurve, make_config: MakeConfig
) -> None:
    """Of one unit and workload the measurement speaks, and the row says what was set aside."""
    estimate = make_curve(make_config("alpha"), knee=100, evidence="estimated", hardware="simulated")
    measured = make_curve(make_config("alpha"), knee=10)
    (row,) = _ranked([estimate, measured], catalog, chatbot).rows
    assert row.evidence == "measured"
    assert row.capacity.value == pytest.approx(10, rel=0.01)
    assert "estimated evidence on the same unit is set aside" in row.notes


def test_measured_does_not_beat_another_unit(
    catalog: Catalog, chatbot: Workload, make_curve: MakeCurve, make_config: MakeConfig
) -> None:
    """A measurement of one unit says nothing of another: two chips stay estimated beside one measured chip."""
    estimate = make_curve(make_config("alpha", 2), evidence="estimated", hardware="simulated")
    found = _ranked([make_curve(make_config("alpha")), estimate], catalog, chatbot)
    assert sorted(row.evidence for row in found.rows) == ["estimated", "measured"]


def test_unusable_measurement_does_not_hide_the_estimate(
    catalog: Catalog, chatbot: Workload, make_curve: MakeCurve, make_config: MakeConfig
) -> None:
    """A measurement without a valid point leaves the estimate to speak."""
    estimate = make_curve(make_config("alpha"), evidence="estimated", hardware="simulated")
    spoilt = make_curve(make_config("alpha"), flags=("COUNTERS_DISAGREE",))
    (row,) = _ranked([spoilt, estimate], catalog, chatbot).rows
    assert row.evidence == "estimated"


def test_runs_of_one_unit_are_pooled(
    catalog: Catalog, chatbot: Workload, make_curve: MakeCurve, make_config: MakeConfig
) -> None:
    """Points of two measured runs make one curve, and a point given twice counts once."""
    low, high = (make_curve(make_config("alpha"), loads=loads) for loads in ((0.1, 0.5), (0.5, 1.1, 1.3)))
    (row,) = _ranked([low, high, low], catalog, chatbot).rows
    assert row.saturation is not None
    assert [level.rate_rps for level in row.levels] == pytest.approx([1, 5])


def test_points_of_two_runs_do_not_hide_each_other(
    catalog: Catalog, chatbot: Workload, make_curve: MakeCurve, make_config: MakeConfig
) -> None:
    """Every run calls its points p001, p002: both runs count, and each level leads back to its run."""
    curves = []
    for run, loads in (("RUN1", (0.1, 0.9)), ("RUN2", (0.5, 1.3))):
        curve = make_curve(make_config("alpha"), loads=loads)
        points = (replace(item, run_id=run, point_id=f"p00{n}") for n, item in enumerate(curve.points, 1))
        curves.append(Curve(curve.config, curve.workload, tuple(points)))
    for order in (curves, curves[::-1]):
        (row,) = _ranked(order, catalog, chatbot).rows
        assert [level.point_ids for level in row.levels][:2] == [("RUN1/p001",), ("RUN2/p001",)]


def test_measured_as_servers_tell_it_beats_the_estimate(
    catalog: Catalog, chatbot: Workload, make_curve: MakeCurve, make_config: MakeConfig
) -> None:
    """What a server tells less or more of than a candidate says is the same unit, and what was assumed is said."""
    estimate = make_curve(make_config("alpha"), evidence="estimated", hardware="simulated")
    told = {"precision": "unknown", "machine_type": "alpha-1g-wide", "engine_args": {"max_model_len": 8192}}
    curves = [estimate, make_curve(make_config("alpha", **told))]
    for precision in (None, "bf16"):
        (row,) = _ranked(curves, catalog, chatbot, precision=precision).rows
        assert row.evidence == "measured"
        assert "estimated evidence on the same unit is set aside" in row.notes
        said = "precision of the measured server is not known; taken as the one served by default (bf16)"
        assert said in row.notes
    older = make_curve(make_config("alpha", **told, server_version="0.19.1"))
    assert len(_ranked([estimate, older], catalog, chatbot).rows) == 2
    spoilt = make_curve(make_config("alpha", **told), flags=("COUNTERS_DISAGREE",))
    assert [item.evidence for item in _ranked([estimate, spoilt], catalog, chatbot).rows] == ["estimated"]


def test_attainment_needs_targets(chatbot: Workload) -> None:
    """A share of requests that must meet all targets means nothing without one."""
    with pytest.raises(UsageError, match="needs at least one latency target"):
        Requirement(model="tiny-8b", workload=chatbot, attainment=0.9)


def test_filters(catalog: Catalog, chatbot: Workload, make_curve: MakeCurve, make_config: MakeConfig) -> None:
    """Accelerators, precision and the evidence asked for reject the other curves with the reason."""
    curves = [
        make_curve(make_config("alpha"), evidence="estimated", hardware="simulated"),
        make_curve(make_config("beta", precision="fp8"), evidence="published", hardware="published"),
    ]
    reasons = {
        item.reason
        for fields in (
            {"evidence_floor": "measured"},
            {"evidence_floor": "published"},
            {"accelerators": ("beta",)},
            {"precision": "fp8"},
        )
        for item in _ranked(curves, catalog, chatbot, **fields).rejected
    }
    assert reasons == {
        "only estimated; at least measured evidence was asked for",
        "only published; at least measured evidence was asked for",
        "only estimated; at least published evidence was asked for",
        "not among the accelerators asked for (beta)",
        "its weights are bf16; fp8 was asked for",
    }


def test_words(chatbot: Workload) -> None:
    """A workload and a requirement are told with their numbers."""
    spread = replace(chatbot, output_tokens=Lengths(distribution="lognormal", mean=197.9, spread=0.9))
    assert workload_words(spread) == "chatbot (108 input, about 197.9 output tokens, poisson arrivals)"
    assert target_words(Requirement(model="m", workload=chatbot, request_rate_rps=20.0)) == (
        "no latency target at 20.0 req/s"
    )
