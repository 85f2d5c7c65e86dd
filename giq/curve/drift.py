"""Drift: whether latency moves while the load stands."""

from __future__ import annotations

import numpy as np

from giq.curve.intervals import MOST_BATCHES, batch_labels
from giq.curve.latencies import latencies
from giq.curve.point import Estimate
from giq.curve.requests import Requests
from giq.curve.trend import slope
from giq.curve.window import Window
from giq.units import NS_PER_S


def drift(requests: Requests, window: Window) -> Estimate | None:
    """By which share of its mean latency changes from the beginning of *window* to its end, with a 90 % interval.

    A straight line through the means of 20 batches of the requests that succeeded, in the order of time; None
    below five requests for each batch. Neighbouring batches are alike, which `slope` allows for.
    """
    times = window.times(requests)
    chosen = np.flatnonzero(window.holds(times) & requests.ok)
    chosen = chosen[np.argsort(times[chosen], kind="stable")]
    if len(chosen) < 5 * MOST_BATCHES:
        return None
    labels = batch_labels(len(chosen), MOST_BATCHES)
    sizes = np.bincount(labels)
    means = np.bincount(labels, latencies(requests).latency[chosen]) / sizes
    middle = np.bincount(labels, (times[chosen] - window.start_ns) / NS_PER_S) / sizes
    found = slope(middle, means) if middle[-1] > middle[0] else None
    level = float(means.mean())
    if found is None or found.lo is None or found.hi is None or not 0 < level < np.inf:
        return None
    scale = window.seconds / level
    return Estimate(value=found.value * scale, lo=found.lo * scale, hi=found.hi * scale)
