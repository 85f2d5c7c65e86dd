"""The folder from which vLLM serves a catalog model without its weights."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from giq.catalog import Catalog, load_catalog
from giq.errors import UsageError
from giq.profiling.options import Declared
from giq.profiling.random_weights import model_config, tokenizer, weightless_folder
from giq.profiling.server_process import launch_command

RANDOM: dict[str, Any] = {"load_format": "dummy", "max_model_len": 8192}


@pytest.fixture(scope="module")
def catalog() -> Catalog:
    """The catalog that ships."""
    return load_catalog()


@pytest.mark.parametrize(
    ("name", "architecture"),
    [
        ("llama-3.1-8b", "LlamaForCausalLM"),
        ("qwen3-32b", "Qwen3ForCausalLM"),
        ("qwen3-30b-a3b", "Qwen3MoeForCausalLM"),
    ],
)
def test_the_configuration_gives_the_parameters_that_the_catalog_counts(
    catalog: Catalog, name: str, architecture: str
) -> None:
    """Embeddings, attention and MLP of the sizes in config.json come to the model's own count within 0.01 %."""
    config = model_config(catalog.model(name))
    hidden, heads = config["hidden_size"], config["head_dim"] * config["num_attention_heads"]
    keys = config["head_dim"] * config["num_key_value_heads"]
    mlp = 3 * hidden * config["intermediate_size"]
    if "num_experts" in config:
        mlp = config["num_experts"] * (3 * hidden * config["moe_intermediate_size"] + hidden)
    layer = 2 * hidden * heads + 2 * hidden * keys + mlp

    assert config["architectures"] == [architecture]
    assert 2 * config["vocab_size"] * hidden + config["num_hidden_layers"] * layer == pytest.approx(
        catalog.model(name).parameters, rel=1e-4
    )


def test_every_token_of_the_tokenizer_is_some_text() -> None:
    """Ids are 0 to the size, and each word is two tokens before it joined, so that text is split into it."""
    made = tokenizer(3000)["model"]
    ids: dict[str, int] = made["vocab"]

    assert sorted(ids.values()) == list(range(3000))
    assert len(made["merges"]) == 3000 - 2 - 256
    for number, merge in enumerate(made["merges"]):
        left, right = merge.split(" ")
        assert ids[left + right] == number + 258
        assert max(ids[left], ids[right]) < ids[left + right]


def test_a_folder_is_made_once_for_what_it_holds(catalog: Catalog, tmp_path: Path) -> None:
    """The same model gives the same folder, another dtype another one, and nothing else is left behind."""
    model = catalog.model("llama-3.1-8b")
    first, again, half = (weightless_folder(model, precision, tmp_path) for precision in ("bf16", "bf16", "fp16"))

    assert first == again != half
    assert json.loads((first / "config.json").read_text())["torch_dtype"] == "bfloat16"
    assert json.loads((half / "config.json").read_text())["torch_dtype"] == "float16"
    assert {path.name for path in (tmp_path / "random-weights").iterdir()} == {first.name, half.name}


def test_what_giq_cannot_describe_is_refused(catalog: Catalog, tmp_path: Path) -> None:
    """An architecture that the catalog's facts do not tell, or a precision that cannot be drawn, is a clear error."""
    with pytest.raises(UsageError, match="cannot describe gemma-2-2b"):
        weightless_folder(catalog.model("gemma-2-2b"), None, tmp_path)
    with pytest.raises(UsageError, match="not in int4"):
        weightless_folder(catalog.model("llama-3.1-8b"), "int4", tmp_path)


@pytest.mark.parametrize(("precision", "quantized"), [("bf16", False), ("fp8", True)])
def test_launching_with_random_weights_downloads_nothing(
    catalog: Catalog, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, precision: str, quantized: bool
) -> None:
    """The folder is served under the model's name; fp8 is made by vLLM from bf16."""
    monkeypatch.setenv("GIQ_HOME", str(tmp_path))
    declared = Declared(model="llama-3.1-8b", precision=precision, engine_args=RANDOM)
    command = launch_command(declared, catalog, 8123, sys.executable, trust=False)
    folder = Path(command[command.index("--model") + 1])

    assert folder.is_relative_to(tmp_path)
    assert command[command.index("--served-model-name") + 1] == "llama-3.1-8b"
    assert command[command.index("--load-format") + 1] == "dummy"
    assert ("--quantization" in command) is quantized
