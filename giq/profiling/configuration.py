"""The serving configuration of what is measured: announced, detected or declared, never assumed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from giq.catalog import Accelerator, Catalog, Component, Model, ServingConfiguration, Shape
from giq.catalog.configuration import UNKNOWN, EngineValue
from giq.curve.point import Evidence, HardwareSource
from giq.documents import validate
from giq.errors import UnknownNameError, UsageError
from giq.load.identity import ServerIdentity
from giq.profiling.hardware import Hardware, Parallel
from giq.profiling.options import AcceleratorRequest, Declared
from giq.profiling.serving import ServerProcess


@dataclass(frozen=True)
class Measured:
    """What is measured: its configuration, where that is known from, and what the numbers will be worth."""

    config: ServingConfiguration
    evidence: Evidence
    hardware_source: HardwareSource
    hardware_detail: str | None
    model: Model | None
    accelerator: Accelerator | None
    serving: ServerProcess | None = None


def identify(declared: Declared, identity: ServerIdentity, hardware: Hardware | None, catalog: Catalog) -> Measured:
    """What answers, from what it announces, what this machine shows and what the user says.

    Raises:
        UsageError: what is declared contradicts what is announced or detected, or nothing tells how many of this
            machine's accelerators serve.
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
        engine_args=_engine_args(declared, identity, model),
        **_size(declared, accelerator, hardware),
    )
    return Measured(
        config=ServingConfiguration(components=(component,)),
        evidence="measured",
        hardware_source="detected" if hardware else "declared",
        hardware_detail=hardware.detail if hardware else None,
        model=model,
        accelerator=accelerator,
        serving=hardware.serving if hardware else None,
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
    for what, said, found in _announced_otherwise(declared, main, catalog):
        if said not in (None, found):
            raise _contradiction(what, said, found, "the simulated engine announces")
    return Measured(
        config=config,
        evidence="estimated",
        hardware_source="simulated",
        hardware_detail=None,
        model=catalog.model(main.model),
        accelerator=catalog.accelerator(main.accelerator),
    )


def _announced_otherwise(declared: Declared, main: Component, catalog: Catalog) -> list[tuple[str, object, object]]:
    """Everything that may be declared of a simulated engine: what it is, as declared (or None), as announced."""
    request, wanted = declared.accelerator, _accelerator(declared.accelerator, catalog)
    version = catalog.server_version(
        "vllm" if main.server == UNKNOWN else main.server,
        None if main.server_version == UNKNOWN else main.server_version,
    )
    effective = {**version.defaults_on(main.accelerator), **main.engine_args}
    return [
        ("accelerator", wanted.name if wanted else None, main.accelerator),
        ("accelerator count", request.count if request else None, main.accelerators_per_host * main.hosts),
        ("topology", request.topology if request else None, main.topology),
        ("model", catalog.model(declared.model).name if declared.model else None, main.model),
        ("precision", declared.precision, main.precision),
        ("tensor_parallel_size", declared.tensor_parallel_size, main.tp),
        *(
            (f"engine argument {key}", value, effective.get(key, "its default"))
            for key, value in declared.engine_args.items()
        ),
    ]


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


def _engine_args(declared: Declared, identity: ServerIdentity, model: Model | None) -> dict[str, EngineValue]:
    """As declared; the context that the server tells is one where it is not the model's own, that is the default."""
    told, said = identity.max_model_len, declared.engine_args.get("max_model_len")
    if not told:
        return declared.engine_args
    if isinstance(said, int) and said not in (-1, told):  # -1 leaves it to the server, as "auto" does
        raise _contradiction("engine argument max_model_len", said, told, "the server tells")
    others = {key: value for key, value in declared.engine_args.items() if key != "max_model_len"}
    return others if model and told == model.max_context else others | {"max_model_len": told}


def _size(declared: Declared, accelerator: Accelerator | None, hardware: Hardware | None) -> dict[str, Any]:
    """Accelerators, hosts and parallelism: as the server's command line tells, else as declared."""
    request = declared.accelerator or AcceleratorRequest(name=UNKNOWN)
    if hardware and hardware.accelerator == "cpu":
        parallel = _told(declared, hardware) or Parallel(tp=declared.tensor_parallel_size or 1)
        return _ranks(parallel) | {"machine_type": declared.machine_type}
    shape = find_shape(accelerator, request, declared.machine_type) if accelerator else None
    told = _told(declared, hardware) if hardware else None
    if told and hardware and told.ranks > hardware.count and not (shape and shape.hosts > 1):
        raise UsageError(
            f"the server's command line says {told.ranks} accelerators, this machine has {hardware.count}",
            hint="For a server over several machines say --accelerator NAME:TOPOLOGY.",
        )
    if shape and (told is None or told.ranks == shape.accelerators * shape.hosts):
        return {
            **_ranks(told or Parallel(tp=declared.tensor_parallel_size or shape.accelerators)),
            "accelerators_per_host": shape.accelerators,
            "hosts": shape.hosts,
            "topology": shape.topology,
            "machine_type": declared.machine_type,
        }
    if told and shape and (request.count or request.topology):
        asked = shape.accelerators * shape.hosts
        raise _contradiction("accelerator count", asked, told.ranks, "the server's command line says")
    if told is None and declared.tensor_parallel_size is None and request.count is None:
        _refuse_unknown_count(hardware)
    told = told or Parallel(tp=declared.tensor_parallel_size or request.count or 1)
    return _ranks(told) | {"accelerators_per_host": told.ranks, "machine_type": declared.machine_type}


def _ranks(parallel: Parallel) -> dict[str, Any]:
    return {"tp": parallel.tp, "pp": parallel.pp, "dp": parallel.dp}


def _told(declared: Declared, hardware: Hardware) -> Parallel | None:
    """What the server's command line tells, which a declaration must not contradict."""
    said = declared.tensor_parallel_size
    if hardware.parallel and said not in (None, hardware.parallel.tp):
        raise _contradiction("tensor_parallel_size", said, hardware.parallel.tp, "the server's command line says")
    return hardware.parallel


def _refuse_unknown_count(hardware: Hardware | None) -> None:
    if hardware and hardware.count > 1:
        raise UsageError(
            f"this machine has {hardware.count} of {hardware.accelerator}, and nothing tells how many of them serve",
            hint="Give --tensor-parallel-size, or --accelerator NAME:COUNT.",
        )
