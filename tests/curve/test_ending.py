"""A load point ends when it has seen enough, and not before."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields

import numpy as np

from giq.curve import Requests, Target
from giq.curve.ending import Goal, next_look, seen_enough
from giq.workload import ClosedLoad, Load, OpenLoad

Queue = Callable[..., Requests]
SLOTS, SERVICE_S = 16, 1.0


def told(requests: Requests, load: Load, goal: Goal, elapsed_s: float) -> str | None:
    """Why the point ends after so long, if it does, from the answers that have come by then."""
    now = round(elapsed_s * 1e9)
    came = requests.end_ns <= now
    known = {
        field.name: getattr(requests, field.name)[came]
        for field in fields(Requests)
        if getattr(requests, field.name) is not None and len(getattr(requests, field.name)) == len(requests)
    }
    none = np.zeros(0, dtype=np.int64)
    offsets = np.zeros(int(came.sum()) + 1, dtype=np.int64)
    part = Requests(**known, gaps_ns=none, gap_offsets=offsets, chunk_tokens=none, chunk_offsets=offsets)
    found = seen_enough(part, int((requests.sent_ns <= now).sum()), now, load, goal)
    return None if found is None else found.reason


def ending(requests: Requests, load: Load, goal: Goal) -> tuple[float, str] | None:
    """When and why the point ends; None if it never does."""
    look = next_look(0.0)
    while look < requests.sent_ns.max() / 1e9:
        reason = told(requests, load, goal, look)
        if reason is not None:
            return look, reason
        look = next_look(look)
    return None


def test_a_load_past_saturation_is_ended_early(queue: Queue) -> None:
    """At twice what the servers take a point of 5 minutes is ended in its first minute, and says why."""
    load = OpenLoad(rate_rps=2 * SLOTS)
    found = ending(queue(load, 9600, SLOTS, SERVICE_S), load, Goal(targets=(Target("latency", 1000.0),)))

    assert found is not None
    assert found[0] < 60
    assert "past saturation" in found[1]


def test_a_load_that_plainly_meets_its_target_is_ended_early(queue: Queue) -> None:
    """At half load a target of three times the latency needs no more than the requests that its percentile asks for."""
    load = OpenLoad(rate_rps=0.5 * SLOTS)
    found = ending(queue(load, 2400, SLOTS, SERVICE_S), load, Goal(targets=(Target("latency", 3.0),)))

    assert found is not None
    assert found[0] < 60
    assert "plainly met" in found[1]


def test_near_a_target_the_point_is_held_for_its_precision(queue: Queue) -> None:
    """The more precision is asked for, the longer the point is held."""
    load = OpenLoad(rate_rps=0.9 * SLOTS)
    requests = queue(load, 20_000, SLOTS, SERVICE_S, 0.5)
    latencies = np.sort((requests.end_ns - requests.scheduled_ns) / 1e9)
    target = Target("latency", float(latencies[len(latencies) * 9 // 10]))
    rough = ending(requests, load, Goal(targets=(target,), precision=0.2))
    fine = ending(requests, load, Goal(targets=(target,), precision=0.02))

    assert rough is not None
    assert fine is None or fine[0] > 1.5 * rough[0]


def test_a_closed_loop_turns_every_slot_over_before_it_ends(queue: Queue) -> None:
    """8 slots of a second each are held for two seconds at least, and not for a minute."""
    load = ClosedLoad(concurrency=8)
    found = ending(queue(load, 800, 8, SERVICE_S), load, Goal(precision=0.1))

    assert found is not None
    assert 2 <= found[0] < 60
