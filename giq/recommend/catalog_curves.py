"""The estimated curves of the whole catalog: every model, precision, accelerator, slice and use case that works."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from giq.catalog.accelerators import Accelerator
from giq.catalog.catalog import Catalog
from giq.catalog.configuration import ServingConfiguration
from giq.catalog.use_cases import UseCase
from giq.curve.curve import Curve
from giq.curve.point import Point
from giq.errors import UsageError
from giq.recommend.candidates import candidate_configurations, serving_configuration
from giq.recommend.estimates import SEED, engine_of, in_processes
from giq.recommend.requirement import Requirement
from giq.store.compact import lean
from giq.workload.workload import Workload

if TYPE_CHECKING:
    from giq.engine.spec import EngineSpec


@dataclass(frozen=True)
class Part:
    """A part of the catalog by names; None: all there are."""

    models: tuple[str, ...] | None = None
    accelerators: tuple[str, ...] | None = None
    use_cases: tuple[str, ...] | None = None

    def requirements(self, catalog: Catalog) -> Iterator[Requirement]:
        """One for each model, each precision that its weights are published in, and each use case."""
        models = catalog.models if self.models is None else [catalog.model(name) for name in self.models]
        use_cases = catalog.use_cases if self.use_cases is None else [catalog.use_case(name) for name in self.use_cases]
        chips = tuple(item.name for item in self.chips(catalog))
        for model in models:
            for precision in dict.fromkeys(weights.precision for weights in model.weights):
                for use_case in use_cases:
                    yield Requirement(
                        model=model.name, workload=_workload(use_case), precision=precision, accelerators=chips
                    )

    def chips(self, catalog: Catalog) -> list[Accelerator]:
        """The accelerators; no CPU, of which nothing is predicted."""
        if self.accelerators is not None:
            return [catalog.accelerator(name) for name in self.accelerators]
        return [item for item in catalog.accelerators if item.kind != "cpu"]


def units(part: Part, catalog: Catalog) -> list[tuple[EngineSpec, Workload]]:
    """Every engine of *part* with every workload that it is predicted under.

    Units of one host are those that recommendations consider. Slices of several hosts come with the precision that
    their model is served in by default.
    """
    from giq.engine.calibrations import kept_calibrations

    kept = kept_calibrations()
    found = []
    for requirement in part.requirements(catalog):
        for config in _configurations(requirement, part, catalog):
            spec = engine_of(config, catalog, kept)
            if not isinstance(spec, str):
                found.append((spec, requirement.workload))
    return found


def catalog_curves(asked: Sequence[tuple[EngineSpec, Workload]], processes: int = 1) -> Iterator[Curve | None]:
    """The curve of each of *asked*, in their order; None where requests are longer than what is served.

    They have what `giq.store.compact` keeps, and are seeded as all estimates. What is one engine by several names
    (models of one shape) is simulated once. *processes* as in `estimate_curves`.
    """
    alike = _alike(asked)
    engines = [(tuple(asked[place][0] for place in places), asked[places[0]][1]) for places in alike]
    made = zip(alike, in_processes(_predicted, engines, processes), strict=True)
    ready: dict[int, tuple[Point, ...]] = {}
    for place, (spec, workload) in enumerate(asked):
        if place not in ready:  # then it is the first of the next
            places, found = next(made)
            ready.update(zip(places, found, strict=True))
        points = ready.pop(place)
        yield Curve(spec.config, workload, points) if points else None


def _alike(asked: Sequence[tuple[EngineSpec, Workload]]) -> list[list[int]]:
    """The places of each engine and workload in *asked*, in the order in which they come first."""
    from giq.engine.engine_id import engine_id

    places: dict[tuple[str, str], list[int]] = {}
    for place, (spec, workload) in enumerate(asked):
        places.setdefault((engine_id(spec), workload.workload_id), []).append(place)
    return list(places.values())


def _predicted(asked: tuple[tuple[EngineSpec, ...], Workload]) -> list[tuple[Point, ...]]:
    """The points by each name, without what is not kept: from another process they come by the thousand."""
    from giq.engine.prediction import predict_curves

    specs, workload = asked
    try:
        curves = predict_curves(specs, workload, (), SEED)
    except UsageError:
        return [()] * len(specs)
    return [tuple(lean(point) for point in curve.points) for curve in curves]


def _configurations(requirement: Requirement, part: Part, catalog: Catalog) -> Iterator[ServingConfiguration]:
    considered = candidate_configurations(requirement, catalog)
    versions = {}
    for candidate in considered.accepted:
        versions[candidate.config.main.accelerator] = candidate.config.main.server_version
        yield candidate.config
    model = catalog.model(requirement.model)
    if requirement.precision != model.weights[0].precision:
        return
    for accelerator in part.chips(catalog):
        if accelerator.name in versions:
            version = catalog.server_version("vllm", versions[accelerator.name])
            for shape in accelerator.shapes:
                if shape.hosts > 1 and not model.attention_heads % (shape.hosts * shape.accelerators):
                    yield serving_configuration(model, accelerator, version, shape, requirement)


def _workload(use_case: UseCase) -> Workload:
    return Workload(use_case=use_case.name, input_tokens=use_case.input_tokens, output_tokens=use_case.output_tokens)
