"""The catalog: every model, accelerator, price, use case and server that giq knows, and where from."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from itertools import chain
from pathlib import Path
from types import MappingProxyType
from typing import Any

from giq.catalog.accelerators import Accelerator, Shape
from giq.catalog.consistency import accelerator_faults, model_faults, price_faults, server_faults, use_case_faults
from giq.catalog.layers import Kind, Placed, layers, read_kind, settle
from giq.catalog.models import Model
from giq.catalog.names import Names, normal
from giq.catalog.prices import Price, PriceList, PricingModel
from giq.catalog.servers import ModelServer, ServerVersion, version_number
from giq.catalog.use_cases import UseCase
from giq.errors import UnknownNameError


@dataclass(frozen=True)
class Catalog:
    """What exists. Entries are in the order of their names, price lists in the order they are asked.

    `origins` says by kind and name which layer and file an entry came from.
    """

    models: tuple[Model, ...] = ()
    accelerators: tuple[Accelerator, ...] = ()
    price_lists: tuple[PriceList, ...] = ()
    use_cases: tuple[UseCase, ...] = ()
    servers: tuple[ModelServer, ...] = ()
    origins: Mapping[tuple[Kind, str], str] = field(default_factory=lambda: MappingProxyType({}))

    def origin(self, kind: Kind, name: str) -> str:
        """The layer and file that the entry *name* (its own name, as it says it) came from.

        Raises:
            UnknownNameError: no entry of that kind has that name.
        """
        found = self.origins.get((kind, name))
        if found is None:
            raise UnknownNameError(kind, name, (known for of_kind, known in self.origins if of_kind == kind))
        return found

    def model(self, name: str) -> Model:
        """The model that *name* means: its name, an alias, a hub id (of any owner), with or without `-instruct`.

        Raises:
            UnknownNameError: no model, or several; carries the nearest known names.
        """
        return self._model_names.get(name)

    def accelerator(self, name: str) -> Accelerator:
        """The accelerator that *name* means: its GKE label or an alias (`l4`, `h100`, `trillium`, `v6e`).

        Raises:
            UnknownNameError: none; carries the nearest known names.
        """
        return self._accelerator_names.get(name)

    def use_case(self, name: str) -> UseCase:
        """The use case that *name* means.

        Raises:
            UnknownNameError: none; carries the nearest known names.
        """
        return self._use_case_names.get(name)

    def server(self, name: str = "vllm") -> ModelServer:
        """The model server that *name* means.

        Raises:
            UnknownNameError: none; carries the nearest known names.
        """
        return self._server_names.get(name)

    def server_version(self, server: str = "vllm", version: str | None = None) -> ServerVersion:
        """The entry that describes *version* of *server*; without *version* the default, the newest.

        It is the entry itself, else the nearest patch of the same major.minor, else the newest entry that
        is older: flags and metric names of a version that the catalog does not know yet are those of the
        last one it knows. The `version` of what is returned tells which entry that is.

        Raises:
            UnknownNameError: no such server, not a version number, or older than every entry.
        """
        versions = self.server(server).versions
        if version is None:
            return versions[0]
        found = _nearest_version(versions, version)
        if found is None:
            raise UnknownNameError(f"version of {server}", version, (item.version for item in versions))
        return found

    def price(self, accelerator: Accelerator, shape: Shape, region: str, pricing_model: PricingModel) -> Price | None:
        """USD per hour of all hosts of *shape*; None where no price list has it (never guessed).

        A machine's price times hosts, or a chip's price times accelerators and hosts. The user's lists are
        asked before those that ship, and in a layer the list of the newest date.
        """
        for prices in self.price_lists:
            if prices.region != region:
                continue
            key, units = _priced(prices, accelerator, shape)
            usd_per_hour = prices.usd_per_hour.get(key, {}).get(pricing_model)
            if usd_per_hour is not None:
                return Price(
                    usd_per_hour=usd_per_hour * units,
                    region=region,
                    pricing_model=pricing_model,
                    source=prices.source,
                )
        return None

    def regions(self) -> tuple[str, ...]:
        """Every region that some price list is of, sorted."""
        return tuple(sorted({prices.region for prices in self.price_lists}))

    def accelerator_detected_as(self, text: str) -> Accelerator | None:
        """The accelerator that a driver, a node label or a runtime calls *text* (`NVIDIA H100 80GB HBM3`).

        The whole name must fit: `NVIDIA H100 PCIe` is another chip than the H100 in GKE's machines, so None.
        """
        wanted = _as_detected(text)
        for accelerator in self.accelerators:
            names = (accelerator.name, *accelerator.aliases, *accelerator.detected_as)
            if wanted and wanted in map(_as_detected, names):
                return accelerator
        return None

    @cached_property
    def _model_names(self) -> Names[Model]:
        named = ((m, (m.name, *m.aliases, *(item.repository for item in m.weights))) for m in self.models)
        return Names("model", named)

    @cached_property
    def _accelerator_names(self) -> Names[Accelerator]:
        return Names("accelerator", ((item, (item.name, *item.aliases)) for item in self.accelerators))

    @cached_property
    def _use_case_names(self) -> Names[UseCase]:
        return Names("use case", ((item, (item.name, *item.aliases)) for item in self.use_cases))

    @cached_property
    def _server_names(self) -> Names[ModelServer]:
        return Names("server", ((item, (item.name,)) for item in self.servers))


def _as_detected(text: str) -> str:
    return normal(text).removeprefix("nvidia ").removeprefix("tesla ")


def _priced(prices: PriceList, accelerator: Accelerator, shape: Shape) -> tuple[str, int]:
    """The key of *shape* in *prices*, and how many such units it is made of."""
    if prices.unit == "machine":
        return shape.machine_type, shape.hosts
    return accelerator.name, shape.accelerators * shape.hosts


def _nearest_version(versions: Iterable[ServerVersion], version: str) -> ServerVersion | None:
    wanted = version_number(version)
    known = [(item.number, item) for item in versions if item.number is not None]
    if wanted is None:
        return None
    fitting = [(number, item) for number, item in known if number[:2] <= wanted[:2]]
    if not fitting:
        return None
    _, found = max(fitting, key=lambda pair: (pair[0][:2], -abs(pair[0][2] - wanted[2])))
    return found


def load_catalog(home: Path | None = None) -> Catalog:
    """The catalog of what ships and, over it, of the user's layer `HOME/profiles` (default `$GIQ_HOME`).

    Raises:
        CatalogError: a wrong field, or two that contradict each other: names the file, field and value.
        DamagedFileError: a file is not YAML, or cannot be read.
        DataError: the profiles that ship with giq are missing.
    """
    of_layers = layers(home)
    accelerators = read_kind("accelerator", Accelerator, of_layers)
    machines = frozenset(shape.machine_type for placed in accelerators for shape in placed.entry.shapes)
    chips = frozenset(placed.name for placed in accelerators)
    models = settle(read_kind("model", Model, of_layers), model_faults)
    settled = settle(accelerators, accelerator_faults)
    price_lists = settle(
        read_kind("price list", PriceList, of_layers), lambda prices: price_faults(prices, machines, chips)
    )
    use_cases = settle(read_kind("use case", UseCase, of_layers), use_case_faults)
    servers = settle(read_kind("server", ModelServer, of_layers), lambda server: server_faults(server, chips))
    asked = sorted(price_lists, key=lambda placed: (placed.rank, placed.entry.source.date), reverse=True)
    everything = chain[Placed[Any]](models, settled, price_lists, use_cases, servers)
    return Catalog(
        models=tuple(placed.entry for placed in models),
        accelerators=tuple(placed.entry for placed in settled),
        price_lists=tuple(placed.entry for placed in asked),
        use_cases=tuple(placed.entry for placed in use_cases),
        servers=tuple(placed.entry for placed in servers),
        origins=MappingProxyType({(placed.kind, placed.name): placed.origin for placed in everything}),
    )
