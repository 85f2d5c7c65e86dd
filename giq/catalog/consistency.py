"""What must hold between the fields of the catalog, beyond the type of each one.

Each function gives the faults of one entry, in the order of its fields; none when it is sound.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Iterator, Sequence
from datetime import date

from giq.catalog.accelerators import Accelerator, Shape
from giq.catalog.models import Model, Source
from giq.catalog.names import normal
from giq.catalog.prices import PriceList
from giq.catalog.servers import ModelServer, ServerVersion
from giq.catalog.use_cases import Lengths, UseCase

Fault = tuple[str, object, str]
"""The field, its value, and what is wrong with it."""


def source_faults(source: Source, field: str = "source") -> Iterator[Fault]:
    """A source is dated by day."""
    yield from _date_faults(source.date, f"{field}.date")


def model_faults(model: Model) -> Iterator[Fault]:
    """Heads divide, experts and windows fit in the model, and it has weights of distinct precisions."""
    yield from source_faults(model.source)
    if model.attention_heads % model.kv_heads:
        yield "kv_heads", model.kv_heads, f"must divide attention_heads ({model.attention_heads})"
    if model.active_parameters > model.parameters:
        yield "active_parameters", model.active_parameters, f"is more than parameters ({model.parameters})"
    if model.experts and model.experts.per_token > model.experts.count:
        yield "experts.per_token", model.experts.per_token, f"is more than experts.count ({model.experts.count})"
    if model.experts and not 0 <= model.experts.dense_layers < model.layers:
        yield "experts.dense_layers", model.experts.dense_layers, f"must be below layers ({model.layers})"
    if model.sliding_window and model.sliding_window.layers > model.layers:
        yield "sliding_window.layers", model.sliding_window.layers, f"is more than layers ({model.layers})"
    if not model.weights:
        yield "weights", (), "must name at least one published set of weights"
    yield from _repeated("weights", "repository", [normal(item.repository) for item in model.weights])
    yield from _repeated("weights", "precision", [item.precision for item in model.weights])


def accelerator_faults(accelerator: Accelerator) -> Iterator[Fault]:
    """What GKE needs is there for what is on GKE, and every slice has as many chips as its topology."""
    yield from source_faults(accelerator.source)
    if accelerator.on_gke:
        for field in ("node_labels", "resource", "shapes"):
            if not getattr(accelerator, field):
                yield field, getattr(accelerator, field), "must be given for an accelerator that is on GKE"
    keys = [(shape.machine_type, shape.topology, shape.hosts) for shape in accelerator.shapes]
    yield from _repeated("shapes", "machine_type", keys)
    for index, shape in enumerate(accelerator.shapes):
        for field, value, problem in _shape_faults(shape):
            yield f"shapes[{index}].{field}", value, problem


def _shape_faults(shape: Shape) -> Iterator[Fault]:
    if shape.topology is None:
        if shape.hosts > 1:
            yield "topology", None, f"must be given for a slice of {shape.hosts} hosts"
        return
    sides = shape.topology.split("x")
    if not all(side.isascii() and side.isdigit() for side in sides):
        yield "topology", shape.topology, "must be sizes joined by x, like 2x4"
    elif math.prod(map(int, sides)) != shape.accelerators * shape.hosts:
        yield "topology", shape.topology, f"is not accelerators x hosts ({shape.accelerators} x {shape.hosts})"


def use_case_faults(use_case: UseCase) -> Iterator[Fault]:
    """Both length distributions can be drawn from."""
    yield from source_faults(use_case.source)
    for side in ("input_tokens", "output_tokens"):
        for field, value, problem in _length_faults(getattr(use_case, side)):
            yield f"{side}.{field}", value, problem


def _length_faults(lengths: Lengths) -> Iterator[Fault]:
    if lengths.maximum is not None and lengths.minimum > lengths.maximum:
        yield "minimum", lengths.minimum, f"is more than maximum ({lengths.maximum})"
    elif not lengths.minimum <= lengths.mean <= (lengths.maximum or math.inf):
        yield "mean", lengths.mean, f"is outside [{lengths.minimum}, {lengths.maximum or 'no maximum'}]"
    if lengths.distribution == "uniform" and lengths.maximum is None:
        yield "maximum", None, "must be given for a uniform distribution"
    if lengths.spread and lengths.distribution in ("fixed", "uniform"):
        yield "spread", lengths.spread, f"has no meaning for a {lengths.distribution} distribution"


def price_faults(prices: PriceList, machines: frozenset[str], chips: frozenset[str]) -> Iterator[Fault]:
    """Every row prices a machine type or chip that some accelerator of the catalog has."""
    yield from source_faults(prices.source)
    known = machines if prices.unit == "machine" else chips
    for key, row in prices.usd_per_hour.items():
        if key not in known:
            yield f"usd_per_hour.{key}", key, f"is no {prices.unit} of any accelerator in the catalog"
        if not row:
            yield f"usd_per_hour.{key}", row, "has no price; leave the row out"


def server_faults(server: ModelServer, chips: frozenset[str]) -> Iterator[Fault]:
    """There are versions, newest first, each once; their flags are flags, their accelerators known."""
    if not server.versions:
        yield "versions", (), "must have at least one"
    numbers = [item.number for item in server.versions]
    yield from _repeated("versions", "version", numbers)
    for index, item in enumerate(server.versions):
        if item.number is None:
            yield f"versions[{index}].version", item.version, "must begin like 0.10.2"
        elif index and item.number > (numbers[index - 1] or ()):
            yield f"versions[{index}].version", item.version, "is out of order: the newest comes first"
        for field, value, problem in _version_faults(item, chips):
            yield f"versions[{index}].{field}", value, problem


def _version_faults(item: ServerVersion, chips: frozenset[str]) -> Iterator[Fault]:
    yield from source_faults(item.source)
    yield from _date_faults(item.released, "released")
    for name, flag in item.flags.items():
        if not flag.startswith("--"):
            yield f"flags.{name}", flag, "must begin with --"
    for kind in item.images.keys() - {"gpu", "tpu", "cpu"}:
        yield f"images.{kind}", item.images[kind], "is for none of gpu, tpu, cpu"
    for name in item.defaults_by_accelerator.keys() - chips:
        yield f"defaults_by_accelerator.{name}", name, "is no accelerator in the catalog"


def _date_faults(text: str, field: str) -> Iterator[Fault]:
    try:
        date.fromisoformat(text)
    except ValueError:
        yield field, text, "must be a date like 2026-07-30"


def _repeated(field: str, item: str, values: Sequence[Hashable]) -> Iterator[Fault]:
    """A fault for every one of *values* that stands a second time in the list *field*."""
    for index, value in enumerate(values):
        if value in values[:index]:
            yield f"{field}[{index}].{item}", value, f"already in {field}[{values.index(value)}]"
