"""When a measured unit is the one that a candidate stands for: what a server does not tell, and what is no matter."""

from __future__ import annotations

from giq.catalog.catalog import Catalog
from giq.catalog.configuration import UNKNOWN, Component, EngineValue, ServingConfiguration, draws_weights
from giq.catalog.models import Model
from giq.catalog.names import Names
from giq.documents import replace
from giq.errors import UnknownNameError


def same_unit(measured: ServingConfiguration, candidate: ServingConfiguration, model: Model | None) -> bool:
    """Whether *measured* is the unit that *candidate* describes, as far as its speed goes.

    The measured side may leave unsaid what a server does not tell: the precision (then it is the one of *model*
    served by default) and the topology. A `max_model_len` equal to the model's context is the same as none. How the
    weights were loaded is no matter, not even that they are random, but in a mixture of experts, which chooses its
    experts by them. The machine type is a matter of price, and patch releases of one server version are one. All else
    must be equal.
    *model* is the one that both serve, None for one outside the catalog.
    """
    if len(measured.components) != len(candidate.components):
        return False
    pairs = zip(measured.components, candidate.components, strict=True)
    told = replace(measured, components=tuple(_settled(_completed(part, other, model), model) for part, other in pairs))
    return told == replace(candidate, components=tuple(_settled(part, model) for part in candidate.components))


def served_precision(part: Component, model: Model | None) -> str:
    """The precision of a component; where it is not known, that of the weights of *model* served by default."""
    return part.precision if part.precision != UNKNOWN or model is None else model.weights[0].precision


def known_model(name: str, catalog: Catalog) -> Model | None:
    """The catalog's model of that name, None where it has none."""
    try:
        return catalog.model(name)
    except UnknownNameError:
        return None


def _completed(part: Component, candidate: Component, model: Model | None) -> Component:
    """A measured component with what was not told of it."""
    return replace(
        part,
        precision=candidate.precision if model is None and part.precision == UNKNOWN else served_precision(part, model),
        topology=candidate.topology if part.topology in (None, UNKNOWN) else part.topology,
    )


def _settled(part: Component, model: Model | None) -> Component:
    """A component without what makes no difference to its speed."""
    return replace(
        part,
        model=_model_name(part.model, model),
        server_version=".".join(part.server_version.split(".")[:2]),
        machine_type=None,
        engine_args=_told_arguments(part.engine_args, model),
    )


def _model_name(name: str, model: Model | None) -> str:
    if model is None:
        return name
    names = (model.name, *model.aliases, *(item.repository for item in model.weights))
    return model.name if Names("model", ((model, names),)).find(name) else name


def _told_arguments(arguments: dict[str, EngineValue], model: Model | None) -> dict[str, EngineValue]:
    whole = None if model is None else model.max_context
    told = {name: value for name, value in arguments.items() if name != "max_model_len" or value != whole}
    dense = model is not None and model.experts is None
    if dense or not draws_weights(told):
        told.pop("load_format", None)
    return told
