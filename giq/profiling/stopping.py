"""When a load point has seen enough: a rule on requests and time, from what is known so far (pure)."""

from __future__ import annotations

import math
from collections.abc import Sequence

from giq.curve.point import Point
from giq.curve.targets import Target, requests_needed
from giq.workload.workload import ClosedLoad, Load, Stop

CLOSED_MARGIN, OPEN_MARGIN = 1.1, 2.0
"""How many more requests are sent than a percentile needs, for warm-up and drain: a closed loop has little of
either beside the first and last turn of its slots, an open one fills slowly near the knee."""

SHORTEST_S = 30.0
LONGEST_S = 300.0
TURNS = 8
"""How often every slot of a closed loop is turned over, warm-up included."""


def stop_for(load: Load, points: Sequence[Point], targets: Sequence[Target] = ()) -> Stop:
    """How long to hold *load*: enough requests for the percentiles of *targets*, at least 30 s, at most 5 minutes.

    A closed loop, which only brackets the knee, is held half as long at most.
    """
    needed = requests_needed(targets)
    if isinstance(load, ClosedLoad):
        expected = max((point.achieved_rps for point in points), default=0.0)
        enough = math.ceil(needed * CLOSED_MARGIN) + 2 * load.concurrency
        requests = max(enough, TURNS * load.concurrency, math.ceil(expected * SHORTEST_S))
        return Stop(requests=requests, duration_s=LONGEST_S / 2)
    requests = max(math.ceil(needed * OPEN_MARGIN), math.ceil(load.rate_rps * SHORTEST_S))
    return Stop(requests=requests, duration_s=LONGEST_S)


def expected_seconds(load: Load, stop: Stop, points: Sequence[Point]) -> float | None:
    """About how long holding *load* until *stop* takes, None where nothing is known yet."""
    if isinstance(load, ClosedLoad):
        rates = [point.achieved_rps for point in points if (point.concurrency or math.inf) <= load.concurrency]
        rate = max(rates, default=0.0)
    else:
        rate = load.rate_rps
    by_count = stop.requests / rate if stop.requests and rate else None
    known = [seconds for seconds in (by_count, stop.duration_s) if seconds is not None]
    return min(known) if known else None
