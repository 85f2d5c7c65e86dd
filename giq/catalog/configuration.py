"""The serving configuration: one deployment unit, and the identity made from it."""

from __future__ import annotations

from typing import Literal

from giq.documents import Entry, PositiveInt, canonical_json, content_id

ID_VERSION = 1
UNKNOWN = "unknown"

EngineValue = int | float | bool | str

RANDOM_WEIGHTS = "dummy"
"""The `load_format` with which vLLM draws a model's weights instead of loading them (vllm/config/load.py)."""


def draws_weights(engine_args: dict[str, EngineValue]) -> bool:
    """Whether a server with these arguments serves random weights."""
    return engine_args.get("load_format") == RANDOM_WEIGHTS


class Component(Entry, frozen=True, kw_only=True):
    """One role in a deployment unit. Defaults are left out of the identity (SCHEMA.md)."""

    role: Literal["both", "prefill", "decode", "image"] = "both"
    replicas: PositiveInt = 1
    hosts: PositiveInt = 1
    model: str
    weights_revision: str | None = None
    precision: str = UNKNOWN
    kv_dtype: str | None = None
    server: str = UNKNOWN
    server_version: str = UNKNOWN
    image_digest: str | None = None
    accelerator: str = UNKNOWN
    accelerators_per_host: PositiveInt = 1
    topology: str | None = None
    fraction: float | None = None
    machine_type: str | None = None
    tp: PositiveInt = 1
    pp: PositiveInt = 1
    dp: PositiveInt = 1
    ep: PositiveInt = 1
    engine_args: dict[str, EngineValue] = {}

    @property
    def accelerators_total(self) -> int:
        """Accelerators in all replicas and hosts of this component."""
        return self.accelerators_per_host * self.hosts * self.replicas


class ServingConfiguration(Entry, frozen=True, kw_only=True):
    """One deployment unit: its components and what they share. Any change is a new curve."""

    components: tuple[Component, ...]
    adapters: int | None = None
    speculative: str | None = None
    kv_offload: str | None = None
    router: str | None = None

    @property
    def main(self) -> Component:
        """The component that stands for the unit in flat columns: the first."""
        return self.components[0]

    @property
    def accelerators_total(self) -> int:
        """Accelerators in the whole deployment unit."""
        return sum(component.accelerators_total for component in self.components)

    @property
    def config_id(self) -> str:
        """16 hex digits that name this configuration."""
        return content_id(self)

    def canonical(self) -> str:
        """The canonical JSON that `config_id` is made from."""
        return canonical_json(self)
