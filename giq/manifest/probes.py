"""When Kubernetes believes that a replica has started, answers, hangs, and has ended."""

from __future__ import annotations

import math

from giq.documents import Entry, PositiveInt
from giq.manifest.startup import Startup

ENDPOINTS_S = 15
"""Seconds until load balancers have learnt that a replica is going; until then it must still accept."""

_PATIENCE = 3.0
"""A start may take so many times its estimate before the container is started anew."""
_SHORTEST_START_S = 900.0
_STEP_S = 10
_UNKNOWN_LATENCY_S = 60.0
_DRAIN_S = (30, 600)


class Probe(Entry, frozen=True, kw_only=True):
    """A question asked every `period_s`; so many failures in a row decide."""

    period_s: PositiveInt
    timeout_s: PositiveInt
    failures: PositiveInt


class Probes(Entry, frozen=True, kw_only=True):
    """The three questions. A busy vLLM may answer late, so liveness is slow to give up."""

    startup: Probe
    readiness: Probe = Probe(period_s=5, timeout_s=5, failures=3)
    liveness: Probe = Probe(period_s=15, timeout_s=10, failures=8)


class Ending(Entry, frozen=True, kw_only=True):
    """How a replica ends: the pause before it is told to, what it may then take, and when it is killed (seconds)."""

    pre_stop_s: PositiveInt
    drain_s: PositiveInt
    grace_s: PositiveInt


def probes_of(startup: Startup) -> Probes:
    """Probes that wait for three times the estimated start, and for a quarter of an hour at least."""
    wait_s = max(_SHORTEST_START_S, _PATIENCE * startup.container_s)
    return Probes(startup=Probe(period_s=_STEP_S, timeout_s=5, failures=math.ceil(wait_s / _STEP_S)))


def ending_of(latency_p99_s: float | None, *, server_drains: bool) -> Ending:
    """An ending that lets running requests finish: twice the 99th percentile of latency, 30 s to 10 min.

    A server that drops its requests when told to end (vLLM before `--shutdown-timeout`) is told only when
    they have had that time.
    """
    known = latency_p99_s is not None and math.isfinite(latency_p99_s)
    wanted = math.ceil(2 * latency_p99_s) if known and latency_p99_s else _UNKNOWN_LATENCY_S
    drain_s = int(min(max(wanted, _DRAIN_S[0]), _DRAIN_S[1]))
    pre_stop_s = ENDPOINTS_S if server_drains else ENDPOINTS_S + drain_s
    return Ending(pre_stop_s=pre_stop_s, drain_s=drain_s, grace_s=ENDPOINTS_S + drain_s + ENDPOINTS_S)
