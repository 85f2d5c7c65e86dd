"""Which deployment units are considered, and why others are not."""

from __future__ import annotations

from typing import Any

import pytest

from giq.catalog.catalog import Catalog
from giq.catalog.use_cases import Lengths
from giq.documents import replace
from giq.errors import UnknownNameError, UsageError
from giq.recommend.candidates import Candidates, candidate_configurations, longest_request, shape_of
from giq.recommend.requirement import Requirement
from giq.workload.workload import Workload


def _candidates(catalog: Catalog, workload: Workload, **fields: Any) -> Candidates:
    asked: dict[str, Any] = {"model": "tiny-8b", "workload": workload} | fields
    return candidate_configurations(Requirement(**asked), catalog)


def _units(found: Candidates) -> list[tuple[str, int, str]]:
    return [
        (item.config.main.accelerator, item.config.accelerators_total, item.shape.machine_type if item.shape else "")
        for item in found.accepted
    ]


def test_every_gpu_count_with_its_cheapest_machine(catalog: Catalog, chatbot: Workload) -> None:
    """Each accelerator on GKE comes with 1, 2, 4 and 8 chips on the cheapest machine, tensor-parallel over all."""
    found = _candidates(catalog, chatbot)
    assert _units(found) == [
        (name, count, f"{name}-{count}g") for name in ("alpha", "beta", "gamma") for count in (1, 2, 4, 8)
    ]
    assert all(item.config.main.tp == item.config.accelerators_total for item in found.accepted)
    assert {item.config.main.server_version for item in found.accepted} == {"0.20.0"}


def test_machine_without_price_is_last_resort(catalog: Catalog, chatbot: Workload) -> None:
    """Where no machine of a count has a price, the first that the catalog lists stands for it."""
    found = _candidates(catalog, chatbot, region="nowhere", accelerators=("alpha",))
    assert _units(found)[0] == ("alpha", 1, "alpha-1g-wide")


def test_identity_does_not_depend_on_the_price(catalog: Catalog, chatbot: Workload) -> None:
    """The same unit keeps its id where another machine carries it, so that a measurement is found again."""
    here, there = (
        _candidates(catalog, chatbot, region=region, accelerators=("alpha",)).accepted[0]
        for region in ("us-central1", "nowhere")
    )
    assert here.config.config_id == there.config.config_id


def test_rejected_with_reason(catalog: Catalog, chatbot: Workload) -> None:
    """What GKE or the server lacks is rejected in words, slices of several hosts are noted, a CPU is not offered."""
    found = _candidates(catalog, chatbot)
    assert {(item.accelerator, item.reason) for item in found.rejected} == {
        ("gh", "not on GKE (name it with --accelerator to see what it would do)"),
        ("tpu", "vllm 0.20.0 has no image for a TPU"),
    }
    asked = _candidates(catalog, chatbot, accelerators=("cpu",))
    assert not asked.accepted
    assert "only curves measured" in asked.rejected[0].reason


def test_tpu_slices(catalog: Catalog, chatbot: Workload) -> None:
    """A server with a TPU image gets every slice of one host with its topology; larger slices are noted."""
    (server,) = catalog.servers
    version = replace(server.versions[0], images={"tpu": "vllm/vllm-tpu:v0.20.0"})
    with_tpu = Catalog(
        models=catalog.models, accelerators=catalog.accelerators, servers=(replace(server, versions=(version,)),)
    )
    found = _candidates(with_tpu, chatbot, accelerators=("tpu",))
    assert [(item.config.main.topology, item.config.main.tp) for item in found.accepted] == [("1x1", 1), ("2x2", 4)]
    assert found.notes == ("tpu: 1 slices of several hosts are left out; only single hosts are considered",)


def test_not_on_gke_when_named(catalog: Catalog, chatbot: Workload) -> None:
    """An accelerator that GKE lacks is considered when it is asked for by name, without a machine."""
    found = _candidates(catalog, chatbot, accelerators=("gh",))
    assert _units(found) == [("gh", 1, "")]
    assert not found.rejected


def test_heads_must_divide(catalog: Catalog, chatbot: Workload) -> None:
    """A count that does not divide the attention heads is rejected; 12 heads go over 1, 2 and 4 chips, not 8."""
    found = _candidates(catalog, chatbot, model="odd-12h", accelerators=("beta",))
    assert [item.config.main.tp for item in found.accepted] == [1, 2, 4]
    assert [item.reason for item in found.rejected] == ["12 attention heads cannot be split evenly over 8 accelerators"]


def test_precision(catalog: Catalog, chatbot: Workload) -> None:
    """The model's own precision unless asked; one without weights is an error, one without arithmetic a reason."""
    assert {item.config.main.precision for item in _candidates(catalog, chatbot).accepted} == {"bf16"}
    with pytest.raises(UsageError, match="no fp8 weights of tiny-8b"):
        _candidates(catalog, chatbot, precision="fp8")
    model = catalog.model("tiny-8b")
    both = replace(model, weights=(*model.weights, replace(model.weights[0], precision="fp8")))
    with_fp8 = Catalog(models=(both,), accelerators=catalog.accelerators, servers=catalog.servers)
    found = _candidates(with_fp8, chatbot, precision="fp8", accelerators=("alpha", "beta"))
    assert {item.config.main.accelerator for item in found.accepted} == {"beta"}
    assert [item.reason for item in found.rejected] == ["fp8 asked for, and ALPHA has no fp8 arithmetic"]


def test_names_are_checked(catalog: Catalog, chatbot: Workload) -> None:
    """An accelerator or model that the catalog does not have is an error that carries the near ones."""
    with pytest.raises(UnknownNameError, match="Known ones near it: alpha"):
        _candidates(catalog, chatbot, accelerators=("alfa",))
    with pytest.raises(UnknownNameError, match="tiny-8b"):
        _candidates(catalog, chatbot, model="tiny-9b")


@pytest.mark.parametrize(
    ("output_tokens", "context"),
    [(Lengths(mean=132), 8192), (Lengths(mean=900, maximum=20_000), 32_768), (Lengths(mean=500_000), 131_072)],
    ids=["short", "long", "beyond the model"],
)
def test_long_context_is_cut_to_the_workload(
    catalog: Catalog, chatbot: Workload, output_tokens: Lengths, context: int
) -> None:
    """A model of 131072 tokens is served with what the workload needs, and a short one with all it has."""
    model = replace(catalog.model("tiny-8b"), max_context=131_072)
    long = Catalog(models=(model,), accelerators=catalog.accelerators, servers=catalog.servers)
    found = _candidates(long, replace(chatbot, output_tokens=output_tokens), accelerators=("alpha",))
    assert found.accepted[0].config.main.engine_args == {"max_model_len": context}
    assert not _candidates(catalog, chatbot).accepted[0].config.main.engine_args


def test_longest_request() -> None:
    """Unbounded lengths reach four deviations, of the logarithm for a lognormal; bounded ones their maximum."""
    normal = Lengths(distribution="normal", mean=100, spread=10)
    lognormal = Lengths(distribution="lognormal", mean=100, spread=1.0)
    assert longest_request(Workload(input_tokens=normal, output_tokens=Lengths(mean=5))) == 145
    assert longest_request(Workload(input_tokens=lognormal, output_tokens=Lengths(mean=5))) == 3312 + 5
    assert longest_request(Workload(input_tokens=replace(normal, maximum=110), output_tokens=Lengths(mean=5))) == 115


def test_machine_of_a_measured_unit(catalog: Catalog, chatbot: Workload, make_config: Any) -> None:
    """A measured unit runs on the machine it names, else on the cheapest that holds it, else on none."""
    requirement = Requirement(model="tiny-8b", workload=chatbot)
    wide = shape_of(make_config("alpha", machine_type="alpha-1g-wide"), requirement, catalog)
    cheap = shape_of(make_config("alpha"), requirement, catalog)
    assert (wide and wide.machine_type, cheap and cheap.machine_type) == ("alpha-1g-wide", "alpha-1g")
    assert shape_of(make_config("alpha", 3), requirement, catalog) is None
    assert shape_of(make_config("someone's own"), requirement, catalog) is None
