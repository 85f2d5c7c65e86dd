"""The plan says what the choice, the catalog and the options say, and refuses what cannot be deployed."""

from __future__ import annotations

import pytest

from giq.catalog.catalog import Catalog
from giq.catalog.configuration import Component, ServingConfiguration
from giq.documents import plain, replace
from giq.errors import UnknownNameError, UsageError
from giq.manifest.annotations import PREDICTED
from giq.manifest.choice import LoadLevel, ServingChoice
from giq.manifest.options import ManifestOptions
from giq.manifest.plan import Plan, make_plan


def planned(choice: ServingChoice, catalog: Catalog, **options: object) -> Plan:
    """The plan under the default options but for those given."""
    return make_plan(choice, catalog, replace(ManifestOptions(), **options))


def with_part(choice: ServingChoice, **changes: object) -> ServingChoice:
    """The choice with its component changed."""
    part = replace(choice.config.main, **changes)
    return replace(choice, config=ServingConfiguration(components=(part,)))


def test_a_gpu_plan_selects_gpu_nodes(catalog: Catalog, gpu: ServingChoice) -> None:
    """Image, resource, node label and taint are those of the GPU."""
    plan = planned(gpu, catalog)
    assert plan.container.image == "vllm/vllm-openai:v0.32.0"
    assert plan.container.resources.limits == {"nvidia.com/gpu": "1"}
    assert plan.node_selector == {"cloud.google.com/gke-accelerator": "nvidia-l4"}
    assert plan.tolerated_taints == ("nvidia.com/gpu",)
    assert plan.name == "vllm-llama-3-8b-nvidia-l4"


def test_a_tpu_plan_selects_its_slice(catalog: Catalog, tpu: ServingChoice) -> None:
    """All chips of the host are asked for, on a slice of the configuration's topology, spot as it was priced."""
    plan = planned(tpu, catalog)
    assert plan.container.image == "vllm/vllm-tpu:v0.32.0"
    assert plan.container.resources.limits == {"google.com/tpu": "8"}
    assert plan.node_selector == {
        "cloud.google.com/gke-spot": "true",
        "cloud.google.com/gke-tpu-accelerator": "tpu-v6e-slice",
        "cloud.google.com/gke-tpu-topology": "2x4",
    }
    assert plan.tolerated_taints == ("google.com/tpu", "cloud.google.com/gke-spot")
    assert not any(variable.name == "LD_LIBRARY_PATH" for variable in plan.container.env)


def test_the_machine_type_is_selected_only_when_asked(catalog: Catalog, gpu: ServingChoice) -> None:
    """Pinning the machine that was priced is an option, since it makes nodes harder to get."""
    label = "node.kubernetes.io/instance-type"
    assert label not in planned(gpu, catalog).node_selector
    assert planned(gpu, catalog, pin_machine_type=True).node_selector[label] == "g2-standard-12"


def test_arguments_are_those_measured(catalog: Catalog, gpu: ServingChoice) -> None:
    """The model's repository, the effective engine arguments and the drain time, and a served name when asked."""
    assert planned(gpu, catalog, served_model_name="chat").container.args == (
        "meta-llama/Meta-Llama-3-8B-Instruct",
        "--gpu-memory-utilization=0.92",
        "--max-model-len=8192",
        "--served-model-name=chat",
        "--shutdown-timeout=30",
    )


def test_a_version_that_drops_requests_is_told_late(catalog: Catalog, gpu: ServingChoice) -> None:
    """A vLLM without --shutdown-timeout gets no such flag, and its requests' time before it is told to end."""
    plan = planned(with_part(gpu, server_version="0.10.0"), catalog)
    assert not any("shutdown" in argument for argument in plan.container.args)
    assert plan.ending.pre_stop_s == 45
    assert planned(gpu, catalog).ending.pre_stop_s == 15


def test_the_token_is_only_ever_a_reference(catalog: Catalog, gpu: ServingChoice, tpu: ServingChoice) -> None:
    """The Hub's token comes from a Secret, which only a gated model cannot do without."""
    for choice, optional in ((gpu, False), (tpu, True)):
        (token,) = (item for item in planned(choice, catalog).container.env if item.name == "HF_TOKEN")
        assert (token.value, token.secret_name, token.secret_key) == (None, "hf-secret", "hf_api_token")
        assert token.optional is optional


def test_no_key_of_the_environment_reaches_a_plan(
    catalog: Catalog, gpu: ServingChoice, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A key in giq's own environment appears nowhere in what is written."""
    for name in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "GIQ_API_KEY", "OPENAI_API_KEY"):
        monkeypatch.setenv(name, "hf_secret_value")
    assert "hf_secret_value" not in str(plain(planned(gpu, catalog)))


def test_annotations_lead_back_to_the_curve(catalog: Catalog, gpu: ServingChoice) -> None:
    """Curve, evidence, source, date, capacity with percentile and targets, and price with its date are there."""
    found = planned(gpu, catalog).annotations
    assert found["giq.dev/curve-id"] == "0123456789abcdef"
    assert found["giq.dev/evidence"] == "measured"
    assert found["giq.dev/measured-at"] == "2026-11-20T10:00:00Z"
    assert found["giq.dev/capacity"] == (
        "4.00 req/s per replica (90 % interval 3.80 req/s to 4.20 req/s) within p90 TTFT <= 300 ms"
    )
    assert found["giq.dev/price"] == (
        "$1.00/h per replica (g2-standard-12, us-central1, on-demand; made for a test, 2026-11-01)"
    )
    assert "giq.dev/note" not in found


def test_an_estimate_says_that_it_is_one(catalog: Catalog, tpu: ServingChoice) -> None:
    """Predicted numbers are called predicted, with the calibration; what is unknown has no annotation."""
    found = planned(tpu, catalog).annotations
    assert found["giq.dev/note"] == PREDICTED
    assert found["giq.dev/calibration"] == "prior"
    assert not found.keys() & {"giq.dev/measured-at", "giq.dev/price"}


def test_replicas_belong_to_the_autoscaler_where_there_is_one(catalog: Catalog, gpu: ServingChoice) -> None:
    """Without an autoscaler the Deployment has the replicas that the rate needs, and the reason is kept."""
    scaled = planned(gpu, catalog)
    assert scaled.replicas is None
    assert scaled.hpa_absent_reason is None
    fixed = planned(replace(gpu, levels=(LoadLevel(rate_rps=4.0),)), catalog)
    assert fixed.hpa is None
    assert fixed.replicas == 2
    assert fixed.annotations["giq.dev/autoscaling"] == f"none: {fixed.hpa_absent_reason}"


def test_notes_tell_what_the_user_must_know(catalog: Catalog, gpu: ServingChoice, tpu: ServingChoice) -> None:
    """Gated models, large weights, another server version and unknown sizes are said."""
    assert "gated" in " ".join(planned(gpu, catalog).notes)
    assert "need 168 GiB of disk" in " ".join(planned(tpu, catalog).notes)
    other = planned(with_part(gpu, server_version="0.33.1"), catalog)
    assert "0.33.1; image and flags are those of 0.32.0" in " ".join(other.notes)
    assert "not known" in " ".join(planned(replace(gpu, weights_bytes=None), catalog).notes)


def test_unknown_server_and_version_mean_the_default(catalog: Catalog, gpu: ServingChoice) -> None:
    """A curve that does not say what served it is deployed on the newest vLLM."""
    plan = planned(with_part(gpu, server="unknown", server_version="unknown"), catalog)
    assert plan.container.image == "vllm/vllm-openai:v0.32.0"


def test_one_choice_makes_one_plan(catalog: Catalog, gpu: ServingChoice) -> None:
    """The plan is a pure function of what goes in."""
    assert planned(gpu, catalog) == planned(gpu, catalog)


def test_what_cannot_be_deployed_is_refused(catalog: Catalog, gpu: ServingChoice, tpu: ServingChoice) -> None:
    """Accelerators outside GKE or the catalog, several hosts or components, and too small machines are errors."""
    with pytest.raises(UsageError, match="not on GKE"):
        planned(with_part(gpu, accelerator="gh200"), catalog)
    with pytest.raises(UnknownNameError):
        planned(with_part(gpu, accelerator="mi300x"), catalog)
    with pytest.raises(UsageError, match="spans 2 hosts"):
        planned(with_part(tpu, hosts=2, topology="4x4"), catalog)
    with pytest.raises(UsageError, match="has 1 accelerators, and the unit needs 4"):
        planned(with_part(gpu, accelerators_per_host=4, tp=4), catalog)
    several = ServingConfiguration(components=(gpu.config.main, Component(model="llama-3-8b", role="prefill")))
    with pytest.raises(UsageError, match="several components"):
        planned(replace(gpu, config=several), catalog)


def test_given_names_are_checked(catalog: Catalog, gpu: ServingChoice) -> None:
    """A name or namespace from the user is used as it is, or refused."""
    plan = planned(gpu, catalog, name="chat", namespace="prod")
    assert (plan.name, plan.namespace, plan.labels["app"]) == ("chat", "prod", "chat")
    with pytest.raises(UsageError):
        planned(gpu, catalog, name="Chat")
    with pytest.raises(UsageError):
        planned(gpu, catalog, namespace="a\n---\nkind: Pod")
