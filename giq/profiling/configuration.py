"""The serving configuration of what is measured: announced, detected or declared, never assumed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from giq.catalog import Accelerator, Catalog, Component, Model, ServingConfiguration, Shape
from giq.catalog.configuration import UNKNOWN
from giq.curve.point import Evidence, HardwareSource
from giq.documents import validate
from giq.errors import UnknownNameError, UsageError
from giq.load.identity import ServerIdentity
from giq.profiling.hardware import Hardware
from giq.profiling.options import AcceleratorRequest, Declared


@dataclass(frozen=True)
class Measured:
    """What is measured: its configuration, where that is known from, and what the numbers will be worth."""

    config: ServingConfiguration
    evidence: Evidence
    hardware_source: HardwareSource
    hardware_detail: str | None
    model: Model | None
    accelerator: Accelerator | None


def identify(declared: Declared, identity: ServerIdentity, hardware: Hardware | None, catalog: Catalog) -> Measured:
    """What answers, from what it announces, what this machine shows and what the user says.

    Raises:
        UsageError: the declared accelerator or model contradicts the announced or detected one.
    """
    if identity.simulated is not None:
        return _simulated(declared, identity.simulated, catalog)
    model = known_model(declared.model or identity.model, catalog)
    wanted = _accelerator(declared.accelerator, catalog)
    if hardware is not None:
        _refuse_contradiction(declared, wanted, hardware)
    accelerator = wanted or (_named(hardware.accelerator, catalog) if hardware else None)
    component = Component(
        model=model.name if model else identity.model,
        precision=declared.precision or UNKNOWN,
        server=identity.server,
        server_version=identity.version or UNKNOWN,
        accelerator=accelerator.name if accelerator else hardware.accelerator if hardware else UNKNOWN,
        engine_args=declared.engine_args | _told_by_server(identity),
        **_size(declared, accelerator, hardware),
    )
    return Measured(
        config=ServingConfiguration(components=(component,)),
        evidence="measured",
        hardware_source="detected" if hardware else "declared",
        hardware_detail=hardware.detail if hardware else None,
        model=model,
        accelerator=accelerator,
    )


def known_model(name: str, catalog: Catalog) -> Model | None:
    """The catalog's entry of a served model, None for one outside the catalog."""
    try:
        return catalog.model(name)
    except UnknownNameError:
        return None


def find_shape(accelerator: Accelerator, request: AcceleratorRequest, machine_type: str | None) -> Shape | None:
    """The shape of *accelerator* that has the count, topology or machine type asked for; None where none was.

    Raises:
        UsageError: none of its shapes does.
    """
    if request.count is None and request.topology is None and machine_type is None:
        return None
    for shape in accelerator.shapes:
        if (
            machine_type in (None, shape.machine_type)
            and request.topology in (None, shape.topology)
            and request.count in (None, shape.accelerators * shape.hosts)
        ):
            return shape
    known = ", ".join(f"{s.machine_type} ({s.topology or s.accelerators})" for s in accelerator.shapes) or "none"
    asked = request.topology or request.count or machine_type
    raise UsageError(f"{accelerator.name} does not come as {asked}", hint=f"Its machines: {known}.")


def _simulated(declared: Declared, announced: dict[str, Any], catalog: Catalog) -> Measured:
    config = validate(announced["config"], ServingConfiguration, "the simulated engine's /version")
    main = config.main
    wanted = _accelerator(declared.accelerator, catalog)
    if wanted and wanted.name != main.accelerator:
        raise _contradiction("accelerator", wanted.name, main.accelerator, "the simulated engine announces")
    if declared.model:
        model = catalog.model(declared.model)
        if model.name != main.model:
            raise _contradiction("model", model.name, main.model, "the simulated engine announces")
    return Measured(
        config=config,
        evidence="estimated",
        hardware_source="simulated",
        hardware_detail=None,
        model=catalog.model(main.model),
        accelerator=catalog.accelerator(main.accelerator),
    )


def _accelerator(request: AcceleratorRequest | None, catalog: Catalog) -> Accelerator | None:
    return catalog.accelerator(request.name) if request else None


def _named(name: str, catalog: Catalog) -> Accelerator | None:
    try:
        return catalog.accelerator(name)
    except UnknownNameError:
        return None


def _refuse_contradiction(declared: Declared, wanted: Accelerator | None, hardware: Hardware) -> None:
    if wanted and wanted.name != hardware.accelerator:
        seen = f"this machine, which serves the endpoint, has {hardware.detail}:"
        raise _contradiction("accelerator", wanted.name, hardware.accelerator, seen)
    count = declared.accelerator.count if declared.accelerator else None
    if count and count > hardware.count:
        raise _contradiction("accelerator count", count, hardware.count, "this machine has")


def _contradiction(what: str, said: object, found: object, by: str) -> UsageError:
    return UsageError(
        f"the declared {what} {said} contradicts the real one: {by} {found}",
        hint=f"Leave the declaration out, or say {found}.",
    )


def _told_by_server(identity: ServerIdentity) -> dict[str, int]:
    return {"max_model_len": identity.max_model_len} if identity.max_model_len else {}


def _size(declared: Declared, accelerator: Accelerator | None, hardware: Hardware | None) -> dict[str, Any]:
    """Accelerators, hosts and parallelism: as declared; else one accelerator per tensor-parallel rank."""
    request = declared.accelerator or AcceleratorRequest(name=UNKNOWN)
    shape = find_shape(accelerator, request, declared.machine_type) if accelerator else None
    tp = declared.tensor_parallel_size or (shape.accelerators if shape else 1)
    if shape is None:
        return {"tp": tp, "accelerators_per_host": tp, "machine_type": declared.machine_type}
    return {
        "tp": tp,
        "accelerators_per_host": shape.accelerators,
        "hosts": shape.hosts,
        "topology": shape.topology,
        "machine_type": declared.machine_type or shape.machine_type,
    }
