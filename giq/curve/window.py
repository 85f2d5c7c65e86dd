"""The window of a load point: where warm-up ends and drain begins, found in the records."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from giq.curve.in_flight import InFlight, alive, falls_behind, grows, in_flight
from giq.curve.intervals import MOST_BATCHES, batch_labels
from giq.curve.requests import NULL, OUTCOMES, Requests
from giq.curve.stays import Stays
from giq.curve.trend import slope, truncation
from giq.units import NS_PER_S, format_span
from giq.workload.workload import Arrival, ClosedLoad, Load, OpenLoad

PHASES: tuple[Literal["warmup", "measure", "drain"], ...] = ("warmup", "measure", "drain")
_FEWEST = 20
_MOST_BINS = 500
_LEAST_LIVES = 2.0
_LARGEST_DRAIN = 3
_LIFETIMES, _WARM_LIFETIMES = 2, 1
_FEWEST_BEGUN = 2
_CANCELLED = OUTCOMES.index("cancelled")


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


def choose_window(requests: Requests, load: Load, arrival: Arrival | None = None) -> Window:
    """The window of a load point, from its own records; *arrival* is the workload's law (Poisson when None).

    Open loop: it begins when the number in flight has reached its level (MSER-5 on its time means, and not
    before twice the p90 of latency has passed, since nothing can be full earlier; once after a warm start, when those
    that were begun are gone), at most halfway, and ends so long
    before the last scheduled arrival (at most a third of the point): what came later was answered by a server that
    emptied, and met too little company. Where the client gave requests up it ends before the first of those. It is not
    steady when the number in flight surely and plainly grows.

    Closed loop: it begins when as many requests have ended as there are slots, so that every slot was on average
    used once and the common start is over, or later where MSER-5 on the latencies says so, and ends before
    the first slot stays empty because nothing is left to be sent, after a whole number of turns (as many requests
    ended as there are slots): equal requests that began together go on in step for long, and part of their turn is
    all prefill or all decoding. It is not steady when there is no whole turn, or latency surely and plainly grows.

    In conversations a whole session counts here as one request does else: it is what begins, lasts, takes a slot and
    ends; after the last one has begun the load only fades. Open loop is then not steady either when sessions pile up,
    or when the window is less than twice as long as they last: a server that falls behind delays their later turns.

    Below 20 requests nothing can be found: all is window, and it is not steady. Nor is it under a ramp, which holds
    no rate that anything could settle at.
    """
    if len(requests) < _FEWEST:
        return _everything(requests, load, f"{len(requests)} requests are too few to find a steady state")
    if arrival is not None and not arrival.is_steady and isinstance(load, OpenLoad):
        return _everything(requests, load, f"the rate was not held: {arrival}")
    if isinstance(load, ClosedLoad):
        return _closed_window(requests, load.concurrency)
    warm = (arrival is None or arrival.law != "trace") and begun_warm(requests)
    return _open_window(requests, load.rate_rps, _WARM_LIFETIMES if warm else _LIFETIMES)


def _everything(requests: Requests, load: Load, reason: str) -> Window:
    """All of a point, which is not steady."""
    closed = isinstance(load, ClosedLoad)
    times = requests.sent_ns if closed else requests.scheduled_ns
    first, last = (int(times.min()), int(times.max())) if len(times) else (0, 0)
    return Window(first, last + 1, False, reason, "sent" if closed else "scheduled")


def begun_warm(requests: Requests) -> bool:
    """Whether several requests were scheduled at the very start (`giq.workload.warm_start`): no law draws that."""
    if requests.session_id is not None or not len(requests):
        return False
    times = requests.scheduled_ns
    return bool(np.count_nonzero(times == times.min()) >= _FEWEST_BEGUN)


def _open_window(requests: Requests, rate_rps: float, lifetimes: int) -> Window:
    swept = in_flight(requests)
    stays = Stays.of(requests)
    first, last = int(stays.scheduled_ns.min()), int(stays.scheduled_ns.max())
    if lifetimes == _WARM_LIFETIMES:
        first = int(stays.scheduled_ns[stays.scheduled_ns > first].min(initial=last))
    lived = np.sort((stays.end_ns - stays.scheduled_ns)[stays.ok])
    lifetime = int(lived[(9 * len(lived)) // 10]) if len(lived) else 0
    end = last + 1 - min(lifetime, (last - first) // _LARGEST_DRAIN)
    half = first + (last + 1 - first) // 2
    edges = np.linspace(first, last + 1, min(len(requests), _MOST_BINS) + 1)
    filled = int(edges[truncation(swept.means(edges))])
    start = min(max(filled, first + lifetimes * lifetime), half)
    if requests.session_id is not None and end - start < _LEAST_LIVES * lifetime:
        seconds = format_span(lifetime / NS_PER_S)
        return Window(start, end, False, f"conversations of {seconds} had too little time to settle")
    if requests.session_id is not None and _conversations_pile_up(stays, start, end):
        return Window(start, end, False, "the number of conversations kept growing")
    end = _before_given_up(requests, start, end)
    return _judged_open(swept, start, (end, last + 1), rate_rps)


def _before_given_up(requests: Requests, start: int, end: int) -> int:
    """The end of the window, before the first request that the client itself gave up, unless half would be lost.

    Such a request is not slow: nobody waited for it.
    """
    given_up = requests.scheduled_ns[requests.outcome == _CANCELLED]
    given_up = given_up[(given_up >= start) & (given_up < end)]
    earlier = int(given_up.min(initial=end))
    return earlier if earlier - start >= (end - start) // 2 else end


def _conversations_pile_up(stays: Stays, start: int, end: int) -> bool:
    """Whether more sessions begin than end: a server that falls behind delays their later turns, which are fewer then.

    Requests in flight alone need not tell it.
    """
    swept, seconds = alive(stays), (end - start) / NS_PER_S
    begun = np.count_nonzero((stays.scheduled_ns >= start) & (stays.scheduled_ns < end)) / max(seconds, 1e-9)
    return falls_behind(swept.slope(start, end), swept.mean(start, end), seconds, float(begun))


def _judged_open(swept: InFlight, start: int, ends: tuple[int, int], rate_rps: float) -> Window:
    """The window up to the first of *ends* where the load stood still, up to the other, the last arrival, where not."""
    end, last = ends
    mean = swept.mean(start, last)
    if falls_behind(swept.slope(start, last), mean, (last - start) / NS_PER_S, rate_rps):
        return Window(start, last, False, "the number of requests in flight kept growing")
    reason = f"from when about {mean:.3g} requests were in flight to a lifetime before the last arrival"
    return Window(start, end, True, reason)


def _closed_window(requests: Requests, slots: int) -> Window:
    stays = Stays.of(requests)
    last_sent = int(stays.sent_ns.max())
    turned, emptied = _turned_and_emptied(stays, slots, last_sent)
    sent, latencies = _latencies_from(requests, turned)
    cut = truncation(latencies) if turned < last_sent else 0
    start = int(sent[cut]) if cut else turned
    # sessions think and differ: they never go in step, and a whole turn of them is long
    end = _whole_turns(stays, slots, start, emptied) if requests.session_id is None else emptied
    if turned >= last_sent or end is None:
        what = "requests" if requests.session_id is None else "sessions"
        reason = f"the {what} ended before all {slots} slots were used twice"
        return Window(int(requests.sent_ns.min()), emptied, False, reason, "sent")
    if _latency_grows(sent[cut:], latencies[cut:]):
        return Window(start, end, False, "latency kept growing", "sent")
    return Window(start, end, True, "whole turns of all slots after the first, before one stayed empty", "sent")


def _whole_turns(stays: Stays, slots: int, start: int, emptied: int) -> int | None:
    """The latest moment up to *emptied* by which a whole number of turns has ended since *start*; None before one."""
    ends = np.sort(stays.end_ns[(stays.end_ns > start) & (stays.end_ns <= emptied)])
    turns = len(ends) // slots
    return int(ends[turns * slots - 1]) if turns else None


def _turned_and_emptied(stays: Stays, slots: int, last_sent: int) -> tuple[int, int]:
    """When every slot was on average used once, and when the first one stayed empty."""
    ends = np.sort(stays.end_ns[stays.end_ns != NULL])
    after = int(np.searchsorted(ends, last_sent, side="right"))
    emptied = int(ends[after]) if after < len(ends) else last_sent + 1
    return int(ends[slots - 1]) if slots <= len(ends) else emptied, emptied


def _latencies_from(requests: Requests, start_ns: int) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """When the requests that succeeded were sent, from *start_ns* on and in this order, and their latencies in s."""
    chosen = np.flatnonzero(requests.ok & (requests.sent_ns >= start_ns))
    chosen = chosen[np.argsort(requests.sent_ns[chosen], kind="stable")]
    sent = requests.sent_ns[chosen]
    return sent, (requests.end_ns[chosen] - sent) / NS_PER_S


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
