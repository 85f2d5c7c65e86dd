"""What the user asks of a profile, parsed and frozen."""

from __future__ import annotations

import re

from giq.catalog.configuration import EngineValue
from giq.curve.targets import Target
from giq.documents import Entry, Positive, PositiveInt
from giq.errors import UsageError
from giq.profiling.serving import SECRET
from giq.workload.workload import Load, Stop, Workload


class AcceleratorRequest(Entry, frozen=True, kw_only=True):
    """An accelerator by name, with how many (`nvidia-l4:4`) or in which slice (`v6e:2x4`), where said."""

    name: str
    count: PositiveInt | None = None
    topology: str | None = None


def parse_accelerator(text: str) -> AcceleratorRequest:
    """`NAME`, `NAME:COUNT` or `NAME:TOPOLOGY`.

    Raises:
        UsageError: what follows the colon is neither a number above zero nor a topology like 2x4.
    """
    name, colon, rest = text.partition(":")
    if not colon:
        return AcceleratorRequest(name=name)
    if re.fullmatch(r"[1-9]\d*", rest):
        return AcceleratorRequest(name=name, count=int(rest))
    if re.fullmatch(r"[1-9]\d*(x[1-9]\d*)+", rest):
        return AcceleratorRequest(name=name, topology=rest)
    raise UsageError(f"{rest!r} in {text!r} is no count or topology", hint="Like nvidia-l4:4 or v6e:2x4.")


def parse_engine_args(pairs: tuple[str, ...]) -> dict[str, EngineValue]:
    """`K=V` pairs as engine arguments; numbers and booleans become such, dashes in keys underscores.

    Raises:
        UsageError: a pair has no `=`, or no key, or is a secret.
    """
    arguments: dict[str, EngineValue] = {}
    for pair in pairs:
        key, equals, value = pair.partition("=")
        if not equals or not re.fullmatch(r"[A-Za-z][\w-]*", key):
            raise UsageError(f"{pair!r} is not an engine argument", hint="Like --engine-arg max_num_seqs=128.")
        if SECRET.search(key):
            raise UsageError(
                f"{key} is a secret, and engine arguments are stored with the results",
                hint="Set it in the environment instead (GIQ_API_KEY for the endpoint, HF_TOKEN for the weights).",
            )
        arguments[key.replace("-", "_")] = _engine_value(value)
    return arguments


def _engine_value(text: str) -> EngineValue:
    if text.lower() in ("true", "false"):
        return text.lower() == "true"
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text


class Declared(Entry, frozen=True, kw_only=True):
    """What the user says of the server; each None where the server or the machine is to be asked."""

    model: str | None = None
    accelerator: AcceleratorRequest | None = None
    machine_type: str | None = None
    precision: str | None = None
    tensor_parallel_size: PositiveInt | None = None
    engine_args: dict[str, EngineValue] = {}


class ProfileOptions(Entry, frozen=True, kw_only=True):
    """One profile: workload, loads (empty: search for the knee), when a point ends, and how it is run.

    `workers` None: as many as each load needs. `budget_s` is wall time of a search, all idle time included; None: as
    long as it takes.
    """

    declared: Declared = Declared()
    workload: Workload
    targets: tuple[Target, ...] = ()
    loads: tuple[Load, ...] = ()
    stop: Stop
    seed: int = 0
    workers: PositiveInt | None = None
    request_timeout_s: Positive = 600.0
    shared: bool = False
    max_points: PositiveInt = 24
    budget_s: Positive | None = None
    max_concurrency: PositiveInt = 1024
