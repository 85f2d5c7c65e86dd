"""The window of a load point: where warm-up ends and drain begins, found in the records."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from giq.curve.in_flight import InFlight, falls_behind, grows, in_flight
from giq.curve.intervals import MOST_BATCHES, batch_labels
from giq.curve.requests import NULL, Requests
from giq.curve.trend import slope, truncation
from giq.units import NS_PER_S
from giq.workload.workload import ClosedLoad, Load

PHASES: tuple[Literal["warmup", "measure", "drain"], ...] = ("warmup", "measure", "drain")
_FEWEST = 20
_MOST_BINS = 500


@dataclass(frozen=True)
class Window:
    """The time from `start_ns` (in it) to `end_ns` (not in it) in which a point is measured.

    A request belongs to the phase in which it was scheduled, or with `clock` = "sent" (closed loop) sent.
    `steady` says whether the load stood still in it, and `reason` how that was found.
    """

    start_ns: int
    end_ns: int
    steady: bool
    reason: str
    clock: Literal["scheduled", "sent"] = "scheduled"

    @property
    def seconds(self) -> float:
        """Its length."""
        return (self.end_ns - self.start_ns) / NS_PER_S

    def phases(self, requests: Requests) -> NDArray[np.int8]:
        """The phase of each request, as an index into PHASES."""
        times = self.times(requests)
        return (times >= self.start_ns).astype(np.int8) + (times >= self.end_ns).astype(np.int8)

    def times(self, requests: Requests) -> NDArray[np.int64]:
        """The times by which requests belong to it."""
        return requests.sent_ns if self.clock == "sent" else requests.scheduled_ns

    def holds(self, times_ns: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Which of *times_ns* lie in it."""
        return (times_ns >= self.start_ns) & (times_ns < self.end_ns)


def choose_window(requests: Requests, load: Load) -> Window:
    """The window of a load point, from its own records.

    Open loop: it begins when the number in flight has reached its level (MSER-5 on its time means, and not
    before one median latency has passed, since nothing can be full earlier), at most halfway, and ends
    with the last scheduled arrival. It is not steady when the number in flight surely and plainly grows.

    Closed loop: it begins when as many requests have ended as there are slots, so that every slot was on average
    used once and the common start is over, or later where MSER-5 on the latencies says so, and ends when
    the first slot stays empty because nothing is left to be sent. It is not steady when latency surely and
    plainly grows.

    Below 20 requests nothing can be found: all is window, and it is not steady.
    """
    clock: Literal["scheduled", "sent"] = "sent" if isinstance(load, ClosedLoad) else "scheduled"
    if len(requests) < _FEWEST:
        times = requests.sent_ns if clock == "sent" else requests.scheduled_ns
        first, last = (int(times.min()), int(times.max())) if len(times) else (0, 0)
        return Window(first, last + 1, False, f"{len(requests)} requests are too few to find a steady state", clock)
    if isinstance(load, ClosedLoad):
        return _closed_window(requests, load.concurrency)
    return _open_window(requests, load.rate_rps)


def _open_window(requests: Requests, rate_rps: float) -> Window:
    swept = in_flight(requests)
    first, last = int(requests.scheduled_ns.min()), int(requests.scheduled_ns.max())
    end = last + 1
    half = first + (end - first) // 2
    edges = np.linspace(first, end, min(len(requests), _MOST_BINS) + 1)
    filled = int(edges[truncation(swept.means(edges))])
    lived = np.sort((requests.end_ns - requests.scheduled_ns)[requests.ok])
    lifetime = int(lived[len(lived) // 2]) if len(lived) else 0
    start = min(max(filled, first + lifetime), half)
    return _judged_open(swept, start, end, rate_rps)


def _judged_open(swept: InFlight, start: int, end: int, rate_rps: float) -> Window:
    mean = swept.mean(start, end)
    if falls_behind(swept.slope(start, end), mean, (end - start) / NS_PER_S, rate_rps):
        return Window(start, end, False, "the number of requests in flight kept growing")
    return Window(start, end, True, f"from when about {mean:.3g} requests were in flight to the last arrival")


def _closed_window(requests: Requests, slots: int) -> Window:
    ends = np.sort(requests.end_ns[requests.end_ns != NULL])
    last_sent = int(requests.sent_ns.max())
    after = int(np.searchsorted(ends, last_sent, side="right"))
    end = int(ends[after]) if after < len(ends) else last_sent + 1
    turned = int(ends[slots - 1]) if slots <= len(ends) else end
    if turned >= last_sent:
        start = int(requests.sent_ns.min())
        return Window(start, end, False, f"the requests ended before all {slots} slots were used twice", "sent")
    order = np.argsort(requests.sent_ns, kind="stable")
    chosen = order[(requests.ok & (requests.sent_ns >= turned))[order]]
    sent, latencies = requests.sent_ns[chosen], (requests.end_ns - requests.sent_ns)[chosen] / NS_PER_S
    cut = truncation(latencies)
    start = int(sent[cut]) if cut else turned
    if _latency_grows(sent[cut:], latencies[cut:]):
        return Window(start, end, False, "latency kept growing", "sent")
    return Window(start, end, True, "from when every slot was used once to when the first one stayed empty", "sent")


def _latency_grows(sent_ns: NDArray[np.int64], latencies: NDArray[np.float64]) -> bool:
    """Whether latency rises over the time at which requests were sent, by the means of 20 batches."""
    if len(latencies) < MOST_BATCHES:
        return False
    labels = batch_labels(len(latencies), MOST_BATCHES)
    sizes = np.bincount(labels)
    times = np.bincount(labels, (sent_ns - sent_ns[0]) / NS_PER_S) / sizes
    if times[-1] <= times[0]:
        return False
    means = np.bincount(labels, latencies) / sizes
    return grows(slope(times, means), float(latencies.mean()), float(times[-1] - times[0]))
