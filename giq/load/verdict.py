"""What a load point says against itself: a late or overloaded client, lengths that are not those asked for."""

from __future__ import annotations

from giq.load.counters import Finding
from giq.load.job import Lateness
from giq.load.tally import Tally
from giq.units import NS_PER_S
from giq.workload.workload import ClosedLoad, Load

WORST_DELAY_S = 0.002
WORST_DELAY_SHARE = 0.02
WORST_RATE_ERROR = 0.01
WORST_CPU_SHARE = 0.95
SHORTEST_S = 1.0
"""In less time than this neither a rate nor the share of a core that was used says anything."""


def findings(load: Load, tally: Tally, lateness: Lateness) -> list[Finding]:
    """The flags that the client sets against itself, with reasons."""
    found = [] if isinstance(load, ClosedLoad) else _generator_late(load.rate_rps, tally, lateness)
    found += _client_bound(tally, lateness)
    if tally.uncounted:
        found.append(Finding("COUNTERS_UNAVAILABLE", f"{tally.uncounted} answers came without token counts"))
    if tally.differing:
        found.append(Finding("LENGTHS_DIFFER", f"{tally.differing} requests had other lengths than asked for"))
    return found


def _generator_late(rate_rps: float, tally: Tally, lateness: Lateness) -> list[Finding]:
    """Whether an open loop was late.

    That is a 99th percentile of sent − scheduled above 2 ms or 2 % of the mean gap between arrivals, whichever is
    more, or a rate of sending that was off the schedule's by more than 1 %.
    """
    limit_s = max(WORST_DELAY_S, WORST_DELAY_SHARE / rate_rps)
    found = []
    if lateness.schedule_delay_p99_s > limit_s:
        delay_ms = lateness.schedule_delay_p99_s * 1e3
        found.append(f"requests were sent up to {delay_ms:.1f} ms late (p99; the limit is {limit_s * 1e3:.1f} ms)")
    first_ns, last_ns = tally.scheduled_span or (0, 0)
    if lateness.rate_error > WORST_RATE_ERROR and last_ns - first_ns >= SHORTEST_S * NS_PER_S:
        found.append(f"the rate of sending was {lateness.rate_error:.1%} off the schedule's")
    return [Finding("GENERATOR_LATE", reason) for reason in found]


def _client_bound(tally: Tally, lateness: Lateness) -> list[Finding]:
    """Whether the client was at its end: its core was full, or it ran out of files or ports.

    What its lateness does to the figures is judged when they are known, in `curve.client_error`.
    """
    found = []
    elapsed_s = (tally.ended_ns - tally.started_ns) / NS_PER_S
    if lateness.cpu_share > WORST_CPU_SHARE and elapsed_s >= SHORTEST_S:
        found.append(f"the client used {lateness.cpu_share:.0%} of its core")
    if tally.client_limited:
        found.append(f"{tally.client_limited} connections failed for want of open files or ports of the client")
    return [Finding("CLIENT_BOUND", reason) for reason in found]
