"""A row of a recommendation becomes a choice, and the choice manifests."""

from __future__ import annotations

import pytest

from giq.catalog.catalog import Catalog
from giq.catalog.configuration import ServingConfiguration
from giq.catalog.use_cases import Lengths
from giq.curve.curve import Curve
from giq.curve.point import Distribution, Estimate, Point, Provenance
from giq.curve.targets import Target
from giq.documents import decode_json, encode_json, load_yaml_all, replace
from giq.errors import UsageError
from giq.manifest.choice import LoadLevel, ServingChoice, choice_of
from giq.manifest.options import ManifestOptions
from giq.manifest.plan import make_plan
from giq.manifest.render import render
from giq.recommend.levels import levels_below, operating_level
from giq.recommend.recommendation import Row
from giq.recommend.requirement import Requirement
from giq.workload.workload import Workload

CHATBOT = Workload(use_case="chatbot", input_tokens=Lengths(mean=108), output_tokens=Lengths(mean=132))
REQUIREMENT = Requirement(
    model="llama-3-8b", workload=CHATBOT, targets=(Target(metric="ttft", seconds=0.3),), pricing_model="spot"
)


def point(rate: float, running: float | None) -> Point:
    """A valid open-loop point with so many requests running."""
    return Point(
        point_id=f"p{rate:g}",
        run_id="RUN",
        provenance=Provenance(evidence="measured", hardware_source="detected", source="test", giq_version="0"),
        load_kind="open",
        offered_rps=rate,
        achieved_rps=rate,
        in_flight_mean=running or 0.0,
        error_share=0.0,
        window_s=60.0,
        n_requests=600,
        input_tokens_mean=108,
        output_tokens_mean=132,
        input_tps=108 * rate,
        output_tps=132 * rate,
        total_tps=240 * rate,
        latency=Distribution(p99=Estimate(value=10.0 + rate)),
        running_mean=running,
        waiting_mean=0.0,
        kv_usage_mean=0.1,
        accelerator_seconds=60.0,
    )


def row(config: ServingConfiguration, gpu: ServingChoice, running: tuple[float | None, ...] = (7, 20, 60)) -> Row:
    """A row whose unit has a capacity of 3 req/s on a curve with points at 1, 2 and 4."""
    points = [point(rate, value) for rate, value in zip((1.0, 2.0, 4.0), running, strict=True)]
    curve = Curve(config=config, workload=CHATBOT, points=tuple(points))
    return Row(
        rank=1,
        config=config,
        curve_id=curve.curve_id,
        evidence=curve.evidence,
        hardware_source="detected",
        shape=gpu.shape,
        capacity=Estimate(value=3.0),
        input_tps=3.0 * 108,
        output_tps=3.0 * 132,
        operating_point=operating_level(curve, 3.0),
        levels=levels_below(curve, 3.0),
        replicas=4,
        price=gpu.price,
    )


def test_a_choice_says_what_the_row_says(catalog: Catalog, gpu: ServingChoice) -> None:
    """Weights of the row's precision, capacity, targets, replicas, pricing, and the curve up to capacity are taken."""
    found = choice_of(row(gpu.config, gpu), REQUIREMENT, catalog)
    assert found.weights_repository == "meta-llama/Meta-Llama-3-8B-Instruct"
    assert (found.weights_bytes, found.gated) == (16_060_522_496, True)
    assert found.targets == (str(REQUIREMENT.targets[0]),)
    assert (found.replicas, found.pricing_model, found.capacity) == (4, "spot", Estimate(value=3.0))
    assert found.levels == (
        LoadLevel(rate_rps=1.0, running=7.0, waiting=0.0, kv_usage=0.1),
        LoadLevel(rate_rps=2.0, running=20.0, waiting=0.0, kv_usage=0.1),
        LoadLevel(rate_rps=3.0, running=40.0, waiting=0.0, kv_usage=0.1),
    )
    assert found.latency_p99_s == pytest.approx(13.0)
    assert found.source == "load points RUN/p2, RUN/p4"


def test_a_saved_row_gives_the_same_manifests(catalog: Catalog, gpu: ServingChoice) -> None:
    """Whether the recommendation comes from memory or from the file of the last one makes no difference."""
    kept = row(gpu.config, gpu)
    read = decode_json(encode_json(kept), Row, "saved")
    one, other = (
        render(make_plan(choice_of(item, REQUIREMENT, catalog), catalog, ManifestOptions())) for item in (kept, read)
    )
    assert one == other
    autoscaler = load_yaml_all(one, "rendered")[-1]
    assert autoscaler["spec"]["minReplicas"] == 4


def test_a_curve_without_the_servers_metrics_gets_no_autoscaler(catalog: Catalog, gpu: ServingChoice) -> None:
    """A published curve has latencies but no running requests; the Deployment then has fixed replicas."""
    bare = row(gpu.config, gpu, (None, None, None))
    plan = make_plan(choice_of(bare, REQUIREMENT, catalog), catalog, ManifestOptions())
    assert plan.hpa is None
    assert plan.replicas == 4


def test_other_precisions_have_other_weights(catalog: Catalog, gpu: ServingChoice) -> None:
    """The weights are those of the precision measured, or said to be the default ones; without any it is an error."""
    for precision, repository in (
        ("fp8", "RedHatAI/Meta-Llama-3-8B-Instruct-FP8"),
        ("unknown", "meta-llama/Meta-Llama-3-8B-Instruct"),
    ):
        config = ServingConfiguration(components=(replace(gpu.config.main, precision=precision),))
        found = choice_of(row(config, gpu), REQUIREMENT, catalog)
        assert found.weights_repository == repository
        said = [note for note in make_plan(found, catalog, ManifestOptions()).notes if "precision" in note]
        assumed = "the weights are those served by default, bf16 of meta-llama/Meta-Llama-3-8B-Instruct"
        told = [f"the precision of the measured server is not known; {assumed}"]
        assert said == (told if precision == "unknown" else [])
    int4 = ServingConfiguration(components=(replace(gpu.config.main, precision="int4"),))
    with pytest.raises(UsageError, match="no int4 weights"):
        choice_of(row(int4, gpu), REQUIREMENT, catalog)


def test_a_model_outside_the_catalog_is_served_under_its_own_name(catalog: Catalog, gpu: ServingChoice) -> None:
    """What was measured under any name is deployed under it, with unknown weights."""
    config = ServingConfiguration(components=(replace(gpu.config.main, model="acme/tiny"),))
    found = choice_of(row(config, gpu), REQUIREMENT, catalog)
    assert (found.weights_repository, found.weights_bytes, found.gated) == ("acme/tiny", None, False)


def test_a_row_without_a_machine_cannot_be_deployed(catalog: Catalog, gpu: ServingChoice) -> None:
    """An accelerator that GKE lacks is ranked, but has no manifests."""
    with pytest.raises(UsageError, match="GKE has no machine"):
        choice_of(replace(row(gpu.config, gpu), shape=None), REQUIREMENT, catalog)


def test_what_was_measured_with_random_weights_is_served_with_real_ones(catalog: Catalog, gpu: ServingChoice) -> None:
    """The Deployment loads the published weights, and the choice says that others were measured."""
    main = replace(gpu.config.main, engine_args=gpu.config.main.engine_args | {"load_format": "dummy"})
    found = choice_of(row(replace(gpu.config, components=(main,)), gpu), REQUIREMENT, catalog)

    assert "dummy" not in render(make_plan(found, catalog, ManifestOptions()))
    assert found.weights_repository == "meta-llama/Meta-Llama-3-8B-Instruct"
    assert any("random weights" in note for note in found.notes)
