"""The same load on a slower and a faster engine, and what that makes of a point's intervals."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from giq.curve.in_flight import in_flight
from giq.curve.intervals import distribution, pool
from giq.curve.latencies import latencies
from giq.curve.point import STATISTICS, Distribution, Estimate, Point
from giq.curve.saturation import past_saturation
from giq.curve.window import choose_window
from giq.documents import replace
from giq.engine.calibration import interval_with
from giq.engine.simulation import Simulation
from giq.units import NS_PER_S
from giq.workload.workload import Arrival, Load, OpenLoad

METRICS = ("ttft", "ttft_scheduled", "itl", "tpot", "ntpot", "latency", "latency_scheduled")

_MOST_GAPS = 20_000  # of one variant's gaps, evenly drawn: its percentiles are bounds, not values


@dataclass(frozen=True)
class Variant:
    """What one variant of the engine did under a load: latencies without intervals, and how in-flight grew."""

    latencies: dict[str, Distribution]
    slope: float | None

    @classmethod
    def of(cls, run: Simulation, load: Load, arrival: Arrival) -> Variant:
        """The variant's statistics over its own window."""
        requests = run.requests
        window = choose_window(requests, load, arrival)
        chosen = window.holds(window.times(requests))
        of_requests = latencies(requests)
        found = {name: _distribution(getattr(of_requests, name)[chosen]) for name in METRICS if name != "itl"}
        gaps = requests.gaps_ns[np.repeat(chosen, np.diff(requests.gap_offsets))]
        found["itl"] = _distribution(gaps[:: 1 + len(gaps) // _MOST_GAPS] / NS_PER_S)
        slope = None
        if isinstance(load, OpenLoad):
            estimate = in_flight(requests).slope(window.start_ns, window.end_ns)
            slope = None if estimate is None else estimate.value
        return cls(found, slope)


def widened(point: Point, variants: Sequence[Variant], ttft_sigma: float = 0.0) -> Point:
    """*point* with every latency's interval reaching over what *variants* have instead.

    That of TTFT reaches farther by an error of its own, *ttft_sigma* in the logarithm.

    Past saturation the growth of in-flight, from which the saturation point's interval is made, does so too; it
    stays above 0, since what is past saturation for the engine as predicted is said to be.
    """
    changed: dict[str, Distribution | Estimate] = {
        name: _widened(point.metric(name), [variant.latencies[name] for variant in variants]) for name in METRICS
    }
    for name in ("ttft", "ttft_scheduled"):
        found = changed[name]
        assert isinstance(found, Distribution)  # noqa: S101 - narrows the type
        changed[name] = _farther(found, ttft_sigma)
    if past_saturation(point) and point.in_flight_slope is not None:
        slope = point.in_flight_slope
        others = [variant.slope for variant in variants if variant.slope is not None]
        ends = [slope.value if slope.lo is None else slope.lo, slope.value if slope.hi is None else slope.hi]
        lowest = max(min([*ends, *others]), 1e-6 * slope.value)
        changed["in_flight_slope"] = Estimate(value=slope.value, lo=lowest, hi=max([*ends, *others]))
    return replace(point, **changed)


def _widened(found: Distribution, others: Sequence[Distribution]) -> Distribution:
    reaching: dict[str, Estimate | None] = {}
    for statistic in STATISTICS:
        estimate = found.at(statistic)
        if estimate is None:
            continue
        ends = [estimate.value, estimate.lo, estimate.hi]
        for other in others:
            there = other.at(statistic)
            ends.append(None if there is None else there.value)
        known = [end for end in ends if end is not None]
        reaching[statistic] = Estimate(value=estimate.value, lo=min(known), hi=max(known))
    return replace(found, **reaching)


def _farther(found: Distribution, sigma: float) -> Distribution:
    reaching: dict[str, Estimate | None] = {}
    for statistic in STATISTICS:
        estimate = found.at(statistic)
        if estimate is not None and estimate.lo is not None and estimate.hi is not None:
            low, high = interval_with((estimate.lo, estimate.value, estimate.hi), sigma)
            reaching[statistic] = Estimate(value=estimate.value, lo=low, hi=high)
    return replace(found, **reaching)


def _distribution(values: np.ndarray[tuple[int, ...], np.dtype[np.float64]]) -> Distribution:
    none = np.zeros(1, dtype=np.int64)
    return distribution(pool(values, np.zeros(len(values), dtype=np.intp), none), intervals=False, grid=False)
