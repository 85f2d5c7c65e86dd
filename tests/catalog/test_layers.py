"""The user's layer: it wins by name, says so, and what is wrong in it is named."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from giq.catalog import load_catalog, shipped
from giq.documents import dump_yaml, load_yaml
from giq.errors import CatalogError, DamagedFileError, UnknownNameError

REMOVED = object()


def _write(home: Path, file: str, data: Any) -> Path:
    path = home / "profiles" / file
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(data if isinstance(data, str) else dump_yaml(data))
    return path


def _changed(file: str, changes: dict[str, Any]) -> dict[str, Any]:
    """The shipped *file* as data, with the value at each dotted path replaced (or removed)."""
    data: dict[str, Any] = load_yaml((shipped("profiles") / file).read_text(), file)
    for dotted, value in changes.items():
        *steps, last = [int(step) if step.isdigit() else step for step in dotted.split(".")]
        place: Any = data
        for step in steps:
            place = place[step]
        if value is REMOVED:
            del place[last]
        else:
            place[last] = value
    return data


LLAMA, MIXTRAL, GEMMA = "models/llama-3-8b.yaml", "models/mixtral-8x7b.yaml", "models/gemma-2-2b.yaml"
L4, V6E = "accelerators/nvidia-l4.yaml", "accelerators/tpu-v6e-slice.yaml"
PRICES, CHAT, VLLM = "prices/us-central1.yaml", "use-cases/chatbot.yaml", "servers/vllm.yaml"
WRONG: list[tuple[str, dict[str, Any], str, Any]] = [
    (LLAMA, {"layers": -1}, "layers", -1),
    (LLAMA, {"layers": "many"}, "layers", "many"),
    (LLAMA, {"layers": REMOVED}, "layers", None),
    (LLAMA, {"leyers": 32}, "leyers", 32),
    (LLAMA, {"kv_heads": 5}, "kv_heads", 5),
    (LLAMA, {"active_parameters": 9 * 10**9}, "active_parameters", 9 * 10**9),
    (LLAMA, {"weights": []}, "weights", ()),
    (LLAMA, {"weights.0.precision": "bf61"}, "weights[0].precision", "bf61"),
    (LLAMA, {"weights.1.precision": "bf16"}, "weights[1].precision", "bf16"),
    (LLAMA, {"source.date": "yesterday"}, "source.date", "yesterday"),
    (LLAMA, {"source.title": ""}, "source.title", ""),
    (LLAMA, {"aliases": ["gemma_2 2b"]}, "aliases[0]", "gemma_2 2b"),
    (LLAMA, {"aliases": ["x", "X"]}, "aliases[1]", "X"),
    (LLAMA, {"name": "--"}, "name", "--"),
    (MIXTRAL, {"experts.per_token": 9}, "experts.per_token", 9),
    (GEMMA, {"sliding_window.layers": 99}, "sliding_window.layers", 99),
    (L4, {"kind": "npu"}, "kind", "npu"),
    (L4, {"memory_gb": float("nan")}, "memory_gb", "nan"),
    (L4, {"bandwidth_gb_s": float("inf")}, "bandwidth_gb_s", float("inf")),
    (L4, {"peak_tflops.bf16": 0}, "peak_tflops.bf16", 0),
    (L4, {"resource": REMOVED}, "resource", None),
    (L4, {"shapes.1.machine_type": "g2-standard-4"}, "shapes[1].machine_type", ("g2-standard-4", None, 1)),
    (L4, {"shapes.0.hosts": 2}, "shapes[0].topology", None),
    (V6E, {"shapes.1.topology": "2x4"}, "shapes[1].topology", "2x4"),
    (V6E, {"shapes.1.topology": "two by two"}, "shapes[1].topology", "two by two"),
    (PRICES, {"usd_per_hour.g2-standard-4.on-demand": -1}, "usd_per_hour.g2-standard-4.on-demand", -1),
    (PRICES, {"usd_per_hour.g2-standard-4.weekly": 1}, "usd_per_hour.g2-standard-4.weekly", "weekly"),
    (PRICES, {"usd_per_hour.z9-standard-1": {"spot": 1}}, "usd_per_hour.z9-standard-1", "z9-standard-1"),
    (PRICES, {"usd_per_hour.g2-standard-4": {}}, "usd_per_hour.g2-standard-4", {}),
    (PRICES, {"unit": "chip"}, "usd_per_hour.g2-standard-4", "g2-standard-4"),
    (CHAT, {"input_tokens.minimum": 9000}, "input_tokens.minimum", 9000),
    (CHAT, {"output_tokens.mean": 9000}, "output_tokens.mean", 9000.0),
    (CHAT, {"output_tokens.distribution": "fixed"}, "output_tokens.spread", 0.9),
    (CHAT, {"input_tokens": {"distribution": "uniform", "mean": 9}}, "input_tokens.maximum", None),
    (VLLM, {"versions": []}, "versions", ()),
    (VLLM, {"versions.0.version": "nightly"}, "versions[0].version", "nightly"),
    (VLLM, {"versions.1.version": "0.99.0"}, "versions[1].version", "0.99.0"),
    (VLLM, {"versions.1.version": "0.32.0"}, "versions[1].version", (0, 32, 0)),
    (VLLM, {"versions.0.released": "soon"}, "versions[0].released", "soon"),
    (VLLM, {"versions.0.flags.seed": "-s"}, "versions[0].flags.seed", "-s"),
    (VLLM, {"versions.0.images.npu": "x"}, "versions[0].images.npu", "x"),
    (VLLM, {"versions.0.metrics.running": ""}, "versions[0].metrics.running", ""),
    (VLLM, {"versions.0.defaults_by_accelerator.z9": {}}, "versions[0].defaults_by_accelerator.z9", "z9"),
]


@pytest.mark.parametrize(
    ("file", "changes", "field", "value"), WRONG, ids=[f"{file} {next(iter(ch))}" for file, ch, _, _ in WRONG]
)
def test_a_wrong_field_is_named(tmp_path: Path, file: str, changes: dict[str, Any], field: str, value: Any) -> None:
    """What is wrong in a profile is an error with its file, field and value."""
    path = _write(tmp_path, file, _changed(file, changes))
    with pytest.raises(CatalogError) as caught:
        load_catalog(tmp_path)
    error = caught.value
    assert (error.file, error.field, error.exit_code) == (str(path), field, 4)
    assert error.value == value or str(error.value) == value
    assert all(part in str(error) for part in (str(path), field, repr(error.value)))


@pytest.mark.parametrize("text", ["name: [", "name: a\nname: b\n", "\x00", "- 1\n--- 2\n"])
def test_a_file_that_is_not_yaml_is_named(tmp_path: Path, text: str) -> None:
    """Text that is no YAML, or gives a key twice, is a damaged file and not a traceback."""
    path = _write(tmp_path, LLAMA, text)
    with pytest.raises(DamagedFileError, match=r"llama-3-8b\.yaml") as caught:
        load_catalog(tmp_path)
    assert caught.value.where == str(path)


@pytest.mark.parametrize("text", ["", "just words", "[1, 2]", "3"])
def test_a_file_that_is_no_entry_is_named(tmp_path: Path, text: str) -> None:
    """YAML that is not a mapping is an error of the whole file."""
    _write(tmp_path, LLAMA, text)
    with pytest.raises(CatalogError) as caught:
        load_catalog(tmp_path)
    assert caught.value.field == "(whole file)"


def test_a_file_that_is_not_text(tmp_path: Path) -> None:
    """Bytes that are not UTF-8 are a damaged file."""
    _write(tmp_path, LLAMA, "").write_bytes(b"\xff\xfe\xfa")
    with pytest.raises(DamagedFileError, match="cannot be read"):
        load_catalog(tmp_path)


def test_names_are_taken_once_in_a_layer(tmp_path: Path) -> None:
    """Two files of one layer with the same name are an error that names both."""
    first = _write(tmp_path, "models/a.yaml", _changed(LLAMA, {"name": "mine", "aliases": []}))
    _write(tmp_path, "models/b.yaml", _changed(LLAMA, {"name": "MINE", "aliases": []}))
    with pytest.raises(CatalogError, match=str(first)):
        load_catalog(tmp_path)


def test_the_later_layer_wins_and_says_so(tmp_path: Path) -> None:
    """An entry of the user's replaces the shipped one of that name whole, and its origin tells."""
    path = _write(tmp_path, "models/other-file.yaml", _changed(LLAMA, {"name": "Llama-3-8B", "title": "Mine"}))
    before, after = load_catalog(tmp_path / "nowhere"), load_catalog(tmp_path)
    assert before.origin("model", "llama-3-8b") == "shipped: profiles/models/llama-3-8b.yaml"
    assert after.model("llama-3-8b").title == "Mine"
    assert after.origin("model", "Llama-3-8B") == f"user: {path}"
    assert len(after.models) == len(before.models)
    assert after.origin("model", "gemma-2-2b") == before.origin("model", "gemma-2-2b")


def test_a_new_name_is_added(tmp_path: Path) -> None:
    """A model of the user's own is in the catalog beside the shipped ones."""
    mine = {"name": "mine", "aliases": [], "weights": [{"repository": "me/mine", "precision": "bf16", "bytes": 9}]}
    _write(tmp_path, "models/mine.yml", _changed(LLAMA, mine))
    catalog = load_catalog(tmp_path)
    assert catalog.model("me/mine").name == "mine"
    assert catalog.model("llama-3-8b").name == "llama-3-8b"


def test_fewer_machines_of_the_users_keep_the_shipped_prices_valid(tmp_path: Path) -> None:
    """An accelerator replaced by one with fewer shapes does not make shipped price lists wrong."""
    shape = {"machine_type": "g2-standard-4", "accelerators": 1}
    _write(tmp_path, L4, _changed(L4, {"shapes": [shape]}))
    assert len(load_catalog(tmp_path).accelerator("l4").shapes) == 1


def test_the_home_is_taken_from_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without an argument the user's layer is that of GIQ_HOME."""
    _write(tmp_path, CHAT, _changed(CHAT, {"title": "My chatbot"}))
    monkeypatch.setenv("GIQ_HOME", str(tmp_path))
    assert load_catalog().use_case("chatbot").title == "My chatbot"


def test_a_copy_of_what_ships_is_a_valid_layer(tmp_path: Path) -> None:
    """The shipped profiles, copied whole into the user's layer, load and replace every entry."""
    shutil.copytree(shipped("profiles"), tmp_path / "profiles")
    catalog = load_catalog(tmp_path)
    assert {origin.partition(":")[0] for origin in catalog.origins.values()} == {"user"}


def test_an_unknown_origin(tmp_path: Path) -> None:
    """The origin of what is not in the catalog is an unknown name."""
    with pytest.raises(UnknownNameError):
        load_catalog(tmp_path).origin("price list", "mars-north1")
