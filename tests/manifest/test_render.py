"""Rendering: the same bytes, nothing unquoted, nothing undefined, and no name that changes the structure."""

from __future__ import annotations

import os
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from giq import __version__
from giq.catalog.catalog import Catalog
from giq.catalog.configuration import ServingConfiguration
from giq.catalog.shipped import shipped
from giq.documents import load_yaml, load_yaml_all, replace
from giq.errors import GiqError, UsageError
from giq.manifest.choice import ServingChoice
from giq.manifest.options import ManifestOptions
from giq.manifest.plan import Plan, make_plan
from giq.manifest.render import quote, render

GOLDEN = Path(__file__).parent.parent / "golden"
TEMPLATES = sorted(shipped("manifests").glob("*.j2"))
HOSTILE = [
    "\n---\nkind: Pod",
    "{{7*7}}",
    "{% for x in y %}",
    "yes",
    "1e3",
    "0x1F",
    "null",
    "~",
    "2026-11-21",
    "<<",
    "*a",
    "&a b",
    "!!python/object:os.system",
    "a: b",
    "a #b",
    '"',
    "'",
    "\\",
    "\\u0041",
    "$(HF_TOKEN)",
    "$$(HF_TOKEN)",
    "\t",
    "\r\n",
    "\x85\u2028\u2029\ufeff\x7f\x1b",
    "\U0001f600é\ud7ff\uffff",
    "x" * 300,
]
TEXTS = st.sampled_from(HOSTILE) | st.text(max_size=60)


def shape_of(value: Any) -> Any:
    """The structure of a parsed document: its keys and lengths, with the type in place of each value."""
    if isinstance(value, dict):
        return {key: shape_of(item) for key, item in value.items()}
    if isinstance(value, list):
        return [shape_of(item) for item in value]
    return type(value).__name__


def structure(plan: Plan) -> list[Any]:
    """The structure of all documents of a plan."""
    return [shape_of(document) for document in load_yaml_all(render(plan), "rendered")]


def expanded(text: str) -> str:
    """What Kubernetes passes to the process: it turns `$$` into `$`."""
    return text.replace("$$", "$")


@pytest.mark.parametrize("kind", ["gpu", "tpu"])
def test_manifests_are_as_recorded(kind: str, catalog: Catalog, request: pytest.FixtureRequest) -> None:
    """The whole text of one GPU and one TPU plan; GIQ_UPDATE_GOLDEN=1 writes it anew."""
    text = render(make_plan(request.getfixturevalue(kind), catalog, ManifestOptions()))
    text = text.replace(f'"giq.dev/giq-version": "{__version__}"', '"giq.dev/giq-version": "VERSION"')
    golden = GOLDEN / f"manifest-{kind}.yaml"
    if os.environ.get("GIQ_UPDATE_GOLDEN"):
        golden.write_text(text, encoding="utf-8")
    assert text == golden.read_text(encoding="utf-8")


def test_rendering_twice_gives_the_same_bytes(catalog: Catalog, gpu: ServingChoice) -> None:
    """Two plans made apart from the same choice render alike."""
    first, second = (render(make_plan(gpu, catalog, ManifestOptions())) for _ in range(2))
    assert first == second


def test_no_autoscaler_no_document(catalog: Catalog, gpu: ServingChoice) -> None:
    """Without an autoscaler there are three documents, and the Deployment has its replicas and the reason."""
    plan = make_plan(replace(gpu, levels=()), catalog, ManifestOptions())
    documents = load_yaml_all(render(plan), "rendered")
    assert [document["kind"] for document in documents] == ["Deployment", "Service", "PodMonitoring"]
    assert documents[0]["spec"]["replicas"] == 2
    assert "none: the curve lacks" in documents[0]["metadata"]["annotations"]["giq.dev/autoscaling"]


@pytest.mark.parametrize("template", TEMPLATES, ids=lambda path: path.name)
def test_every_value_passes_the_filter(template: Path) -> None:
    """Each expression that is printed ends in the quoting filter and starts from what the template is given."""
    text = template.read_text(encoding="utf-8")
    printed = re.findall(r"\{\{(.*?)\}\}", text)
    assert printed
    assert all(re.fullmatch(r" [a-z_.]+ \| q ", expression) for expression in printed)
    assert not re.search(r"\|\s*(safe|tojson)|\{%-?\s*(autoescape|filter|macro|raw)", text)


def altered(tmp_path: Path, old: str, new: str) -> Path:
    """The shipped templates, with one text of the Deployment's replaced."""
    shutil.copytree(shipped("manifests"), tmp_path / "templates")
    deployment = tmp_path / "templates" / "deployment.yaml.j2"
    text = deployment.read_text(encoding="utf-8")
    assert old in text
    deployment.write_text(text.replace(old, new), encoding="utf-8")
    return tmp_path / "templates"


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("container.image | q", "container.imagee | q", "imagee"),
        ("container.image | q", "imagee | q", "'imagee' is undefined"),
        ("container.image | q", "container.image", "did not pass the filter q"),
        ("container.image | q", "container.resources | q", "not text"),
        ("plan.replicas is not none", "plan.replica", "replica"),
        ("maxSurge: 1", "maxSurge: {{ 1 }}", "did not pass the filter q"),
        ("maxSurge: 1", "maxSurge: {{ 1 |", "deployment.yaml.j2"),
        ("image: {{ container.image | q }}", "image: other:v1", "containers.0.image"),
        ("enableServiceLinks: false", "enableServiceLinks: false\n      hostNetwork: true", "hostNetwork"),
        ("kind: Deployment", "kind: StatefulSet", "kinds of documents"),
    ],
)  # fmt: skip
def test_a_wrong_template_is_an_error(
    tmp_path: Path, catalog: Catalog, gpu: ServingChoice, old: str, new: str, message: str
) -> None:
    """An undefined value, an unquoted one, and documents that are not what was asked are errors, not output."""
    plan = make_plan(gpu, catalog, ManifestOptions())
    with pytest.raises(GiqError, match=re.escape(message)):
        render(plan, altered(tmp_path, old, new))


@given(TEXTS | st.integers(-(2**40), 2**40) | st.booleans())
def test_a_quoted_scalar_parses_back(value: str | int) -> None:
    """Whatever is quoted is one line of YAML that means the same value of the same type, as a value and as a key."""
    quoted = quote(value)
    found = load_yaml(f"a: {quoted}\nb:\n  - {quoted}\n", "quoted")
    assert found == {"a": value, "b": [value]}
    assert type(found["a"]) is type(value)
    assert len(quoted.splitlines()) == 1
    if isinstance(value, str):
        assert load_yaml(f"{quoted}: 1", "quoted") == {value: 1}


@settings(max_examples=60, deadline=None)
@given(model=TEXTS.filter(bool), repository=TEXTS.filter(bool), served=TEXTS, argument=TEXTS, words=TEXTS)
def test_hostile_names_change_no_structure(
    catalog: Catalog, gpu: ServingChoice, model: str, repository: str, served: str, argument: str, words: str
) -> None:
    """Names and values of any kind give the same documents with the same fields, and arrive as they were."""
    repository, served, argument = (text.replace("\0", "") for text in (f"org/{repository}", served, argument))
    part = replace(gpu.config.main, model=model, engine_args={"quantization": argument})
    hostile = replace(
        gpu,
        config=ServingConfiguration(components=(part,)),
        weights_repository=repository,
        curve_id=words,
        source=words,
        workload=words,
        targets=(words,),
        measured_at=words,
    )
    benign = replace(gpu, config=ServingConfiguration(components=(replace(part, engine_args={"quantization": "fp8"}),)))
    options = ManifestOptions(served_model_name=served)
    text = render(make_plan(hostile, catalog, options))
    documents = load_yaml_all(text, "rendered")
    assert [shape_of(document) for document in documents] == structure(make_plan(benign, catalog, options))
    args = [expanded(item) for item in documents[0]["spec"]["template"]["spec"]["containers"][0]["args"]]
    assert {repository, f"--quantization={argument}", f"--served-model-name={served}"} < set(args)
    assert documents[0]["metadata"]["annotations"]["giq.dev/source"] == words


@pytest.mark.parametrize("text", HOSTILE)
def test_a_hostile_name_from_the_user_is_refused_or_stays_text(catalog: Catalog, gpu: ServingChoice, text: str) -> None:
    """As a name or namespace a text is an error before anything is made, or Kubernetes takes it: as text."""
    asked = structure(make_plan(gpu, catalog, ManifestOptions()))
    for options in (ManifestOptions(name=text), ManifestOptions(namespace=text)):
        if len(text) <= 63 and re.fullmatch("[a-z]+" if options.name else "[-a-z0-9]+", text):
            assert structure(make_plan(gpu, catalog, options)) == asked
        else:
            with pytest.raises(UsageError):
                make_plan(gpu, catalog, options)


def test_text_that_is_no_unicode_is_an_error(catalog: Catalog, gpu: ServingChoice) -> None:
    """A lone surrogate, as a shell's undecodable bytes become, is refused instead of written wrongly."""
    with pytest.raises(GiqError, match="not Unicode text"):
        render(make_plan(replace(gpu, source="\udc80"), catalog, ManifestOptions()))
