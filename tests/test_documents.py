"""YAML and JSON in and out, and the identity made from values."""

from __future__ import annotations

import copy
import pickle
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from giq.catalog import Component, Lengths, ServingConfiguration
from giq.documents import canonical_json, content_id, decode_json, encode_json, load_yaml, read, replace
from giq.errors import CatalogError, DamagedFileError
from giq.workload.workload import Arrival, Sampling, Workload

PLAIN = Workload(input_tokens=Lengths(mean=512), output_tokens=Lengths(mean=128))


def test_equal_values_have_one_identity() -> None:
    """Whether a default was said or not, a number whole or a float, a value copied or sent: one id."""
    said = Workload(
        use_case=None,
        input_tokens=Lengths(distribution="fixed", mean=512.0, spread=0, minimum=1),
        output_tokens=Lengths(mean=128.0),
        arrival=Arrival(law="poisson"),
        sampling=Sampling(temperature=0, ignore_eos=True),
    )

    same = (said, copy.deepcopy(said), pickle.loads(pickle.dumps(said)), decode_json(encode_json(said), Workload, "x"))

    assert {item.workload_id for item in same} == {PLAIN.workload_id}


def test_any_difference_is_another_identity() -> None:
    """A changed length, law or sampling is another workload; a changed engine argument another configuration."""
    changed = (
        replace(PLAIN, input_tokens=Lengths(mean=513)),
        replace(PLAIN, arrival=Arrival(law="constant")),
        replace(PLAIN, sampling=Sampling(ignore_eos=False)),
    )
    one = ServingConfiguration(components=(Component(model="m", engine_args={"max_num_seqs": 1}),))
    other = ServingConfiguration(components=(Component(model="m", engine_args={"max_num_seqs": 2}),))

    assert len({PLAIN.workload_id, *(item.workload_id for item in changed)}) == 4
    assert one.config_id != other.config_id


def test_the_canonical_json_has_sorted_keys_and_no_defaults() -> None:
    """The text that ids are made from says only what differs from the default, in one order."""
    assert PLAIN.canonical() == '{"input_tokens":{"mean":512},"output_tokens":{"mean":128}}'


@given(st.dictionaries(st.text(max_size=5), st.one_of(st.none(), st.integers(), st.text(max_size=5)), max_size=5))
def test_the_order_of_keys_never_matters(value: dict[str, object]) -> None:
    """Two dicts with the same items have the same canonical JSON, and nulls say nothing."""
    backwards = dict(reversed(value.items()))

    assert canonical_json(value) == canonical_json(backwards)
    assert content_id(value) == content_id({key: item for key, item in value.items() if item is not None})


@pytest.mark.parametrize(
    ("text", "field", "value"),
    [
        ("mean: many", "mean", "many"),
        ("mean: -3", "mean", -3),
        ("{mean: 3, maximun: 9}", "maximun", 9),
        ("{mean: 3, minimum: 0}", "minimum", 0),
        ("{mean: 3, distribution: pareto}", "distribution", "pareto"),
    ],
)
def test_a_wrong_field_names_file_field_and_value(text: str, field: str, value: object, tmp_path: Path) -> None:
    """The error of a wrong field says in which file, which field, and what stood there."""
    path = tmp_path / "lengths.yaml"
    path.write_text(text)

    with pytest.raises(CatalogError) as told:
        read(path, Lengths)

    assert (told.value.file, told.value.field, told.value.value) == (str(path), field, value)


@pytest.mark.parametrize("text", ["{", "a: [1", "!!python/object:os.system {}", "a: 1\na: 2"])
def test_what_is_no_safe_yaml_is_damaged(text: str) -> None:
    """Broken YAML, objects and doubled keys are refused with the place."""
    with pytest.raises(DamagedFileError, match=r"mine\.yaml"):
        load_yaml(text, "mine.yaml")
