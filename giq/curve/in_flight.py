"""How many requests are in flight at each moment, and whether their number grows."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from giq.curve.intervals import MOST_BATCHES
from giq.curve.point import Estimate
from giq.curve.requests import NULL, Requests
from giq.curve.stays import Stays
from giq.curve.trend import slope
from giq.units import NS_PER_S

_LARGE_SHARE = 0.25
_BEHIND_SHARE = 0.02
_SURELY_BEHIND_SHARE = 0.05


@dataclass(frozen=True, eq=False)
class InFlight:
    """The number of requests sent and not ended, as a step function of time.

    It rises by one at each of `begun` and falls by one at each of `ended` (both float64, ascending, in ns since
    `origin_ns`): two arrays, since of a million requests each takes megabytes.
    """

    origin_ns: int
    begun: NDArray[np.float64]
    ended: NDArray[np.float64]

    def means(self, edges_ns: NDArray[np.float64]) -> NDArray[np.float64]:
        """The time-weighted mean between each two neighbours of *edges_ns*, which ascend."""
        edges = edges_ns - self.origin_ns
        lengths = np.diff(edges)
        begun, ended = (np.searchsorted(times, edges, side="right") for times in (self.begun, self.ended))
        area = (begun - ended)[:-1] * lengths + _since(self.begun, begun, edges) - _since(self.ended, ended, edges)
        return area / lengths

    def mean(self, start_ns: int, end_ns: int) -> float:
        """The time-weighted mean from *start_ns* to *end_ns*; 0 for no time."""
        return float(self.means(np.array([start_ns, end_ns], dtype=np.float64))[0]) if end_ns > start_ns else 0.0

    def slope(self, start_ns: int, end_ns: int) -> Estimate | None:
        """Growth per second from *start_ns* to *end_ns* with its 90 % interval, from 20 batch means."""
        if end_ns - start_ns < MOST_BATCHES:
            return None
        edges = np.linspace(start_ns, end_ns, MOST_BATCHES + 1)
        return slope((edges[:-1] + edges[1:]) / 2 / NS_PER_S, self.means(edges))


def in_flight(requests: Requests) -> InFlight:
    """The sweep over all sends and ends; a request without a known end stays until the last time known."""
    known = (requests.end_ns, requests.last_token_ns, requests.first_token_ns, requests.sent_ns)
    latest = max(int(times.max(initial=0)) for times in known)
    return _sweep(requests.sent_ns, np.where(requests.end_ns == NULL, latest, requests.end_ns))


def alive(stays: Stays) -> InFlight:
    """The same of stays: of conversations those that have begun and not ended."""
    latest = max(int(stays.end_ns.max(initial=0)), int(stays.sent_ns.max(initial=0)))
    return _sweep(stays.sent_ns, np.where(stays.end_ns == NULL, latest, stays.end_ns))


def _sweep(begun_ns: NDArray[np.int64], ended_ns: NDArray[np.int64]) -> InFlight:
    origin = int(begun_ns.min()) if len(begun_ns) else 0
    begun, ended = (np.subtract(times, origin, dtype=np.float64) for times in (begun_ns, ended_ns))
    np.maximum(begun, ended, out=ended)
    begun.sort()
    ended.sort()
    return InFlight(origin, begun, ended)


def _since(times: NDArray[np.float64], places: NDArray[np.intp], edges: NDArray[np.float64]) -> NDArray[np.float64]:
    """For each stretch between *edges* the time from each of *times* in it to its end, added up.

    *places* tells how many of *times* are not after each edge.
    """
    counts = np.diff(places)
    sums, some = np.zeros(len(counts)), counts > 0
    if some.any():
        sums[some] = np.add.reduceat(times[places[0] : places[-1]], (places[:-1] - places[0])[some])
    return counts * edges[1:] - sums


def grows(trend: Estimate | None, mean: float, span_s: float) -> bool:
    """Whether a series rises for sure and much: its slope's interval is above 0, and over the span it gains a quarter.

    Both are asked: a long run makes the smallest trend sure, and a short one shows large ones by chance.
    """
    if trend is None or trend.lo is None or trend.lo <= 0:
        return False
    return trend.value * span_s > _LARGE_SHARE * mean


def falls_behind(trend: Estimate | None, mean: float, span_s: float, rate_rps: float) -> bool:
    """Whether an open-loop load was more than the server took.

    In flight `grows`, and by over 2 % of what is sent: without that share of the rate a few requests that are in
    flight by chance would look like growth. Or it surely (by its interval's lower end) grows by over 5 % of what is
    sent, however large the backlog already is.
    """
    if trend is None:
        return False
    surely = trend.lo is not None and trend.lo > _SURELY_BEHIND_SHARE * rate_rps
    return surely or (trend.value > _BEHIND_SHARE * rate_rps and grows(trend, mean, span_s))
