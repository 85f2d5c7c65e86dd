"""The deployment units worth considering: every accelerator and machine of the catalog that can serve the model."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

from giq.catalog.accelerators import Accelerator, Shape
from giq.catalog.catalog import Catalog
from giq.catalog.configuration import Component, EngineValue, ServingConfiguration
from giq.catalog.models import Model
from giq.catalog.servers import ServerVersion
from giq.catalog.use_cases import Lengths
from giq.documents import Entry
from giq.errors import UnknownNameError, UsageError
from giq.recommend.recommendation import Rejection
from giq.recommend.requirement import Requirement
from giq.workload.workload import Workload

SERVER = "vllm"
CONTEXT_FLOOR = 8192
"""A model of at most this context is served with all of it; one of more gets no less, even for short requests."""

_TAIL = 4.0
"""Standard deviations above the mean that an unbounded length is taken to reach."""


class Candidate(Entry, frozen=True, kw_only=True):
    """One deployment unit to be considered, and the machine to run it on (None: GKE has none)."""

    config: ServingConfiguration
    shape: Shape | None = None


@dataclass(frozen=True)
class Candidates:
    """What is considered, what is not and why, and what is left out altogether."""

    accepted: tuple[Candidate, ...]
    rejected: tuple[Rejection, ...]
    notes: tuple[str, ...] = ()


def candidate_configurations(
    requirement: Requirement, catalog: Catalog, server_version: str | None = None
) -> Candidates:
    """The units of one host that could serve the model, one per accelerator and count or topology.

    Each is tensor-parallel over all accelerators of its machine, which is the cheapest one of that count in
    the region, under *server_version* or the newest with an image for it. Whether the model fits is not asked
    here (the engine knows). Accelerators that GKE lacks are rejected unless named in the requirement.

    Raises:
        UnknownNameError: the model, an accelerator or the server's version is not in the catalog.
        UsageError: no weights of the model are published in the precision asked for.
    """
    model = catalog.model(requirement.model)
    precision = _precision(model, requirement.precision)
    accepted: list[Candidate] = []
    rejected: list[Rejection] = []
    notes: list[str] = _too_long(model, requirement.workload)
    for accelerator in _considered(requirement, catalog):
        version = _server_version(accelerator, catalog, server_version)
        refusal = _refusal(accelerator, precision, version, named=requirement.accelerators is not None)
        if refusal is not None:
            rejected.append(Rejection(accelerator=accelerator.name, reason=refusal))
            continue
        for shape in cheapest_shapes(accelerator, requirement, catalog):
            count = 1 if shape is None else shape.accelerators
            config = serving_configuration(model, accelerator, version, shape, requirement)
            if model.attention_heads % count:
                reason = f"{model.attention_heads} attention heads cannot be split evenly over {count} accelerators"
                rejected.append(
                    Rejection(accelerator=accelerator.name, accelerators=count, config=config, reason=reason)
                )
            else:
                accepted.append(Candidate(config=config, shape=shape))
        notes += _left_out(accelerator)
        if server_version is None and version.version != catalog.server_version(SERVER).version:
            notes.append(f"{accelerator.name}: {SERVER} {version.version}, the newest with an image for it")
    return Candidates(tuple(accepted), tuple(rejected), tuple(notes))


def serving_configuration(
    model: Model,
    accelerator: Accelerator,
    version: ServerVersion,
    shape: Shape | None,
    requirement: Requirement,
) -> ServingConfiguration:
    """The unit of *shape* (None: one accelerator) that serves *model*, tensor-parallel over its accelerators.

    The machine type is left out: which machine carries the accelerators is a question of price, not of speed,
    so the same unit keeps its identity in every region. A context beyond CONTEXT_FLOOR is cut to what the
    workload can need, since vLLM does not start when one request of full length would not fit its KV cache.
    """
    count, hosts = (1, 1) if shape is None else (shape.accelerators, shape.hosts)
    component = Component(
        model=model.name,
        precision=_precision(model, requirement.precision),
        server=SERVER,
        server_version=version.version,
        accelerator=accelerator.name,
        accelerators_per_host=count,
        hosts=hosts,
        topology=None if shape is None else shape.topology,
        tp=count * hosts,
        engine_args=_engine_args(model, requirement.workload),
    )
    return ServingConfiguration(components=(component,))


def cheapest_shapes(accelerator: Accelerator, requirement: Requirement, catalog: Catalog) -> tuple[Shape | None, ...]:
    """The cheapest machine per count and topology of one host, in order of count; (None,) where GKE has none.

    Where no machine of a count has a price, the first one that the catalog lists.
    """
    groups: dict[tuple[int, str], list[Shape]] = {}
    for shape in accelerator.shapes:
        if shape.hosts == 1:
            groups.setdefault((shape.accelerators, shape.topology or ""), []).append(shape)
    if not groups and not accelerator.shapes:
        return (None,)
    return tuple(_cheapest(groups[key], accelerator, requirement, catalog) for key in sorted(groups))


def shape_of(config: ServingConfiguration, requirement: Requirement, catalog: Catalog) -> Shape | None:
    """The machine that one component's unit runs on: the type it names, else the cheapest that holds its accelerators.

    None where GKE has no such machine, and for a unit of several components or replicas.
    """
    part = config.main
    accelerator = known_accelerator(part.accelerator, catalog)
    if accelerator is None or len(config.components) != 1 or part.replicas != 1:
        return None
    fitting = [
        shape
        for shape in accelerator.shapes
        if (shape.accelerators, shape.hosts) == (part.accelerators_per_host, part.hosts)
        and part.topology in (None, shape.topology)
        and part.machine_type in (None, shape.machine_type)
    ]
    return _cheapest(fitting, accelerator, requirement, catalog) if fitting else None


def known_accelerator(name: str, catalog: Catalog) -> Accelerator | None:
    """The catalog's accelerator of that name, None where it has none."""
    try:
        return catalog.accelerator(name)
    except UnknownNameError:
        return None


def longest_request(workload: Workload) -> int:
    """Tokens, in and out, that one request of *workload* may take; unbounded lengths up to four deviations."""
    return _longest(workload.input_tokens) + _longest(workload.output_tokens)


def _considered(requirement: Requirement, catalog: Catalog) -> Iterable[Accelerator]:
    if requirement.accelerators is None:
        return (item for item in catalog.accelerators if item.kind != "cpu")
    return (catalog.accelerator(name) for name in requirement.accelerators)


def _refusal(accelerator: Accelerator, precision: str, version: ServerVersion, *, named: bool) -> str | None:
    """Why no unit of *accelerator* is considered, or None."""
    if accelerator.kind == "cpu":
        return "a CPU is not predicted; only curves measured on it count"
    if not accelerator.on_gke and not named:
        return "not on GKE (name it with --accelerator to see what it would do)"
    if accelerator.kind not in version.images:
        return f"{SERVER} {version.version} has no image for a {accelerator.kind.upper()}"
    peaks = {"fp8": accelerator.peak_tflops.fp8, "int8": accelerator.peak_tflops.int8}
    if precision in peaks and peaks[precision] is None:
        return f"{precision} asked for, and {accelerator.title} has no {precision} arithmetic"
    return None


def _server_version(accelerator: Accelerator, catalog: Catalog, asked: str | None) -> ServerVersion:
    """The version asked for, else the newest with an image for *accelerator*, else the newest."""
    newest = catalog.server_version(SERVER, asked)
    if asked is not None:
        return newest
    return catalog.server(SERVER).newest_for(accelerator.kind) or newest


def _too_long(model: Model, workload: Workload) -> list[str]:
    longest = longest_request(workload)
    if longest <= model.max_context:
        return []
    return [
        f"requests of up to {longest:,} tokens exceed the context of {model.name} ({model.max_context:,}); "
        "vLLM refuses those, and a refused request misses every target"
    ]


def _left_out(accelerator: Accelerator) -> list[str]:
    several = sum(1 for shape in accelerator.shapes if shape.hosts > 1)
    if not several:
        return []
    return [f"{accelerator.name}: {several} slices of several hosts are left out; only single hosts are considered"]


def _precision(model: Model, asked: str | None) -> str:
    if asked is None:
        return model.weights[0].precision
    if model.weights_for(asked) is None:
        known = ", ".join(dict.fromkeys(item.precision for item in model.weights))
        raise UsageError(f"no {asked} weights of {model.name} are in the catalog", hint=f"There are: {known}.")
    return asked


def _cheapest(shapes: list[Shape], accelerator: Accelerator, requirement: Requirement, catalog: Catalog) -> Shape:
    def usd_per_hour(shape: Shape) -> float:
        price = catalog.price(accelerator, shape, requirement.region, requirement.pricing_model)
        return math.inf if price is None else price.usd_per_hour

    return min(shapes, key=usd_per_hour)


def _engine_args(model: Model, workload: Workload) -> dict[str, EngineValue]:
    if model.max_context <= CONTEXT_FLOOR:
        return {}
    needed = max(CONTEXT_FLOOR, 2 ** math.ceil(math.log2(longest_request(workload))))
    return {"max_model_len": min(model.max_context, needed)}


def _longest(lengths: Lengths) -> int:
    if lengths.maximum is not None:
        return lengths.maximum
    if lengths.distribution == "lognormal":
        return math.ceil(lengths.mean * math.exp(_TAIL * lengths.spread - lengths.spread**2 / 2))
    return math.ceil(lengths.mean + _TAIL * lengths.spread)
