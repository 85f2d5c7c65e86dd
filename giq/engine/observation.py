"""What was observed of a real engine under one load, and what the simulated one does under the same."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from giq.catalog.configuration import ServingConfiguration
from giq.curve.latencies import latencies
from giq.curve.window import choose_window
from giq.engine.simulation import simulate
from giq.engine.spec import EngineSpec
from giq.workload.schedule import make_schedule
from giq.workload.workload import ClosedLoad, Load, OpenLoad, Stop, Workload

SEED = 0
"""Of the schedules that stand for a published load, whose own seed is not known."""


@dataclass(frozen=True)
class Means:
    """Mean latencies over a load point's requests, in seconds; NaN where the source lacks one."""

    ttft_s: float
    tpot_s: float
    latency_s: float


@dataclass(frozen=True)
class Observation:
    """One load point of a real engine.

    `requests` were sent in all. `whole` says that the means are over all of them, as benchmark clients report
    them; otherwise they are over the window that giq judges a point by.
    """

    name: str
    config: ServingConfiguration
    workload: Workload
    load: Load
    requests: int
    whole: bool
    observed: Means

    @property
    def in_flight(self) -> float:
        """Requests in flight on average: the slots of a closed loop, in open loop by Little's law."""
        if isinstance(self.load, ClosedLoad):
            return float(self.load.concurrency)
        return self.load.rate_rps * self.observed.latency_s if isinstance(self.load, OpenLoad) else 1.0

    def predicted(self, spec: EngineSpec) -> Means:
        """The same means when *spec* is put under the same load."""
        schedule = make_schedule(self.workload, self.load, Stop(requests=self.requests), SEED)
        requests = simulate(spec, schedule).requests
        chosen = np.ones(len(requests), dtype=bool)
        if not self.whole:
            window = choose_window(requests, self.load, self.workload.arrival)
            chosen = window.holds(window.times(requests))
        of_requests = latencies(requests)
        return Means(
            ttft_s=_mean(of_requests.ttft[chosen]),
            tpot_s=_mean(of_requests.tpot[chosen]),
            latency_s=_mean(of_requests.latency[chosen]),
        )


def _mean(values: np.ndarray[tuple[int, ...], np.dtype[np.float64]]) -> float:
    known = values[~np.isnan(values)]
    return float(known.mean()) if len(known) else float("nan")
