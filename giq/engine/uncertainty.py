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
from giq.curve.window import Window
from giq.documents import replace
from giq.engine.calibration import interval_with
from giq.engine.simulation import Simulation
from giq.units import NS_PER_S
from giq.workload.workload import Load, OpenLoad

METRICS = ("ttft", "ttft_scheduled", "itl", "tpot", "ntpot", "latency", "latency_scheduled")

_MOST_GAPS = 20_000  # of one variant's gaps, evenly drawn: its percentiles are bounds, not values


@dataclass(frozen=True)
class Variant:
    """What one variant of the engine did under a load: latencies without intervals, how in-flight grew, and work."""

    latencies: dict[str, Distribution]
    slope: float | None
    work_rps: float | None = None

    @classmethod
    def of(cls, run: Simulation, load: Load, window: Window) -> Variant:
        """The variant's statistics over its own window."""
        requests = run.requests
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

    Past saturation the growth of in-flight and the work done, from which the saturation point's interval is made, do
    so too; growth stays above 0, since what is past saturation for the engine as predicted is said to be.
    """
    changed: dict[str, Distribution | Estimate] = {
        name: _widened(point.metric(name), [variant.latencies[name] for variant in variants]) for name in METRICS
    }
    for name in ("ttft", "ttft_scheduled"):
        first = changed[name]
        assert isinstance(first, Distribution)  # noqa: S101 - narrows the type
        changed[name] = _farther(first, ttft_sigma)
    if past_saturation(point) and point.in_flight_slope is not None:
        slopes = [variant.slope for variant in variants if variant.slope is not None]
        found = _reaching(point.in_flight_slope, slopes)
        least = 1e-6 * found.value
        changed["in_flight_slope"] = Estimate(value=found.value, lo=max(found.lo or least, least), hi=found.hi)
    if past_saturation(point) and point.work_rps is not None:
        work = [variant.work_rps for variant in variants if variant.work_rps is not None]
        changed["work_rps"] = _reaching(point.work_rps, work)
    return replace(point, **changed)


def no_faster(point: Point, idle: Point) -> Point:
    """*point* with no latency's interval reaching below that of the *idle* engine: none falls with the load.

    But where chance has made the value itself less than that of the idle engine: that tells of other requests.
    """
    return replace(point, **{name: _no_less(point.metric(name), idle.metric(name)) for name in METRICS})


def _no_less(found: Distribution, idle: Distribution) -> Distribution:
    raised: dict[str, Estimate] = {}
    for statistic in STATISTICS:
        estimate, least = found.at(statistic), idle.at(statistic)
        if estimate is None or least is None or estimate.lo is None or least.lo is None:
            continue
        if estimate.lo < least.lo and estimate.value >= least.value:
            raised[statistic] = replace(estimate, lo=least.lo)
    return replace(found, **raised) if raised else found


def _widened(found: Distribution, others: Sequence[Distribution]) -> Distribution:
    reaching: dict[str, Estimate | None] = {}
    for statistic in STATISTICS:
        estimate = found.at(statistic)
        if estimate is not None:
            there = [other.at(statistic) for other in others]
            reaching[statistic] = _reaching(estimate, [other.value for other in there if other is not None])
    return replace(found, **reaching)


def _reaching(estimate: Estimate, others: Sequence[float]) -> Estimate:
    """*estimate* with an interval that holds *others* too."""
    known = [end for end in (estimate.value, estimate.lo, estimate.hi, *others) if end is not None]
    return Estimate(value=estimate.value, lo=min(known), hi=max(known))


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
