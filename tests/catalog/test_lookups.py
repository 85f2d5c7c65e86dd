"""Names are forgiving, unknown ones get the nearest known, and nothing else is ever raised."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from giq.catalog import Model, load_catalog, version_number
from giq.errors import UnknownNameError

CATALOG = load_catalog(Path("/nonexistent"))
LOOKUPS: dict[str, Callable[[str], object]] = {
    "model": CATALOG.model,
    "accelerator": CATALOG.accelerator,
    "use case": CATALOG.use_case,
    "server": CATALOG.server,
    "version": lambda text: CATALOG.server_version("vllm", text),
    "server version": lambda text: CATALOG.server_version(text),
    "origin": lambda text: CATALOG.origin("model", text),
}


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("llama-3-8b", "llama-3-8b"),
        ("LLAMA_3 8b", "llama-3-8b"),
        ("llama-3-8b-instruct", "llama-3-8b"),
        ("Llama3-8B-chat", "llama-3-8b"),
        ("meta-llama/Meta-Llama-3-8B", "llama-3-8b"),
        ("meta-llama/Meta-Llama-3-8B-Instruct", "llama-3-8b"),
        ("NousResearch/Meta-Llama-3-8B-Instruct", "llama-3-8b"),
        ("/models/Meta-Llama-3-8B-Instruct/", "llama-3-8b"),
        ("meta-llama/Llama-3.1-8B", "llama-3.1-8b"),
        ("RedHatAI/Llama-3.3-70B-Instruct-FP8-dynamic", "llama-3.3-70b"),
        ("google/gemma-2-27b-it", "gemma-2-27b"),
        ("gemma2-27b", "gemma-2-27b"),
        ("openai/gpt-oss-20b", "gpt-oss-20b"),
        ("Qwen/Qwen3-30B-A3B", "qwen3-30b-a3b"),
        ("Qwen/Qwen3-30B-A3B-Instruct-2507", "qwen3-30b-a3b-instruct-2507"),
        ("meta-llama/Llama-2-70b-hf", "llama-2-70b"),
    ],
)
def test_models_are_found_by_what_people_call_them(text: str, name: str) -> None:
    """Case, separators, owner and a tuning suffix make no difference."""
    assert CATALOG.model(text).name == name


@pytest.mark.parametrize("text", ["llama-31-8b", "llama-3-18b", "llama", "8b", "meta-llama/", "instruct", "-", ""])
def test_other_numbers_are_other_models(text: str) -> None:
    """A name is never completed or its digits regrouped into a model that was not meant."""
    with pytest.raises(UnknownNameError):
        CATALOG.model(text)


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("l4", "nvidia-l4"),
        ("nvidia_l4", "nvidia-l4"),
        ("A100", "nvidia-tesla-a100"),
        ("a100-80gb", "nvidia-a100-80gb"),
        ("h100", "nvidia-h100-80gb"),
        ("trillium", "tpu-v6e-slice"),
        ("V6E", "tpu-v6e-slice"),
        ("v5e", "tpu-v5-lite-podslice"),
        ("gh200", "nvidia-gh200"),
    ],
)
def test_accelerators_are_found_by_short_names(text: str, name: str) -> None:
    """Short names and GKE labels lead to the same accelerator."""
    assert CATALOG.accelerator(text).name == name


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("NVIDIA H100 80GB HBM3", "nvidia-h100-80gb"),
        ("NVIDIA-H100-80GB-HBM3", "nvidia-h100-80gb"),
        ("NVIDIA L4", "nvidia-l4"),
        ("NVIDIA A100-SXM4-40GB", "nvidia-tesla-a100"),
        ("NVIDIA A100-SXM4-80GB", "nvidia-a100-80gb"),
        ("NVIDIA H200", "nvidia-h200-141gb"),
        ("NVIDIA GH200 480GB", "nvidia-gh200"),
        ("TPU v6 lite", "tpu-v6e-slice"),
        ("tpu-v5-lite-podslice", "tpu-v5-lite-podslice"),
        ("NVIDIA L40S", None),
        ("NVIDIA H100 PCIe", None),
        ("NVIDIA", None),
        ("", None),
    ],
)
def test_detection_needs_the_whole_name(text: str, name: str | None) -> None:
    """A driver's name gives its accelerator, and a sibling's name gives none."""
    found = CATALOG.accelerator_detected_as(text)
    assert (found.name if found else None) == name


def test_unknown_names_get_the_nearest() -> None:
    """The error of a misspelt name carries what was probably meant."""
    with pytest.raises(UnknownNameError) as model:
        CATALOG.model("lama-3-8b")
    assert model.value.nearest[0] == "llama-3-8b"
    with pytest.raises(UnknownNameError, match="trillium"):
        CATALOG.accelerator("trilium")
    with pytest.raises(UnknownNameError, match="chatbot"):
        CATALOG.use_case("chat-bot-x")
    with pytest.raises(UnknownNameError, match="vllm"):
        CATALOG.server("vlm")


@pytest.mark.parametrize(
    ("asked", "found"),
    [
        (None, "0.32.0"),
        ("0.32.0", "0.32.0"),
        ("v0.32.0", "0.32.0"),
        ("0.33.0", "0.32.0"),
        ("1.0.0rc1+cu130", "0.32.0"),
        ("0.26.1", "0.24.0"),
        ("0.10.0", "0.10.2"),
        ("0.9", "0.9.2"),
        ("0.8.5.post1", "0.8.5"),
    ],
)
def test_versions_resolve_to_the_entry_that_describes_them(asked: str | None, found: str) -> None:
    """A version that has no entry is described by its own minor's, else by the newest older one."""
    assert CATALOG.server_version("vLLM", asked).version == found


@pytest.mark.parametrize("asked", ["0.7.3", "latest", "", "v", "9" * 5000])
def test_versions_that_no_entry_describes(asked: str) -> None:
    """What is older than every entry, or no version, is unknown."""
    with pytest.raises(UnknownNameError):
        CATALOG.server_version("vllm", asked)


def test_version_numbers() -> None:
    """A version begins with major and minor; the patch may be missing."""
    assert version_number(" v0.10 ") == (0, 10, 0)
    assert version_number("0.24.1rc2+cu128") == (0, 24, 1)
    assert version_number("nightly") is None


@pytest.mark.parametrize("lookup", LOOKUPS)
@given(text=st.text() | st.text(alphabet="lamx34.-/_ b8"))
def test_lookups_raise_nothing_but_unknown_names(lookup: str, text: str) -> None:
    """Whatever is asked for, the answer is an entry or an UnknownNameError."""
    try:
        found = LOOKUPS[lookup](text)
    except UnknownNameError:
        return
    assert found is not None


@given(text=st.text())
def test_detection_raises_nothing(text: str) -> None:
    """Whatever a driver calls itself, detection answers."""
    CATALOG.accelerator_detected_as(text)


@given(st.sampled_from(CATALOG.models), st.sampled_from([str.upper, str.title, lambda name: name.replace("-", "_")]))
def test_every_name_leads_to_its_entry(model: Model, change: Callable[[str], str]) -> None:
    """Each name, alias and repository of a model finds that model, however it is spelt."""
    names = (model.name, *model.aliases, *(item.repository for item in model.weights))
    assert all(CATALOG.model(change(name)) is model for name in names)
