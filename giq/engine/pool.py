"""Engine cores that do the same work, and who of them gets a request."""

from __future__ import annotations

from typing import Protocol, TypeVar

from giq.engine.core import Core
from giq.engine.scheduler import Scheduler
from giq.engine.sequence import Sequence
from giq.engine.spec import EngineSpec, Router

WAITING_WEIGHT = 4
"""A waiting request counts as so many running ones: vLLM's own balancing of data-parallel engines
(v1/engine/core_client.py, DPLBAsyncMPClient)."""


class Pool:
    """The cores of one role."""

    def __init__(self, spec: EngineSpec) -> None:
        self.cores = [Core(spec) for _ in range(spec.cores)]
        self._router = spec.router
        self._turn = 0

    def add(self, sequence: Sequence, now: float) -> None:
        """Send *sequence* to a core."""
        choose(self.cores, self._router, self._turn).add(sequence, now)
        self._turn += 1


class Loaded(Protocol):
    """What has a scheduler."""

    scheduler: Scheduler


C = TypeVar("C", bound=Loaded)


def choose(cores: list[C], router: Router, turn: int) -> C:
    """The core that the request of that number gets: the next in turn; of the least loaded where load counts."""
    if len(cores) == 1:
        return cores[0]
    begin = turn % len(cores)
    if router == "round-robin":
        return cores[begin]
    return min(cores[begin:] + cores[:begin], key=_load)


def _load(core: Loaded) -> int:
    scheduler = core.scheduler
    return WAITING_WEIGHT * len(scheduler.waiting) + len(scheduler.running)
