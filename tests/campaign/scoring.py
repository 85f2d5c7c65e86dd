"""How well the simulated engine predicts measured points: calibrated on a few of a configuration, judged on the rest.

The rule by which the few are chosen: of a configuration's valid points, over all its workloads, the function `spread`
of giq.engine.design takes four by requests in flight and mean lengths alone: the smallest load with the shortest
lengths, then each time the one farthest from those taken. All others are judged: the engine serves the very requests
that were sent (lengths, and in open loop the times they fell due), so that chance is no part of the error. Latencies
are compared over the requests of the measured window, output tokens/s over the whole load.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from giq.catalog import Catalog
from giq.curve.curve import Curve
from giq.curve.latencies import latencies
from giq.curve.point import Point
from giq.curve.requests import Requests
from giq.curve.window import choose_window
from giq.engine.calibrating import Calibrated, calibrate, identity, observations_of
from giq.engine.calibration import Z90, interval_with
from giq.engine.design import spread
from giq.engine.observation import Observation
from giq.engine.simulation import simulate
from giq.engine.spec import EngineSpec
from giq.errors import DataError, UsageError
from giq.store.run import Run
from giq.units import NS_PER_S
from giq.workload.schedule import Schedule
from giq.workload.workload import ClosedLoad, Load

Mask = NDArray[np.bool_]

FITTED = 4
"""Points of a configuration that its calibration may see, at most."""

THROUGHPUT = "output tokens/s"
FIGURES = (THROUGHPUT, "TPOT mean", "TTFT mean", "TTFT p90")


@dataclass(frozen=True)
class Figure:
    """One figure of a point, measured and predicted; `lo` and `hi` bound the prediction (None: it has no interval)."""

    name: str
    measured: float
    predicted: float
    lo: float | None = None
    hi: float | None = None

    @property
    def error(self) -> float:
        """Predicted / measured - 1."""
        return self.predicted / self.measured - 1

    @property
    def covered(self) -> bool | None:
        """Whether the 90 % interval holds what was measured; None without one."""
        return None if self.lo is None or self.hi is None else self.lo <= self.measured <= self.hi


@dataclass(frozen=True)
class JudgedPoint:
    """One point that the calibration did not see."""

    workload: str
    load: str
    in_flight: float
    figures: tuple[Figure, ...]


@dataclass(frozen=True)
class ConfigurationScore:
    """One configuration: on which points its calibration rests, and the others; `reason` where it was not judged."""

    title: str
    fitted_on: tuple[str, ...]
    judged: tuple[JudgedPoint, ...]
    reason: str = ""

    def errors(self, name: str) -> list[float]:
        """The errors of one figure over the judged points."""
        return [figure.error for point in self.judged for figure in point.figures if figure.name == name]

    def median_error(self, name: str) -> float:
        """The median of the absolute errors; NaN without any."""
        found = self.errors(name)
        return float(np.median(np.abs(found))) if found else float("nan")

    @property
    def coverage(self) -> tuple[int, int]:
        """How many of how many intervals hold what was measured."""
        told = [figure.covered for point in self.judged for figure in point.figures if figure.covered is not None]
        return sum(told), len(told)


@dataclass(frozen=True)
class Seen:
    """A valid point with its records and what the engine needs to be asked the same."""

    curve: Curve
    point: Point
    observation: Observation
    requests: Requests

    @property
    def place(self) -> tuple[float, float, float]:
        """Where it lies: requests in flight and mean lengths."""
        work = self.curve.workload
        return self.observation.in_flight, work.input_tokens.mean, work.output_tokens.mean

    @property
    def workload(self) -> str:
        """What was asked, for people."""
        work = self.curve.workload
        return work.use_case or f"{work.input_tokens.mean:g} in, {work.output_tokens.mean:g} out"

    @classmethod
    def of(cls, curve: Curve, point: Point, requests: Requests) -> Seen | None:
        """That point of *curve*; None where there is nothing to compare: it is not valid, or has no TTFT or TPOT."""
        try:
            (observation,) = observations_of([Curve(curve.config, curve.workload, (point,))])
        except DataError:
            return None
        return cls(curve, point, observation, requests)


def seen_points(runs: Iterable[Run]) -> Iterator[Seen]:
    """The valid measured points of *runs* whose records are there."""
    for run in runs:
        points, recorded = run.points(), set(run.point_ids())
        curve = Curve(run.manifest.config, run.manifest.workload, tuple(points))
        for point in points:
            found = Seen.of(curve, point, run.requests(point.point_id)) if point.point_id in recorded else None
            if found is not None:
                yield found


def score(seen: Iterable[Seen], catalog: Catalog, count: int = FITTED) -> list[ConfigurationScore]:
    """Each configuration judged, in the order they come in."""
    groups: dict[tuple[object, ...], list[Seen]] = defaultdict(list)
    for one in seen:
        main = one.curve.config.main
        groups[(*identity(main), main.server_version)].append(one)
    return [_scored(members, catalog, count) for members in groups.values()]


def _scored(members: Sequence[Seen], catalog: Catalog, count: int) -> ConfigurationScore:
    main = members[0].curve.config.main
    title = f"{main.model} {main.precision} on {main.tp} x {main.accelerator}, {main.server} {main.server_version}"
    if len(members) <= count:
        reason = f"{len(members)} valid points, no more than the {count} to calibrate on"
        return ConfigurationScore(title, (), (), reason)
    chosen = set(spread([seen.place for seen in members], count))
    fitted = [members[index] for index in sorted(chosen)]
    try:
        made = calibrate([seen.observation for seen in fitted], catalog, "measured", "a campaign")
        judged = [_judged(seen, made, catalog) for index, seen in enumerate(members) if index not in chosen]
    except UsageError as error:
        return ConfigurationScore(title, (), (), str(error).splitlines()[0])
    names = tuple(f"{seen.workload}, {seen.observation.load}" for seen in fitted)
    return ConfigurationScore(title, names, tuple(judged))


def _judged(seen: Seen, made: Calibrated, catalog: Catalog) -> JudgedPoint:
    in_flight, prompt, output = seen.place
    calibration = made.record.calibration.at(in_flight, prompt, output)
    spec = replace(EngineSpec.of(seen.curve.config, catalog, calibration), calibration=calibration)
    window = choose_window(seen.requests, seen.observation.load, seen.curve.workload.arrival)
    answered = seen.requests.ok
    chosen = window.holds(window.times(seen.requests)) & answered
    schedule = replayed(seen.requests, seen.observation.load)
    runs = [simulate(spec.shifted(deviations), schedule).requests for deviations in (0.0, Z90, -Z90)]
    measured = _values(seen.requests, answered, chosen)
    figures = []
    for name, (value, *others) in zip(
        FIGURES, zip(*(_values(run, answered, chosen) for run in runs), strict=True), strict=True
    ):
        low, high = min(value, *others), max(value, *others)
        if name.startswith("TTFT"):
            low, high = interval_with((low, value, high), calibration.ttft_sigma)
        figures.append(Figure(name, measured[FIGURES.index(name)], value, low, high))
    load = str(seen.observation.load)
    return JudgedPoint(seen.workload, load, seen.point.in_flight_mean, tuple(figures))


def replayed(requests: Requests, load: Load) -> Schedule:
    """The schedule by which *requests* were sent: their lengths and, in open loop, the times they fell due."""
    due = requests.scheduled_ns - requests.scheduled_ns.min()
    return Schedule(
        load=load,
        seed=0,
        arrival_ns=None if isinstance(load, ClosedLoad) else due,
        input_tokens=np.asarray(requests.requested_input_tokens, dtype=np.int32),
        output_tokens=np.asarray(requests.requested_output_tokens, dtype=np.int32),
        duration_ns=None,
    )


def _values(requests: Requests, answered: Mask, chosen: Mask) -> tuple[float, ...]:
    """The FIGURES of a load: latencies over the *chosen* requests, throughput over all that the server *answered*."""
    seconds = (requests.end_ns[answered].max() - requests.sent_ns[answered].min()) / NS_PER_S
    of_requests = latencies(requests)
    ttft, tpot = of_requests.ttft[chosen], of_requests.tpot[chosen]
    return (
        float(requests.output_tokens[answered].sum() / seconds),
        float(np.nanmean(tpot)),
        float(np.nanmean(ttft)),
        float(np.nanquantile(ttft, 0.9)),
    )
