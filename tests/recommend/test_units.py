"""Which measured units are the candidates that the catalog gives."""

from __future__ import annotations

from typing import Any

import pytest

from giq.catalog.catalog import Catalog, load_catalog
from giq.catalog.configuration import ServingConfiguration
from giq.catalog.use_cases import Lengths
from giq.documents import replace
from giq.load.identity import ServerIdentity
from giq.profiling.configuration import identify
from giq.profiling.options import Declared, parse_accelerator
from giq.recommend.candidates import candidate_configurations
from giq.recommend.requirement import Requirement
from giq.recommend.units import same_unit
from giq.workload.workload import Workload

SHORT = Workload(input_tokens=Lengths(mean=64), output_tokens=Lengths(mean=8))


@pytest.fixture(scope="module")
def shipped() -> Catalog:
    """The catalog that ships."""
    return load_catalog()


@pytest.fixture(scope="module")
def candidate(shipped: Catalog) -> ServingConfiguration:
    """Llama 3 8B on one L4, as `giq recommend` considers it."""
    asked = Requirement(model="llama-3-8b", workload=SHORT, accelerators=("nvidia-l4",))
    return candidate_configurations(asked, shipped).accepted[0].config


@pytest.fixture(scope="module")
def measured(shipped: Catalog, candidate: ServingConfiguration) -> ServingConfiguration:
    """The same, as `giq profile` identifies a vLLM server of the candidate's version."""
    declared = Declared(accelerator=parse_accelerator("nvidia-l4:1"))
    identity = ServerIdentity(
        server="vllm", version=candidate.main.server_version, models=("meta-llama/Meta-Llama-3-8B-Instruct",),
        model="meta-llama/Meta-Llama-3-8B-Instruct", max_model_len=8192, simulated=None, metrics=True, rtt_s=0.001,
        alphabet=None, accepts_token_ids=False, busy=0,
    )  # fmt: skip
    return identify(declared, identity, None, shipped).config


def test_what_profile_identifies_is_the_candidate(
    shipped: Catalog, candidate: ServingConfiguration, measured: ServingConfiguration
) -> None:
    """An unknown precision, the context as told and a machine type make another id, but no other unit."""
    assert measured.main.precision == "unknown"
    assert measured.config_id != candidate.config_id
    fields: tuple[dict[str, Any], ...] = (
        {},
        {"machine_type": "g2-standard-4"},
        {"engine_args": {"max_model_len": 8192}},
        {"model": "meta-llama/Meta-Llama-3-8B-Instruct"},
    )
    for told in fields:
        config = replace(measured, components=(replace(measured.main, **told),))
        assert same_unit(config, candidate, shipped.model("llama-3-8b"))


@pytest.mark.parametrize(
    "fields",
    [
        {"accelerator": "nvidia-a100-80gb"},
        {"accelerators_per_host": 2},
        {"hosts": 2},
        {"topology": "2x2"},
        {"tp": 2},
        {"pp": 2},
        {"dp": 2},
        {"ep": 2},
        {"precision": "fp8"},
        {"server": "other"},
        {"server_version": "0.1.0"},
        {"server_version": "unknown"},
        {"engine_args": {"max_model_len": 4096}},
        {"engine_args": {"enforce_eager": True}},
        {"model": "llama-3.1-8b"},
    ],
    ids=str,
)
def test_another_unit(
    shipped: Catalog, candidate: ServingConfiguration, measured: ServingConfiguration, fields: dict[str, Any]
) -> None:
    """Whatever changes the speed makes another unit."""
    other = replace(measured, components=(replace(measured.main, **fields),))
    assert not same_unit(other, candidate, shipped.model("llama-3-8b"))


def test_unknown_precision_is_only_the_default_one(
    shipped: Catalog, candidate: ServingConfiguration, measured: ServingConfiguration
) -> None:
    """A server of unknown precision is not taken for one of weights that must be asked for."""
    quantised = replace(candidate, components=(replace(candidate.main, precision="fp8"),))
    assert not same_unit(measured, quantised, shipped.model("llama-3-8b"))


def test_patch_releases_are_one_version(
    shipped: Catalog, candidate: ServingConfiguration, measured: ServingConfiguration
) -> None:
    """Major and minor version decide."""
    minor = measured.main.server_version.rpartition(".")[0]
    patched = replace(measured, components=(replace(measured.main, server_version=f"{minor}.99"),))
    assert same_unit(patched, candidate, shipped.model("llama-3-8b"))


@pytest.mark.parametrize(("name", "same"), [("llama-3-8b", True), ("qwen3-30b-a3b", False)])
def test_random_weights_are_no_other_unit_but_where_they_choose_experts(
    shipped: Catalog, name: str, same: bool
) -> None:
    """A dense model is as fast with random weights; a mixture of experts then routes otherwise."""
    asked = Requirement(model=name, workload=SHORT, accelerators=("nvidia-h100-80gb",))
    config = candidate_configurations(asked, shipped).accepted[0].config
    main = replace(config.main, engine_args=config.main.engine_args | {"load_format": "dummy"})
    loaded = replace(config.main, engine_args=config.main.engine_args | {"load_format": "runai_streamer"})

    assert same_unit(replace(config, components=(main,)), config, shipped.model(name)) is same
    assert same_unit(replace(config, components=(loaded,)), config, shipped.model(name))
