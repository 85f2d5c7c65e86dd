"""Image, command and arguments follow the server's version."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from giq.catalog.catalog import Catalog
from giq.catalog.configuration import Component
from giq.documents import replace
from giq.errors import IncompatibleError, UsageError
from giq.manifest.engine_command import engine_command, escaped, pinned_image

PART = Component(model="m", engine_args={})


def arguments(catalog: Catalog, part: Component, version: str = "0.32.0") -> tuple[str, ...]:
    """The arguments without the model."""
    return engine_command(catalog.server_version("vllm", version), part, "org/m", {})[1][1:]


def expanded(text: str, variables: dict[str, str]) -> str:
    """What Kubernetes makes of a command's text: `$$` is `$`, `$(NAME)` a known variable's value."""
    return re.sub(
        r"\$(\$|\(([^)]*)\))",
        lambda found: "$" if found[1] == "$" else variables.get(found[2], found[0]),
        text,
    )


def test_the_model_is_named_as_the_version_wants_it(catalog: Catalog) -> None:
    """`vllm serve` gets the model as its first argument, the older entry point as --model."""
    for version, model in (("0.32.0", "org/m"), ("0.10.0", "--model=org/m")):
        assert engine_command(catalog.server_version("vllm", version), PART, "org/m", {})[1][0] == model


def test_a_model_that_looks_like_a_flag_is_refused(catalog: Catalog) -> None:
    """A repository name cannot smuggle in a flag."""
    with pytest.raises(UsageError, match="begins like a flag"):
        engine_command(catalog.server_version(), PART, "--trust-remote-code", {})


def test_effective_values_become_flags_in_the_order_of_their_names(catalog: Catalog) -> None:
    """Parallelism, KV type and engine arguments of the configuration are passed, switches as vLLM spells them."""
    part = replace(
        PART,
        tp=4,
        kv_dtype="fp8",
        engine_args={"max_num_seqs": 128, "enable_prefix_caching": False, "enable_log_requests": False},
    )
    assert arguments(catalog, part) == (
        "--no-enable-prefix-caching",
        "--kv-cache-dtype=fp8",
        "--max-num-seqs=128",
        "--tensor-parallel-size=4",
    )
    on = replace(PART, engine_args={"enable_prefix_caching": True, "gpu_memory_utilization": 0.9})
    assert arguments(catalog, on) == ("--enable-prefix-caching", "--gpu-memory-utilization=0.9")


def test_a_flag_that_the_version_lacks_is_named(catalog: Catalog) -> None:
    """An engine argument without a flag is an error with the version and the argument."""
    part = replace(PART, engine_args={"num_scheduler_steps": 8})
    with pytest.raises(UsageError, match=r"0\.10\.0 has no flag for the engine argument 'num_scheduler_steps'"):
        arguments(catalog, part, "0.10.0")


def test_an_argument_that_carries_a_key_is_refused_without_showing_it(catalog: Catalog) -> None:
    """An API key among the engine arguments reaches neither the manifest nor the message."""
    with pytest.raises(UsageError) as refused:
        arguments(catalog, replace(PART, engine_args={"api_key": "sk-very-secret"}))
    assert "sk-very-secret" not in str(refused.value)


def test_a_contradiction_is_refused(catalog: Catalog) -> None:
    """A configuration whose field and engine argument differ is an error naming both values."""
    with pytest.raises(IncompatibleError, match="tensor_parallel_size is 2 in one and 4 in the other"):
        arguments(catalog, replace(PART, tp=2, engine_args={"tensor_parallel_size": 4}))


def test_what_the_manifest_decides_is_not_taken_from_the_measured_server(catalog: Catalog) -> None:
    """Host, port and names of the server that was measured do not reach the manifest."""
    measured = {"host": "10.0.0.7", "port": 9000, "model": "/data/m", "served_model_name": "x"}
    assert arguments(catalog, replace(PART, engine_args=measured)) == ()


@given(st.text(alphabet=st.sampled_from("$()AB ") | st.characters(exclude_characters="\0"), max_size=40))
def test_kubernetes_expands_nothing(text: str) -> None:
    """What Kubernetes makes of an escaped text is the text, whatever variables there are."""
    assert expanded(escaped(text), {"A": "secret", "HF_TOKEN": "secret"}) == text


def test_a_null_character_is_refused() -> None:
    """No process can be given a null character, so it is an error here and not in the cluster."""
    with pytest.raises(UsageError, match="null character"):
        escaped("a\0b")


def test_images_are_pinned(catalog: Catalog) -> None:
    """The image is the version's for that kind; by digest where the configuration has one; never a moving tag."""
    version = catalog.server_version()
    digest = "sha256:" + "0" * 64
    assert pinned_image(version, "tpu") == "vllm/vllm-tpu:v0.32.0"
    assert pinned_image(version, "gpu", digest) == f"vllm/vllm-openai@{digest}"
    with_port = replace(version, images={"gpu": "registry.local:5000/vllm:v1"})
    assert pinned_image(with_port, "gpu", digest) == f"registry.local:5000/vllm@{digest}"
    for image in ("vllm/vllm-openai", "vllm/vllm-openai:latest", "registry.local:5000/vllm"):
        with pytest.raises(UsageError, match="not pinned"):
            pinned_image(replace(version, images={"gpu": image}), "gpu")
    with pytest.raises(UsageError, match="no image for a TPU"):
        pinned_image(catalog.server_version("vllm", "0.10.0"), "tpu")
