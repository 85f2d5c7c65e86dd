"""A campaign: the measurements that one machine is to make, in their order, as data.

Steps are taken one after the other. A step `serve` starts one server and makes all its items on it; a step `client`
measures giq's own error and needs no model server.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from giq.catalog.configuration import EngineValue
from giq.documents import Entry, Name, PositiveInt, read
from giq.errors import CatalogError, UsageError
from giq.units import parse_duration, parse_numbers

START_S, ITEM_S, DRAIN_S = 15.0, 12.0, 4.0
"""What comes to a server's own start, to an item (interpreter, inspection) and to each of a list of loads (the answers
still open), about; a budget holds the latter already."""

BENCH_STARTS_S = 20.0
"""How long `vllm bench serve` takes before and after its requests, about."""


class Profile(Entry, frozen=True, kw_only=True, tag_field="item", tag="profile"):
    """One `giq profile`: a use case, or lengths, and targets by metric (`ttft: 300ms`).

    It searches within its `budget` (`90s`), or holds each of `concurrency` (`1,8,64`) for `duration`.
    """

    name: Name
    use_case: str | None = None
    input_tokens: str | None = None
    output_tokens: str | None = None
    budget: str | None = None
    concurrency: str | None = None
    duration: str | None = None
    targets: dict[str, str] = {}

    @property
    def seconds(self) -> float:
        """How long it takes at most, about.

        Raises:
            UsageError: a time without a unit, or no time at all.
        """
        if self.budget is not None:
            return parse_duration(self.budget) + ITEM_S
        if self.concurrency is None or self.duration is None:
            raise UsageError(f"the profile {self.name} has neither a budget nor loads with a duration")
        loads = len(parse_numbers(self.concurrency, "concurrency"))
        return (parse_duration(self.duration) + DRAIN_S) * loads + ITEM_S

    def words(self) -> list[str]:
        """Its options."""
        names = ("use_case", "input_tokens", "output_tokens", "budget", "concurrency", "duration")
        said = {name: value for name in names if (value := getattr(self, name)) is not None}
        said |= {f"target_{metric}": limit for metric, limit in self.targets.items()}
        return [word for name, value in said.items() for word in ("--" + name.replace("_", "-"), value)]


class BenchLoad(Entry, frozen=True, kw_only=True):
    """A closed loop that giq and `vllm bench serve` hold in turns; `seconds` is how long one of them takes, about."""

    concurrency: PositiveInt
    requests: PositiveInt
    seconds: PositiveInt


class Bench(Entry, frozen=True, kw_only=True, tag_field="item", tag="vllm-bench"):
    """giq beside `vllm bench serve` on the same server and work."""

    name: Name
    input_tokens: PositiveInt
    output_tokens: PositiveInt
    turns: PositiveInt = 1
    loads: tuple[BenchLoad, ...]

    @property
    def seconds(self) -> float:
        """How long it takes at most, about."""
        return ITEM_S + self.turns * sum(2 * load.seconds + BENCH_STARTS_S for load in self.loads)


class Serve(Entry, frozen=True, kw_only=True, tag_field="step", tag="serve"):
    """One server and what is measured on it. `starts_in` is how long it takes to start, about."""

    name: Name
    model: str
    precision: str | None = None
    tensor_parallel_size: PositiveInt | None = None
    engine_args: dict[str, EngineValue] = {}
    starts_in: str = "3m"
    items: tuple[Profile | Bench, ...]

    @property
    def start_seconds(self) -> float:
        """How long it takes before the first item can begin."""
        return parse_duration(self.starts_in) + START_S

    def words(self) -> list[str]:
        """What `giq profile` is to be told of the server."""
        words = ["--model", self.model]
        words += ["--precision", self.precision] if self.precision else []
        words += ["--tensor-parallel-size", str(self.tensor_parallel_size)] if self.tensor_parallel_size else []
        return words + [word for key, value in self.engine_args.items() for word in ("--engine-arg", _pair(key, value))]


class Client(Entry, frozen=True, kw_only=True, tag_field="step", tag="client"):
    """giq against the exact server at the highest load: so many streams of 200 tokens for each worker."""

    name: Name
    streams_per_worker: PositiveInt = 300
    hold: str = "20s"

    @property
    def seconds(self) -> float:
        """How long it takes at most, about."""
        return parse_duration(self.hold) + 2 * ITEM_S


class Campaign(Entry, frozen=True, kw_only=True):
    """All steps, in their order; `about` says what it is for."""

    title: Name
    about: str
    steps: tuple[Serve | Client, ...]


def read_campaign(path: Path) -> Campaign:
    """The campaign in the YAML file at *path*.

    Raises:
        CatalogError: a field is wrong, a name is no folder's name, or two have one.
        UsageError: a duration without a unit.
    """
    campaign = read(path, Campaign)
    seen: set[str] = set()
    for field, name in _names(campaign):
        if not re.fullmatch(r"[a-z0-9][a-z0-9._-]*", name):
            raise CatalogError(str(path), field, name, "must be letters, digits, dots and dashes")
        if field + name in seen:
            raise CatalogError(str(path), field, name, "is given twice")
        seen.add(field + name)
    for step in campaign.steps:  # every duration is read once before anything is started
        _ = [step.seconds] if isinstance(step, Client) else [step.start_seconds, *(item.seconds for item in step.items)]
    return campaign


def _names(campaign: Campaign) -> Iterator[tuple[str, str]]:
    """Each name, with the field that it must be alone in."""
    for step in campaign.steps:
        yield "steps.name", step.name
        if isinstance(step, Serve):
            yield from ((f"steps[{step.name}].items.name", item.name) for item in step.items)


def _pair(key: str, value: EngineValue) -> str:
    return f"{key}={str(value).lower() if isinstance(value, bool) else value}"
