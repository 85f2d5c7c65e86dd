"""The folder of a catalog model without its weights: vLLM serves it with random ones (`load_format=dummy`).

How fast a dense model is does not depend on the values of its weights, so its speed can be measured where they cannot
be had. A mixture of experts chooses its experts by those values: there it is another routing that is measured.
"""

from __future__ import annotations

import hashlib
import shutil
import tempfile
from collections.abc import Iterator
from itertools import islice, product
from pathlib import Path
from string import ascii_lowercase
from typing import Any, NamedTuple

from giq.catalog import Model
from giq.catalog.configuration import EngineValue
from giq.documents import encode_json
from giq.errors import StorageError, UsageError

BEGIN, END = "<s>", "</s>"

CHAT_TEMPLATE = "{% for message in messages %}{{ message['content'] }}{{ eos_token }}{% endfor %}"


class Family(NamedTuple):
    """How models of one architecture are described to vLLM, apart from their sizes."""

    architecture: str
    model_type: str
    constants: dict[str, Any]


_EVERY = {"hidden_act": "silu", "attention_bias": False, "attention_dropout": 0.0, "initializer_range": 0.02}
_QWEN3 = {**_EVERY, "rms_norm_eps": 1e-6, "rope_theta": 1_000_000.0, "use_sliding_window": False}

FAMILIES = {
    ("llama", False): Family("LlamaForCausalLM", "llama", {**_EVERY, "rms_norm_eps": 1e-5, "rope_theta": 500_000.0}),
    ("qwen3", False): Family("Qwen3ForCausalLM", "qwen3", _QWEN3),
    ("qwen3", True): Family(
        "Qwen3MoeForCausalLM", "qwen3_moe", {**_QWEN3, "decoder_sparse_step": 1, "norm_topk_prob": True}
    ),
}
"""By the first word of a model's name, and whether it has experts. Constants as in the config.json of
meta-llama/Llama-3.1-8B-Instruct, Qwen/Qwen3-32B and Qwen/Qwen3-30B-A3B; they do not change the work of a step."""

DTYPES = {"bf16": "bfloat16", "fp16": "float16", "fp8": "bfloat16"}
"""What the weights are drawn as; those of fp8 are then quantized by vLLM."""


def random_weights_words(model: Model | None) -> str:
    """What is to be said of measurements of *model* (None: outside the catalog) with random weights."""
    words = "The weights are random (load_format=dummy): only the server's speed means anything, not what it writes."
    if model is not None and model.experts is not None:
        words += " They choose experts at random, so that steps may read more or fewer experts than real ones would."
    return words


def launch_arguments(model: Model, precision: str | None) -> dict[str, EngineValue]:
    """The engine arguments by which a folder of *model* is served under its name and in *precision*."""
    named: dict[str, EngineValue] = {"served_model_name": model.name}
    return named | ({"quantization": "fp8"} if precision == "fp8" else {})


def weightless_folder(model: Model, precision: str | None, home: Path) -> Path:
    """A folder below *home* with the configuration of *model* and a tokenizer, made where it is missing.

    Raises:
        StorageError: it cannot be written.
        UsageError: giq cannot describe that model, or not in *precision* (default: that of its weights).
    """
    files = {
        "config.json": encode_json(model_config(model, precision), indent=2),
        "tokenizer.json": encode_json(tokenizer(model.vocab_size)),
        "tokenizer_config.json": encode_json(_tokenizer_config(model), indent=2),
    }
    digest = hashlib.sha256(b"\0".join(files.values())).hexdigest()[:8]
    folder = home / "random-weights" / f"{model.name}-{digest}"
    if not folder.is_dir():
        _write(folder, files)
    return folder


def _write(folder: Path, files: dict[str, bytes]) -> None:
    """The folder, whole when it gets its name."""
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        scratch = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
        try:
            for name, content in files.items():
                (scratch / name).write_bytes(content + b"\n")
            scratch.chmod(0o755)
            if not folder.is_dir():
                scratch.rename(folder)
        finally:
            shutil.rmtree(scratch, ignore_errors=True)
    except OSError as error:
        raise StorageError(f"cannot be written: {error.strerror}", where=str(folder)) from error


def model_config(model: Model, precision: str | None = None) -> dict[str, Any]:
    """The config.json of *model* as vLLM reads it.

    Raises:
        UsageError: its architecture cannot be told from the catalog, or not in that precision.
    """
    family = FAMILIES.get((model.name.partition("-")[0], model.experts is not None))
    if family is None:
        known = ", ".join(sorted(item.architecture for item in FAMILIES.values()))
        raise UsageError(
            f"giq cannot describe {model.name} to vLLM without its own config.json",
            hint=f"It knows {known}. For others give --model a folder that has config.json and a tokenizer.",
        )
    wanted = precision or model.weights[0].precision
    if wanted not in DTYPES:
        known = ", ".join(DTYPES)
        raise UsageError(f"random weights come in {known}, not in {wanted}", hint="Give another --precision.")
    return {
        "architectures": [family.architecture],
        "model_type": family.model_type,
        "torch_dtype": DTYPES[wanted],
        "vocab_size": model.vocab_size,
        "hidden_size": model.hidden_size,
        "intermediate_size": model.intermediate_size,
        "num_hidden_layers": model.layers,
        "num_attention_heads": model.attention_heads,
        "num_key_value_heads": model.kv_heads,
        "head_dim": model.head_dim,
        "max_position_embeddings": model.max_context,
        "tie_word_embeddings": model.tied_embeddings,
        "bos_token_id": 0,
        "eos_token_id": 1,
        "transformers_version": "4.51.0",  # of one that is not said, newer ones doubt the tokenizer
        **family.constants,
        **_experts(model),
    }


def _experts(model: Model) -> dict[str, Any]:
    if model.experts is None:
        return {}
    return {
        "num_experts": model.experts.count,
        "num_experts_per_tok": model.experts.per_token,
        "moe_intermediate_size": model.experts.intermediate_size,
        "mlp_only_layers": list(range(model.experts.dense_layers)),
    }


def tokenizer(size: int) -> dict[str, Any]:
    """The tokenizer.json of a byte-level BPE with *size* tokens, so that every id that is drawn is some text.

    Two special tokens, the 256 bytes, then words: a blank and up to four letters, each of them its shorter one and a
    letter. So a text of such words is split into just these, and any text into something.
    """
    letters = _byte_letters()
    words = list(islice(_words(letters[ord(" ")]), size - 2 - len(letters)))
    tokens = [BEGIN, END, *letters, *words]
    special = [
        {
            "id": number, "content": text, "special": True,
            "single_word": False, "lstrip": False, "rstrip": False, "normalized": False,
        }
        for number, text in enumerate((BEGIN, END))
    ]  # fmt: skip
    by_bytes = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": special,
        "normalizer": None,
        "pre_tokenizer": by_bytes,
        "post_processor": None,
        "decoder": by_bytes,
        "model": {
            "type": "BPE",
            "dropout": None,
            "unk_token": None,
            "continuing_subword_prefix": None,
            "end_of_word_suffix": None,
            "fuse_unk": False,
            "byte_fallback": False,
            "vocab": {text: number for number, text in enumerate(tokens)},
            "merges": [f"{word[:-1]} {word[-1]}" for word in words],
        },
    }


def _byte_letters() -> list[str]:
    """The letter that stands for each byte in byte-level BPE: itself where it can be seen, else one from 256 on."""
    seen = {*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)}
    hidden = [byte for byte in range(256) if byte not in seen]
    return [chr(byte) if byte in seen else chr(256 + hidden.index(byte)) for byte in range(256)]


def _words(blank: str) -> Iterator[str]:
    """A blank with one letter, two, three and four, in alphabetical order."""
    for length in range(1, 5):
        yield from (blank + "".join(letters) for letters in product(ascii_lowercase, repeat=length))


def _tokenizer_config(model: Model) -> dict[str, Any]:
    return {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": BEGIN,
        "eos_token": END,
        "model_max_length": model.max_context,
        "clean_up_tokenization_spaces": False,
        "chat_template": CHAT_TEMPLATE,
    }
