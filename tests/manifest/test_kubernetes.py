"""What is written is valid for Kubernetes: strictly, so that an unknown field is an error."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import kubernetes_validate
import pytest

from giq.catalog.catalog import Catalog, load_catalog
from giq.catalog.configuration import ServingConfiguration
from giq.documents import load_yaml_all, replace
from giq.errors import UsageError
from giq.manifest.choice import ServingChoice
from giq.manifest.options import ManifestOptions
from giq.manifest.plan import make_plan
from giq.manifest.render import render

SCHEMA = Path(__file__).parent / "schemas" / "monitoring.googleapis.com_podmonitoring_v1.json"
VERSIONS = ("1.30", "1.33", kubernetes_validate.latest_version())


@pytest.fixture(scope="session")
def monitoring() -> jsonschema.Draft7Validator:
    """The validator of PodMonitoring, closed: a field that it does not name is an error."""
    schema = json.loads(SCHEMA.read_text(encoding="utf-8"))
    schema["additionalProperties"] = False
    return jsonschema.Draft7Validator(schema)


def rendered(choice: ServingChoice, catalog: Catalog, **options: object) -> list[dict[str, Any]]:
    """The parsed documents."""
    return load_yaml_all(render(make_plan(choice, catalog, replace(ManifestOptions(), **options))), "rendered")


def validate(documents: list[dict[str, Any]], monitoring: jsonschema.Draft7Validator, version: str) -> None:
    """Every document against the schema of its kind."""
    for document in documents:
        if document["kind"] == "PodMonitoring":
            monitoring.validate(document)
        else:
            kubernetes_validate.validate(document, version, strict=True)


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("kind", ["gpu", "tpu"])
def test_documents_are_valid(
    kind: str, version: str, catalog: Catalog, monitoring: jsonschema.Draft7Validator, request: pytest.FixtureRequest
) -> None:
    """With and without an autoscaler, every document is strictly valid in old and new versions of Kubernetes."""
    choice = request.getfixturevalue(kind)
    validate(rendered(choice, catalog), monitoring, version)
    validate(rendered(replace(choice, levels=()), catalog, pin_machine_type=True), monitoring, version)


def test_the_schemas_refuse_an_unknown_field(
    catalog: Catalog, gpu: ServingChoice, monitoring: jsonschema.Draft7Validator
) -> None:
    """The check can fail: a field too many is an error in every kind of document."""
    for document in rendered(gpu, catalog):
        for place in (document, document["spec"]):
            place["surplus"] = 1
            with pytest.raises(jsonschema.ValidationError):
                validate([document], monitoring, VERSIONS[-1])
            del place["surplus"]


def shipped_choices(catalog: Catalog, gpu: ServingChoice) -> Iterator[ServingChoice]:
    """The GPU choice moved to every machine of one host that the shipped catalog has on GKE."""
    for accelerator in catalog.accelerators:
        for shape in accelerator.shapes:
            if accelerator.on_gke and shape.hosts == 1:
                part = replace(
                    gpu.config.main,
                    accelerator=accelerator.name,
                    accelerators_per_host=shape.accelerators,
                    tp=shape.accelerators,
                    topology=shape.topology,
                )
                yield replace(gpu, config=ServingConfiguration(components=(part,)), shape=shape)


def test_every_machine_of_the_shipped_catalog_has_valid_manifests(
    tmp_path: Path, gpu: ServingChoice, monitoring: jsonschema.Draft7Validator
) -> None:
    """For each machine, on each vLLM with an image for it, the Deployment is valid and asks for all accelerators."""
    shipped = load_catalog(tmp_path)
    deployed = set()
    for choice in shipped_choices(shipped, gpu):
        accelerator = shipped.accelerator(choice.config.main.accelerator)
        for version in shipped.server().versions:
            part = replace(choice.config.main, server_version=version.version)
            placed = replace(choice, config=ServingConfiguration(components=(part,)))
            if accelerator.kind not in version.images:
                with pytest.raises(UsageError, match="has no image for a"):
                    rendered(placed, shipped)
                continue
            documents = rendered(placed, shipped)
            limits = documents[0]["spec"]["template"]["spec"]["containers"][0]["resources"]["limits"]
            assert limits == {accelerator.resource: str(choice.shape.accelerators)}
            if accelerator.name not in deployed:
                validate(documents, monitoring, VERSIONS[-1])
            deployed.add(accelerator.name)
    assert deployed == {item.name for item in shipped.accelerators if item.on_gke}
