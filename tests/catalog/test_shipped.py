"""What ships in profiles/: all of it loads, and the facts agree with each other."""

from __future__ import annotations

from pathlib import Path

import pytest

from giq.catalog import Accelerator, Catalog, Model, load_catalog

CATALOG = load_catalog(Path("/nonexistent"))
MODELS = [pytest.param(model, id=model.name) for model in CATALOG.models]
ACCELERATORS = [pytest.param(accelerator, id=accelerator.name) for accelerator in CATALOG.accelerators]


def _parameters(model: Model, experts: int | None = None) -> int:
    """Weights that follow from the architecture (norms and biases left out), of *experts* experts a layer."""
    dense = 3 * model.hidden_size * model.intermediate_size
    embeddings = model.vocab_size * model.hidden_size * (1 if model.tied_embeddings else 2)
    if not model.experts:
        return model.layers * (_attention(model) + dense) + embeddings
    each = 3 * model.hidden_size * model.experts.intermediate_size
    mixture = (experts or model.experts.count) * each + model.hidden_size * model.experts.count
    mixture += 3 * model.hidden_size * model.experts.shared_intermediate_size
    first = model.experts.dense_layers
    return model.layers * _attention(model) + first * dense + (model.layers - first) * mixture + embeddings


def _attention(model: Model) -> int:
    """Weights of one layer's attention."""
    latent, heads = model.latent_attention, model.attention_heads
    if latent is None:
        return 2 * model.hidden_size * model.head_dim * (heads + model.kv_heads)
    queries = heads * latent.query_dim + latent.kv_rank + latent.rope_dim + heads * latent.value_dim
    return model.hidden_size * queries + latent.kv_rank * heads * (model.head_dim + latent.value_dim)


def test_every_kind_ships() -> None:
    """Models, accelerators, prices, use cases and servers are all there."""
    assert len(CATALOG.models) >= 16
    assert {"nvidia-l4", "nvidia-h100-80gb", "tpu-v6e-slice", "cpu"} <= {item.name for item in CATALOG.accelerators}
    assert CATALOG.regions() == ("europe-west4", "us-central1", "us-east5")
    assert len(CATALOG.use_cases) == 6
    assert [server.name for server in CATALOG.servers] == ["vllm"]


def test_files_are_named_after_their_entries() -> None:
    """The file of an entry has the entry's name, so that one finds it."""
    assert {name: Path(origin).stem for (_, name), origin in CATALOG.origins.items()} == {
        name: name for _, name in CATALOG.origins
    }


@pytest.mark.parametrize("model", MODELS)
def test_parameters_follow_from_the_architecture(model: Model) -> None:
    """The stated parameter counts are within 2 % of what the architecture gives."""
    assert _parameters(model) == pytest.approx(model.parameters, rel=0.02)
    active = model.experts.per_token if model.experts else None
    assert _parameters(model, active) == pytest.approx(model.active_parameters, rel=0.02)


@pytest.mark.parametrize("model", MODELS)
def test_weights_are_as_large_as_their_precision_says(model: Model) -> None:
    """Sixteen-bit weights are two bytes a parameter; quantised ones lie between their precision and that."""
    for weights in model.weights:
        per_parameter = weights.bytes / model.parameters
        if weights.precision in ("bf16", "fp16"):
            assert per_parameter == pytest.approx(2, rel=0.001)
        else:
            assert {"fp8": 1.0, "mxfp4": 0.53125}[weights.precision] <= per_parameter < 1.3


def test_default_precision() -> None:
    """Models are served in sixteen bits unless they were published in four."""
    served = {model.name: model.weights[0].precision for model in CATALOG.models}
    four = {name for name, precision in served.items() if precision == "mxfp4"}
    assert four == {"gpt-oss-20b", "gpt-oss-120b"}
    assert {served[name] for name in served.keys() - four} == {"bf16", "fp16"}


def test_a_layer_of_the_kv_cache() -> None:
    """Llama 3 8B keeps 128 KiB of bf16 keys and values for a token."""
    assert CATALOG.model("llama-3-8b").kv_values_per_token() * 2 == 128 * 1024


@pytest.mark.parametrize("accelerator", ACCELERATORS)
def test_accelerators_on_gke_can_be_asked_for(accelerator: Accelerator) -> None:
    """What is on GKE has a node label of its own name, a resource and shapes; slices of TPUs have a topology."""
    if not accelerator.on_gke:
        assert not accelerator.node_labels
        return
    assert accelerator.name in accelerator.node_labels.values()
    assert accelerator.resource == {"gpu": "nvidia.com/gpu", "tpu": "google.com/tpu"}[accelerator.kind]
    assert all(bool(shape.topology) == (accelerator.kind == "tpu") for shape in accelerator.shapes)
    assert bool(accelerator.topology_label) == (accelerator.kind == "tpu")


def test_every_source_is_said() -> None:
    """Each entry says where it is from; what giq chose itself says so."""
    sources = [
        *(model.source for model in CATALOG.models),
        *(accelerator.source for accelerator in CATALOG.accelerators),
        *(prices.source for prices in CATALOG.price_lists),
        *(use_case.source for use_case in CATALOG.use_cases),
        *(version.source for version in CATALOG.server().versions),
    ]
    assert all(source.title and (source.url or "giq" in source.title) for source in sources)


def test_use_cases_fit_small_contexts() -> None:
    """Requests of every use case but deep research fit into 8192 tokens."""
    for use_case in CATALOG.use_cases:
        longest = (use_case.input_tokens.maximum or 0) + (use_case.output_tokens.maximum or 0)
        assert 0 < longest <= (12288 if use_case.name == "deep-research" else 8192)


def test_server_versions_differ_where_vllm_does() -> None:
    """Flags, metric names and defaults are those of the version and the accelerator."""
    old, new = CATALOG.server_version(version="0.8.5"), CATALOG.server_version()
    assert old.metrics.kv_usage == "vllm:gpu_cache_usage_perc"
    assert new.metrics.kv_usage == "vllm:kv_cache_usage_perc"
    assert "disable_log_requests" in old.flags
    assert "disable_log_requests" not in new.flags
    assert (old.defaults["gpu_memory_utilization"], new.defaults["gpu_memory_utilization"]) == (0.9, 0.92)
    assert new.defaults_on("nvidia-h100-80gb")["max_num_batched_tokens"] == 8192
    assert new.defaults_on("nvidia-l4")["max_num_batched_tokens"] == 2048
    assert new.defaults_on("no such accelerator") == new.defaults


def test_a_version_for_every_kind() -> None:
    """There is an image for GPUs and for TPUs, and none is claimed where none was confirmed."""
    vllm = CATALOG.server()
    assert vllm.newest_for("gpu") is vllm.versions[0]
    tpu = vllm.newest_for("tpu")
    assert tpu is not None
    assert tpu.images["tpu"].endswith(tpu.version)
    assert vllm.newest_for("cpu") is None


def test_an_empty_catalog_knows_nothing() -> None:
    """A catalog without entries has no regions and detects nothing."""
    assert Catalog().regions() == ()
    assert Catalog().accelerator_detected_as("NVIDIA L4") is None
