"""Arrival laws: when each request of an open-loop point falls due."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from giq.errors import UsageError
from giq.units import NS_PER_S
from giq.workload.workload import Arrival, Stop

MAX_REQUESTS = 2_000_000
"""The most requests one load point may have."""


def arrival_times(arrival: Arrival, rate_rps: float, stop: Stop, rng: np.random.Generator) -> NDArray[np.int64]:
    """Arrivals in ns from the start of the point, sorted, absolute: no later one depends on when another was sent.

    `constant`: arrival i at round(i * 1e9 / rate), so the first at 0 and without drift. `poisson`: gaps
    exponential with mean 1/rate, independent, the first gap before the first arrival. `gamma`: gaps gamma
    with shape k and mean 1/rate. With `stop.requests` at most so many; with `stop.duration_s` all before it.
    `ramp`: see `ramp_times`, stretched to the mean rate *rate_rps*.

    Raises:
        UsageError: neither limit is given, more than MAX_REQUESTS would be sent, a gamma law without its
            shape, or a trace (which is replayed by `make_schedule`).
    """
    if stop.requests is None and stop.duration_s is None:
        raise UsageError("nothing ends the load point", hint="Give a number of requests or a duration.")
    count = _enough(arrival, rate_rps, stop)
    if count > MAX_REQUESTS:
        raise UsageError(f"{count:,} requests in one load point", hint=f"Give at most {MAX_REQUESTS:,}.")
    if arrival.law == "ramp":
        return ramp_times(arrival, rate_rps, stop, count, rng)
    most = stop.requests or MAX_REQUESTS
    end_ns = math.inf if stop.duration_s is None else round(stop.duration_s * NS_PER_S)
    times = _times(arrival, rate_rps, count, rng)
    while len(times) < most and times[-1] < end_ns:  # rare: the gaps drawn were short
        more = _times(arrival, rate_rps, max(16, count // 8), rng) + times[-1]
        times = np.concatenate([times, more])
    return times[: min(most, int(np.searchsorted(times, end_ns)))]


def _enough(arrival: Arrival, rate_rps: float, stop: Stop) -> int:
    """As many arrivals as are asked for, or six standard deviations more than fit into the duration."""
    limits = []
    if stop.requests is not None:
        limits.append(stop.requests)
    if stop.duration_s is not None:
        expected = rate_rps * stop.duration_s
        regular = arrival.law == "constant" or arrival.even
        spread = 0.0 if regular else max(1.0, 1.0 / (arrival.shape or 1.0))
        limits.append(math.ceil(expected + 6 * math.sqrt(expected * spread)) + 2)
    return min(limits)


def _times(arrival: Arrival, rate_rps: float, count: int, rng: np.random.Generator) -> NDArray[np.int64]:
    if arrival.law == "constant":
        exact = np.arange(count, dtype=np.float64) * NS_PER_S / rate_rps
        return np.rint(exact).astype(np.int64)
    if arrival.law == "poisson":
        gaps = rng.exponential(1 / rate_rps, size=count)
    elif arrival.law == "gamma":
        if arrival.shape is None:
            raise UsageError("the gamma arrival law has no shape", hint="Give it, like gamma:2.")
        gaps = rng.gamma(arrival.shape, 1 / (arrival.shape * rate_rps), size=count)
    else:
        raise UsageError("a trace has its own arrival times", hint="Read it, and give it to make_schedule.")
    return np.rint(np.cumsum(gaps) * NS_PER_S).astype(np.int64)


def ramp_times(
    arrival: Arrival, rate_rps: float, stop: Stop, count: int, rng: np.random.Generator
) -> NDArray[np.int64]:
    """Arrivals in ns of a rate that goes in a straight line from one value to another, with the mean *rate_rps*.

    It is over after `stop.duration_s`, or without one after the time in which `stop.requests` fall due on average.
    Even: arrival i is where i requests have fallen due. Poisson: unit-rate arrivals, *count* of which are surely
    enough, at the times where so many have fallen due (Cinlar, "Introduction to Stochastic Processes", 1975, chapter
    4.7); where only a number of requests is given, exactly so many, which are then even draws in order.
    """
    whole = rate_rps * stop.duration_s if stop.duration_s is not None else float(stop.requests or 0)
    if arrival.even:
        due = np.arange(math.ceil(whole), dtype=np.float64)
    elif stop.duration_s is None:
        due = np.sort(rng.uniform(0.0, whole, size=count))
    else:
        due = np.cumsum(rng.exponential(1.0, size=count))
    due = due[due < whole][: stop.requests]
    span_s = whole / rate_rps
    scale = rate_rps / (arrival.mean_rps or rate_rps)
    first, last = scale * (arrival.from_rps or 0.0), scale * (arrival.to_rps or 0.0)
    # a t + (b - a) t^2 / 2T requests have fallen due at t: the root in the form that also holds for a = b
    root = np.sqrt(np.maximum(first**2 + 2 * (last - first) / span_s * due, 0.0))
    seconds = np.divide(2 * due, first + root, out=np.zeros_like(due), where=due > 0)
    times: NDArray[np.int64] = np.rint(seconds * NS_PER_S).astype(np.int64)
    return np.minimum(times, round(span_s * NS_PER_S) - 1)
