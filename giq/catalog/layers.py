"""The layers of the catalog: what ships with giq, and what the user put over it."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, Literal, TypeVar

from giq.catalog.accelerators import Accelerator
from giq.catalog.consistency import Fault
from giq.catalog.models import Model
from giq.catalog.names import normal
from giq.catalog.prices import PriceList
from giq.catalog.servers import ModelServer
from giq.catalog.shipped import shipped, user_home
from giq.catalog.use_cases import UseCase
from giq.documents import load_yaml, validate
from giq.errors import CatalogError, DamagedFileError

Kind = Literal["model", "accelerator", "price list", "use case", "server"]
FOLDERS: dict[Kind, str] = {
    "model": "models",
    "accelerator": "accelerators",
    "price list": "prices",
    "use case": "use-cases",
    "server": "servers",
}
T = TypeVar("T", Model, Accelerator, PriceList, UseCase, ModelServer)


@dataclass(frozen=True)
class Layer:
    """One folder of profiles; a later layer's entry replaces an earlier one's of the same name."""

    title: str
    folder: Path

    def files(self, kind: Kind) -> list[Path]:
        """The YAML files of that kind, in the order of their names; none when the folder is missing."""
        folder = self.folder / FOLDERS[kind]
        return sorted(path for path in folder.glob("*.y*ml") if path.suffix in (".yaml", ".yml"))


@dataclass(frozen=True)
class Placed(Generic[T]):
    """An entry with the layer and the file that it came from; `rank` grows with the layer."""

    kind: Kind
    entry: T
    name: str
    layer: Layer
    rank: int
    file: Path

    @property
    def origin(self) -> str:
        """`shipped: profiles/models/x.yaml`, or `user: ` and the whole path."""
        shown = self.file.relative_to(self.layer.folder.parent) if self.rank == 0 else self.file
        return f"{self.layer.title}: {shown}"


def layers(home: Path | None = None) -> tuple[Layer, ...]:
    """What ships, then the user's layer under *home* (default `$GIQ_HOME`)."""
    return Layer("shipped", shipped("profiles")), Layer("user", (home or user_home()) / "profiles")


def read_kind(kind: Kind, type_: type[T], of_layers: tuple[Layer, ...]) -> tuple[Placed[T], ...]:
    """All entries of one kind, one file each, of all layers.

    Raises:
        CatalogError: a field is wrong.
        DamagedFileError: a file is not YAML, or cannot be read.
    """
    found = []
    for rank, layer in enumerate(of_layers):
        for path in layer.files(kind):
            entry = _read(path, type_)
            found.append(Placed(kind, entry, entry.name or path.stem, layer, rank, path))
    return tuple(found)


def settle(entries: tuple[Placed[T], ...], faults: Callable[[T], Iterable[Fault]]) -> tuple[Placed[T], ...]:
    """One entry of each name, sorted by name: that of the later layer.

    Raises:
        CatalogError: an entry has one of *faults*, or a name that is taken.
    """
    found: dict[str, Placed[T]] = {}
    for placed in entries:
        for field, value, problem in faults(placed.entry):
            raise CatalogError(str(placed.file), field, value, problem)
        known = found.get(normal(placed.name))
        if known is not None and known.rank == placed.rank:
            raise CatalogError(str(placed.file), "name", placed.name, f"already the name of {known.file}")
        found[normal(placed.name)] = placed
    settled = tuple(sorted(found.values(), key=lambda placed: placed.name))
    _check_names(settled)
    return settled


def _check_names(entries: Iterable[Placed[T]]) -> None:
    """No two entries share a name or alias, and none says one twice."""
    owners: dict[str, Placed[T]] = {}
    for placed in sorted(entries, key=lambda placed: placed.rank):
        aliases: tuple[str, ...] = getattr(placed.entry, "aliases", ())
        named = [("name", placed.name), *((f"aliases[{index}]", alias) for index, alias in enumerate(aliases))]
        for field, name in named:
            if not normal(name):
                raise CatalogError(str(placed.file), field, name, "must have a letter or digit")
            owner = owners.get(normal(name))
            if owner is not None:
                raise CatalogError(str(placed.file), field, name, f"already a name of {owner.name} in {owner.file}")
            owners[normal(name)] = placed


def _read(path: Path, type_: type[T]) -> T:
    try:
        data = load_yaml(path.read_text(encoding="utf-8"), str(path))
    except (OSError, UnicodeDecodeError) as error:
        raise DamagedFileError(f"cannot be read: {error}", where=str(path)) from None
    for field, value in _numbers(data, ""):
        if not math.isfinite(value):
            raise CatalogError(str(path), field, value, "must be a finite number")
    return validate(data, type_, str(path))


def _numbers(data: Any, field: str) -> Iterator[tuple[str, float]]:
    """Every float in *data*, with the field that holds it."""
    if isinstance(data, float):
        yield field.lstrip("."), data
    elif isinstance(data, dict):
        for key, item in data.items():
            yield from _numbers(item, f"{field}.{key}")
    elif isinstance(data, list):
        for index, item in enumerate(data):
            yield from _numbers(item, f"{field}[{index}]")
