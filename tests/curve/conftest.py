"""Queues of a known law that answer a load, as records: the ground truth for windows, summaries and searches."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import pytest
from hypothesis import settings
from numpy.typing import NDArray

from giq.catalog.configuration import Component, ServingConfiguration
from giq.catalog.use_cases import Lengths
from giq.curve import OUTCOMES, Curve, Distribution, Estimate, Point, Provenance, Requests
from giq.workload import Arrival, ClosedLoad, Load, OpenLoad, Stop, Workload, arrival_times

settings.register_profile("no deadline", deadline=None)  # other work on the machine is no failure
settings.load_profile("no deadline")

OK = OUTCOMES.index("ok")


def columns(
    scheduled_ns: NDArray[np.int64], first_token_ns: NDArray[np.int64], end_ns: NDArray[np.int64], tokens: int
) -> Requests:
    """Successful requests of *tokens* output tokens, evenly spaced between first token and end."""
    n = len(scheduled_ns)
    ends = np.rint(np.linspace(first_token_ns, end_ns, tokens)).astype(np.int64)
    counts = np.full(n, tokens, dtype=np.int64)
    return Requests(
        request_id=np.arange(n),
        measured=np.ones(n, dtype=bool),
        scheduled_ns=scheduled_ns,
        sent_ns=scheduled_ns,
        first_token_ns=first_token_ns,
        last_token_ns=end_ns,
        end_ns=end_ns,
        outcome=np.full(n, OK, dtype=np.int8),
        requested_input_tokens=counts,
        requested_output_tokens=counts,
        input_tokens=counts,
        cached_tokens=np.zeros(n, dtype=np.int64),
        output_tokens=counts,
        gaps_ns=np.diff(ends, axis=0).T.reshape(-1),
        gap_offsets=np.arange(n + 1) * (tokens - 1),
        chunk_tokens=np.zeros(0, dtype=np.int64),
        chunk_offsets=np.zeros(n + 1, dtype=np.int64),
    )


def serve(load: Load, n: int, slots: int, service_s: float, spread: float = 0.0, seed: int = 0) -> Requests:
    """*n* requests through *slots* servers, first come first served: M/D/slots, with *spread* lognormal service.

    A request's first token comes when its service begins, its last when it ends.
    """
    rng = np.random.default_rng([seed, 9])
    service = (
        service_s * np.exp(rng.normal(-(spread**2) / 2, spread, n)) * 1e9 if spread else np.full(n, service_s * 1e9)
    )
    free = [0.0] * slots
    in_loop: list[float] = []
    if isinstance(load, OpenLoad):
        due = arrival_times(Arrival(), load.rate_rps, Stop(requests=n), np.random.default_rng([seed, 7])).tolist()
    else:
        due = [0] * min(n, load.concurrency)
    starts, ends, scheduled = [], [], []
    for i in range(n):
        arrived = due[i] if i < len(due) else heapq.heappop(in_loop)
        begin = max(arrived, heapq.heappop(free))
        end = begin + service[i]
        heapq.heappush(free, end)
        if isinstance(load, ClosedLoad):
            heapq.heappush(in_loop, end)
        scheduled.append(arrived)
        starts.append(begin)
        ends.append(end)
    as_ns = [np.rint(np.array(times)).astype(np.int64) for times in (scheduled, starts, ends)]
    return columns(as_ns[0], as_ns[1], as_ns[2], 4)


MEASURED = Provenance(evidence="measured", hardware_source="declared", source="a test", giq_version="0")
CONFIG = ServingConfiguration(components=(Component(model="m", precision="bf16", accelerator="a"),))
WORKLOAD = Workload(input_tokens=Lengths(mean=100), output_tokens=Lengths(mean=50))


def point(kind: str, rate: float, **fields: Any) -> Point:
    """A valid point at *rate* (offered, or completed in a closed loop); *fields* change what is given here."""
    known: dict[str, Any] = {
        "point_id": f"{kind}-{rate}", "provenance": MEASURED, "load_kind": kind, "achieved_rps": rate,
        "offered_rps": rate if kind == "open" else None, "concurrency": None if kind == "open" else 8.0,
        "in_flight_mean": 2 * rate, "error_share": 0.0, "window_s": 60.0, "n_requests": 1000, "input_tps": 100 * rate,
        "output_tps": 50 * rate, "total_tps": 150 * rate, "input_tokens_mean": 100.0, "output_tokens_mean": 50.0,
        "accelerator_seconds": 60.0,
    }  # fmt: skip
    return Point(**(known | fields))


def at(value: float, lo: float | None = None, hi: float | None = None) -> Distribution:
    """A distribution of which every percentile is *value*, with that interval."""
    estimate = Estimate(value=value, lo=lo, hi=hi)
    return Distribution(mean=estimate, p50=estimate, p90=estimate, p95=estimate, p99=estimate)


def curve(points: Iterable[Point]) -> Curve:
    """A curve of *points*."""
    return Curve(CONFIG, WORKLOAD, tuple(points))


@pytest.fixture(scope="session")
def queue() -> Callable[..., Requests]:
    """`serve`: a load through a queue."""
    return serve


@pytest.fixture(scope="session")
def make_point() -> Callable[..., Point]:
    """`point`: a point by hand."""
    return point


@pytest.fixture(scope="session")
def make_curve() -> Callable[[Iterable[Point]], Curve]:
    """`curve`: a curve of points."""
    return curve


@pytest.fixture(scope="session")
def same() -> Callable[..., Distribution]:
    """`at`: one value for every percentile."""
    return at
