"""The search of `giq profile` in virtual time: the same next probe and the same judging, on the simulated engine."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from giq.curve.capacity import Capacity, capacity
from giq.curve.curve import Curve
from giq.curve.ending import Ended, next_look, seen_enough
from giq.curve.holding import BETWEEN_S, Finished, Probe, SearchPlan
from giq.curve.point import Point, Provenance
from giq.curve.requests import OUTCOMES, Requests
from giq.curve.saturation import Saturation, saturation
from giq.curve.search import next_probe
from giq.curve.stand_in import Limits
from giq.curve.summary import PointFacts, summarise
from giq.curve.window import choose_window
from giq.documents import replace
from giq.engine.simulation import Simulation, simulate
from giq.profiling.session import LONGEST_SEARCH_S
from giq.units import NS_PER_S
from giq.workload.schedule import Schedule, make_schedule
from giq.workload.warm_start import warm_schedule
from giq.workload.workload import ClosedLoad, OpenLoad
from tests.truth.cases import Case

CALIBRATION_S = 5.0
"""What the client's own calibration takes before the first load."""

PROVENANCE = Provenance(evidence="measured", hardware_source="simulated", source="virtual time", giq_version="0")


@dataclass(frozen=True)
class Outcome:
    """What a search found, why it stopped, and what it cost."""

    capacity: Capacity
    saturation: Saturation
    reason: str
    cost_s: float
    lifetime_s: float
    points: tuple[Point, ...]


def search(case: Case, seed: int = 0, budget_s: float = float("inf")) -> Outcome:
    """Run the search on *case* until it is finished."""
    plan = SearchPlan(
        targets=case.targets, workload=case.workload, budget_s=budget_s,
        max_rate_rps=case.max_rate_rps or float("inf"),
        longest_s=LONGEST_SEARCH_S if math.isinf(budget_s) else float("inf"),
    )  # fmt: skip
    points: list[Point] = []
    spent = CALIBRATION_S
    while True:
        following = next_probe(points, plan, spent)
        if isinstance(following, Finished):
            break
        point, seconds = held(case, following, len(points) + 1, seed)
        points.append(point)
        spent += seconds + BETWEEN_S
    curve = Curve(case.spec.config, case.workload, tuple(points))
    lived = [point.latency.mean.value for point in points if point.latency.mean is not None]
    return Outcome(
        capacity(curve, case.targets),
        saturation(curve),
        following.reason,
        spent,
        float(np.median(lived)),
        tuple(points),
    )


def held(case: Case, probe: Probe, number: int, seed: int) -> tuple[Point, float]:
    """The point of *probe*, and how long it took with its drain: simulated as long as the judge lets it run."""
    drawn = 1000 * seed + number
    slow = 20 / probe.load.rate_rps if isinstance(probe.load, OpenLoad) else 0.0
    horizon = min(probe.longest_s, max(30.0, slow))
    while True:
        run, end_s = _judged(case, probe, drawn, horizon)
        if end_s is not None or horizon >= probe.longest_s:
            break
        horizon = min(3 * horizon, probe.longest_s)
    cut = _schedule(case, probe, drawn, end_s or probe.longest_s)
    run = given_up(simulate(case.spec, cut), probe.cut_s)
    return summary(case, probe.load, run, number), float(run.requests.end_ns.max()) / NS_PER_S


def _judged(case: Case, probe: Probe, seed: int, horizon: float) -> tuple[Simulation, float | None]:
    """The load up to *horizon*, and when the judge ended it."""
    run = simulate(case.spec, _schedule(case, probe, seed, horizon))
    requests = run.requests
    look = next_look(0.0)
    while look <= horizon:
        now = round(look * NS_PER_S)
        ended = requests.end_ns <= now
        sent = int((requests.sent_ns <= now).sum())
        if ended.any() and isinstance(seen_enough(part(requests, ended), sent, now, probe.load, probe.goal), Ended):
            return run, look
        look = next_look(look)
    return run, None


def _schedule(case: Case, probe: Probe, seed: int, seconds: float) -> Schedule:
    stop = replace(probe.stop, duration_s=seconds)
    if isinstance(probe.load, OpenLoad) and probe.warm is not None:
        return warm_schedule(case.workload, probe.load, stop, seed, probe.warm)
    return make_schedule(case.workload, probe.load, stop, seed)


def given_up(run: Simulation, cut_s: float) -> Simulation:
    """*run*, of which what was still in flight after *cut_s* was cancelled."""
    requests = run.requests
    late = requests.end_ns > cut_s * NS_PER_S
    if not late.any():
        return run
    cut = np.int64(cut_s * NS_PER_S)
    cancelled = np.where(late, OUTCOMES.index("cancelled"), requests.outcome).astype(np.int8)
    changed = dataclasses.replace(requests, end_ns=np.minimum(requests.end_ns, cut), outcome=cancelled)
    return dataclasses.replace(run, requests=changed)


def part(requests: Requests, chosen: NDArray[np.bool_]) -> Requests:
    """Some of *requests*, without the times of their single tokens."""
    nothing = np.zeros(0, dtype=np.int64)
    none = np.zeros(int(chosen.sum()) + 1, dtype=np.int64)
    kept: dict[str, Any] = {}
    for field in fields(Requests):
        value = getattr(requests, field.name)
        kept[field.name] = value[chosen] if value is not None and len(value) == len(requests) else value
    kept |= {"gaps_ns": nothing, "gap_offsets": none, "chunk_tokens": nothing, "chunk_offsets": none}
    return Requests(**kept)


def summary(case: Case, load: ClosedLoad | OpenLoad, run: Simulation, number: int) -> Point:
    """The point of a simulated load."""
    window = choose_window(run.requests, load, case.workload.arrival)
    facts = PointFacts(
        point_id=f"p{number:03d}", run_id="virtual", load=load, window=window, provenance=PROVENANCE,
        accelerators_total=case.spec.config.accelerators_total, targets=case.targets,
        elapsed_s=float(run.requests.end_ns.max()) / NS_PER_S,
        server=run.statistics(window.start_ns, window.end_ns), workload=case.workload,
        step=Limits.of(case.spec.config),
    )  # fmt: skip
    return summarise(run.requests, facts)
