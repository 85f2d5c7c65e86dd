"""Load points for tests: what they ask for in as few words as possible."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from giq.catalog.use_cases import Lengths
from giq.curve.requests import Record, Sample
from giq.load.client import Hooks, LoadJob, LoadResult, Progress, run, run_load
from giq.load.endpoint import Endpoint
from giq.load.identity import ServerIdentity
from giq.workload.schedule import Schedule, make_schedule
from giq.workload.workload import Arrival, ClosedLoad, Load, OpenLoad, Stop, Workload
from tests.load.exact_server import METRIC_NAMES, ExactServer

T = TypeVar("T")


def on_loop(work: Callable[[], Awaitable[T]]) -> T:
    """Run *work* on the loop that giq measures with, for at most 60 s."""

    async def limited() -> T:
        return await asyncio.wait_for(work(), 60)

    return run(limited())


def closed(concurrency: int, requests: int, input_tokens: int = 8, output_tokens: int = 4) -> Schedule:
    """A closed loop of so many requests."""
    return schedule(ClosedLoad(concurrency=concurrency), Stop(requests=requests), input_tokens, output_tokens)


def opened(
    rate_rps: float, requests: int, law: str = "poisson", input_tokens: int = 8, output_tokens: int = 4, seed: int = 7
) -> Schedule:
    """An open loop of so many requests."""
    arrival = Arrival(law="gamma", shape=0.25) if law == "gamma" else Arrival(law=law)  # type: ignore[arg-type]
    return schedule(OpenLoad(rate_rps=rate_rps), Stop(requests=requests), input_tokens, output_tokens, arrival, seed)


def schedule(
    load: Load, stop: Stop, input_tokens: int, output_tokens: int, arrival: Arrival | None = None, seed: int = 7
) -> Schedule:
    """Requests of fixed lengths under a load."""
    workload = Workload(
        input_tokens=Lengths(mean=input_tokens), output_tokens=Lengths(mean=output_tokens),
        arrival=arrival or Arrival(),
    )  # fmt: skip
    return make_schedule(workload, load, stop, seed)


def identity(**changes: Any) -> ServerIdentity:
    """What inspecting an exact server finds."""
    ids: NDArray[np.int32] = np.arange(300, 1300, dtype=np.int32)
    found: dict[str, Any] = {
        "server": "vllm", "version": "0.32.0", "models": ("exact-model",), "model": "exact-model",
        "max_model_len": 4096, "simulated": None, "metrics": True, "rtt_s": 0.0001, "alphabet": ids,
        "accepts_token_ids": True, "busy": 0.0, "metric_names": METRIC_NAMES,
    }  # fmt: skip
    return ServerIdentity(**{**found, **changes})


def job(server: ExactServer | str, asked: Schedule, **changes: Any) -> LoadJob:
    """A job for *server* (or a URL)."""
    url = server if isinstance(server, str) else server.url
    given: dict[str, Any] = {
        "endpoint": Endpoint(url), "identity": identity(), "schedule": asked, "seed": 7, "nonce": 11,
        "point_number": 1, "point_id": "p001", "run_id": "run-1",
    }  # fmt: skip
    return LoadJob(**{**given, **changes})


class Heard:
    """What the hooks of a load point were told."""

    def __init__(self) -> None:
        self.records: list[Record] = []
        self.samples: list[Sample] = []
        self.progress: list[Progress] = []
        self.hooks = Hooks(
            records=self.records.extend, samples=self.samples.extend, progress=self.progress.append,
            stop=asyncio.Event(), quit=asyncio.Event(),
        )  # fmt: skip

    def told(self, result: LoadResult) -> set[str]:
        """The flags of *result* but those that a busy machine sets: the test's server shares its core."""
        return set(result.flags) - {"GENERATOR_LATE", "CLIENT_BOUND"}

    @property
    def outcomes(self) -> dict[str, int]:
        """How many records of each outcome."""
        found: dict[str, int] = {}
        for record in self.records:
            found[record.outcome] = found.get(record.outcome, 0) + 1
        return found

    def by_id(self) -> list[Record]:
        """The records in the order of the schedule."""
        return sorted(self.records, key=lambda record: record.request_id)


async def measured(server: ExactServer, asked: Schedule, **changes: Any) -> tuple[Heard, LoadResult]:
    """Hold a load against *server*."""
    heard = Heard()
    result = await run_load(job(server, asked, **changes), heard.hooks)
    return heard, result
