"""Predicted load points and curves, with intervals that hold the doubt in the step times."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import pairwise

import numpy as np

from giq import __version__, documents
from giq.curve.curve import Curve
from giq.curve.point import Point, Provenance
from giq.curve.realised import mean_lengths
from giq.curve.summary import PointFacts, not_steady, summarise
from giq.curve.targets import Target, requests_needed
from giq.documents import content_id
from giq.engine.calibration import Z90
from giq.engine.engine_id import engine_id
from giq.engine.even_draws import even
from giq.engine.memory import DoesNotFitError
from giq.engine.settled_load import Draws, Served
from giq.engine.simulation import Simulation
from giq.engine.slower_clock import OwnCurve, clocks
from giq.engine.spec import EngineSpec
from giq.engine.steady_state import SteadyState
from giq.engine.uncertainty import Variant, no_faster, widened
from giq.engine.work_rate import with_work
from giq.workload.schedule import make_schedule
from giq.workload.trace import Trace
from giq.workload.workload import ClosedLoad, Load, OpenLoad, Stop, Workload

FRACTIONS = (0.1, 0.3, 0.5, 0.65, 0.8, 0.9, 0.97)
"""Open-loop rates of a curve, as shares of what the engine completes when it always has work."""

OVERLOAD = 2.0
"""The highest rate, as a share of what is expected to be the most: so far beyond that even an engine faster by the
whole interval of its step times saturates there."""

MEASURED = 400
"""Requests in the window of a predicted point, about: p90 rests on the 40 slowest of them."""

ON_A_CURVE, WHILE_IDLE = 500, 200
"""The same of each point of a curve, whose draws are even; the fewer at loads that hardly queue."""

HARDLY_QUEUES = 0.4
"""The share of what the engine completes below which that is so."""

MOST_BETWEEN, LARGEST_JUMP, FAR_FROM_QUEUES = 2, 1.5, 0.5
"""Loads that are added at most between two at which mean TPOT differs by more than that factor, up to that share."""

SAMPLE = 4096
"""Requests that the workload's lengths are known from."""

LARGEST_REFUSED = 0.01
"""A curve is refused when more than this share of the workload's requests exceed the served context."""

_CLOSED_TURNS = 2.5  # requests for each slot of a closed loop, beside those measured


@dataclass(frozen=True)
class _Question:
    """What is predicted, apart from the load. `asked` tells of each point's id which load that is, and its requests."""

    spec: EngineSpec
    workload: Workload
    targets: tuple[Target, ...]
    seed: int
    trace: Trace | None
    asked: dict[str, tuple[Load, int]] = field(default_factory=dict)

    @cached_property
    def draws(self) -> Draws:
        """What is sent."""
        alone, stop = ClosedLoad(concurrency=1), Stop(requests=SAMPLE)
        lengths = make_schedule(self.workload, alone, stop, self.seed, self.trace)
        return Draws(self.workload, self.seed, self.trace, lengths)

    @cached_property
    def state(self) -> SteadyState:
        """Where the engine settles."""
        return SteadyState.of(self.spec, self.draws.lengths)

    def running(self, load: Load) -> int:
        """About how many requests run under *load*."""
        return load.concurrency if isinstance(load, ClosedLoad) else self.state.running(load.rate_rps)

    def under(self, load: Load) -> EngineSpec:
        """The engine with the doubt that its calibration has under *load*."""
        spec, work = self.spec, self.workload
        if spec.calibration.reach is None:
            return spec
        there = spec.calibration.at(self.running(load), work.input_tokens.mean, work.output_tokens.mean)
        return replace(spec, calibration=there)

    def window(self, wanted: int) -> int:
        """*wanted* requests, or as many as the targets' percentiles need."""
        return max(wanted, requests_needed(self.targets) * 11 // 10)

    @cached_property
    def ids(self) -> tuple[str, str]:
        """What tells the curve from others."""
        return self.spec.config.config_id, self.workload.workload_id

    def point_id(self, load: Load, number: int) -> str:
        """The id of a point of that many requests."""
        found = content_id([*self.ids, load, number, self.seed])
        self.asked[found] = load, number
        return found

    def named(self, points: Sequence[Point], spec: EngineSpec) -> tuple[Point, ...]:
        """The *points* of this engine as those of *spec*, which is the same engine by another name."""
        other = replace(self, spec=spec)
        ids = (other.point_id(*self.asked[point.point_id]) for point in points)
        return tuple(documents.replace(point, point_id=one) for point, one in zip(points, ids, strict=True))

    @cached_property
    def engine_id(self) -> str:
        """That of the engine, whatever its load."""
        return engine_id(self.spec)

    @property
    def keeps_time(self) -> bool:
        """Whether all times are the engine's: those of people, and of links between pools, do not change with it."""
        return self.workload.conversation is None and self.spec.decode_pool is None


@dataclass(frozen=True)
class _Simulated:
    """A load that was simulated: what was served and how, to be summarised where it is of use."""

    question: _Question
    load: Load
    served: Served
    run: Simulation

    @classmethod
    def of(cls, question: _Question, load: Load, served: Served) -> _Simulated:
        """The engine serves it."""
        return cls(question, load, served, served.by(question.spec))

    @classmethod
    def settled(cls, question: _Question, load: OpenLoad, wanted: int) -> _Simulated:
        """About *wanted* requests by an engine that has been under this load for long: begun where it would settle."""
        return cls.of(question, load, question.draws.settled(question.spec, load, wanted))

    @cached_property
    def facts(self) -> PointFacts:
        """What is known of its point without a look at the server."""
        question, spec = self.question, self.question.spec
        return PointFacts(
            point_id=question.point_id(self.load, len(self.served.schedule)),
            run_id=None,
            load=self.load,
            window=self.served.looked_at(self.run, question.workload),
            provenance=Provenance(
                evidence="estimated",
                hardware_source="simulated",
                source="giq simulated engine",
                calibration_id=spec.calibration.calibration_id,
                giq_version=__version__,
                engine_id=question.engine_id,
            ),
            accelerators_total=spec.config.accelerators_total,
            elapsed_s=0.0,  # no accelerator ran
            targets=question.targets,
        )

    @property
    def steady(self) -> bool:
        """Whether it keeps up."""
        return not not_steady(self.run.requests, self.facts)

    def point(self) -> Point:
        """Its summary, with the intervals of sampling alone."""
        window = self.facts.window
        server = self.run.statistics(window.start_ns, window.end_ns)
        return summarise(self.run.requests, replace(self.facts, server=server))

    def reaching(self, served: Sequence[Served]) -> Point:
        """The same with intervals that hold what a slower and a faster engine make of what they *served*."""
        spec, workload = self.question.under(self.load), self.question.workload
        shifted = (spec.shifted(Z90), spec.shifted(-Z90))
        runs = [(ours, ours.by(variant)) for variant, ours in zip(shifted, served, strict=True)]
        others = [Variant.of(run, self.load, ours.looked_at(run, workload)) for ours, run in runs]
        return widened(self.point(), others, spec.calibration.ttft_sigma)


def predict_point(
    spec: EngineSpec,
    workload: Workload,
    load: Load,
    seed: int,
    targets: Sequence[Target] = (),
    stop: Stop | None = None,
    trace: Trace | None = None,
) -> Point:
    """What *load* would do to *spec*, simulated; without *stop* with enough requests for a p90.

    Every latency has a 90 % interval: from the simulation's own sampling, and from simulating the same requests with
    step times slower and faster by 1.645 standard deviations of the calibration's error. The same arguments
    give the same point.
    """
    question = _Question(spec, workload, tuple(targets), seed, trace)
    if stop is None and isinstance(load, OpenLoad):
        wanted = question.window(MEASURED)
        return _doubted_point(_Simulated.settled(question, load, wanted), load, wanted)
    if stop is None:
        stop = Stop(requests=round(1.1 * question.window(MEASURED) + _CLOSED_TURNS * _slots(load)))
    served = Served(question.draws.schedule(load, stop))
    return _Simulated.of(question, load, served).reaching([served] * 2)


def predict_curve(
    spec: EngineSpec, workload: Workload, targets: Sequence[Target] = (), seed: int = 0, trace: Trace | None = None
) -> Curve:
    """The saturation curve of *spec* under *workload*: one request at a time, then open loop at FRACTIONS.

    The intervals are made as those of `predict_point`, but what slower and faster engines do is read off the curve
    itself (`giq.engine.slower_clock`) where every time is the engine's. None reaches below that of an idle engine.

    Raises:
        DoesNotFitError: more than 1 % of the workload's requests are longer than the context that is served.
    """
    return predict_curves([spec], workload, targets, seed, trace)[0]


def predict_curves(
    specs: Sequence[EngineSpec],
    workload: Workload,
    targets: Sequence[Target] = (),
    seed: int = 0,
    trace: Trace | None = None,
) -> list[Curve]:
    """The curve (as `predict_curve`) of each of *specs*, which are one engine by several names: of one `engine_id`."""
    question = _Question(specs[0], workload, tuple(targets), seed, trace)
    _refuse_too_long(question)
    points = _points(question)
    return [Curve(spec.config, workload, question.named(points, spec)) for spec in specs]


def _points(question: _Question) -> list[Point]:
    """Those of the curve, in the order in which they are shown."""
    overload = _overload(question)
    steady = [_steady_point(question, fraction, overload) for fraction in FRACTIONS]
    points = [_alone(question, ClosedLoad(concurrency=1)), *filter(None, steady), overload]
    for _ in range(MOST_BETWEEN):
        fraction = steepest(points, _completed(overload))
        if fraction is not None and (between := _steady_point(question, fraction, overload)) is not None:
            points.append(between)
    if question.keeps_time:
        points = _doubted(question, points)
    return [no_faster(point, points[0]) for point in points]


def steepest(points: Sequence[Point], highest_rps: float) -> float | None:
    """The load, as a share of *highest_rps*, to be simulated between two of *points*; None where none is needed.

    Where a mixture of experts begins to touch many of them, latency jumps within a load that is far from any queue.
    """
    opened = ((point.offered_rps / highest_rps, point) for point in points if point.offered_rps is not None)
    found = sorted(opened, key=lambda pair: pair[0])
    pairs = [
        (upper.tpot.mean.value / lower.tpot.mean.value, math.sqrt(low * high))
        for (low, lower), (high, upper) in pairwise(found)
        if high <= FAR_FROM_QUEUES and lower.tpot.mean is not None and upper.tpot.mean is not None
    ]
    return next((between for jump, between in sorted(pairs, reverse=True) if jump > LARGEST_JUMP), None)


def _overload(question: _Question) -> Point:
    """The point of more load than the engine completes."""
    load = _rate(OVERLOAD * question.state.highest_rps)
    wanted = question.window(ON_A_CURVE)
    found = _open_point(_Simulated.settled(question, load, wanted), load, wanted)
    lengths = mean_lengths(question.workload)
    if lengths is None or not question.keeps_time:
        return found
    return with_work(found, question.state, lengths)


def _completed(overload: Point) -> float:
    """Requests a second that an engine with too much to do completes, at the mean lengths of the workload."""
    return overload.achieved_rps if overload.work_rps is None else overload.work_rps.value


def _alone(question: _Question, load: ClosedLoad) -> Point:
    draws = question.draws
    stop = Stop(requests=round(1.1 * question.window(WHILE_IDLE) + _CLOSED_TURNS))
    served = Served(even(draws.schedule(load, stop), draws.lengths))
    found = _Simulated.of(question, load, served)
    return found.point() if question.keeps_time else found.reaching([served] * 2)


def _doubted(question: _Question, points: Sequence[Point]) -> list[Point]:
    """*points* with intervals that reach over what they would be by a slower and a faster clock."""
    own, found = OwnCurve(points), []
    for point in points:
        load: Load = ClosedLoad(concurrency=1) if point.offered_rps is None else _rate(point.offered_rps)
        spec = question.under(load)
        others = [own.by(clock, point) for clock in clocks(spec, question.state, question.running(load))]
        found.append(widened(point, others, spec.calibration.ttft_sigma))
    return found


def _steady_point(question: _Question, fraction: float, overload: Point) -> Point | None:
    """The point at a *fraction* of what the engine completes in *overload*; None where chance makes it seem too much.

    Such a load is tried once more with twice the requests. What still seems to grow then says nothing of a long run.
    """
    load = _rate(fraction * _completed(overload))
    wanted = question.window(WHILE_IDLE if fraction < HARDLY_QUEUES else ON_A_CURVE)
    for number in (wanted, 2 * wanted):
        found = _Simulated.settled(question, load, number)
        if found.steady:
            return _open_point(found, load, number)
    return None


def _rate(rate_rps: float) -> OpenLoad:
    """A rate with three significant digits."""
    return OpenLoad(rate_rps=float(f"{rate_rps:.3g}"))


def _slots(load: Load) -> int:
    return load.concurrency if isinstance(load, ClosedLoad) else 0


def _open_point(found: _Simulated, load: OpenLoad, wanted: int) -> Point:
    """The point of a curve: with the intervals of sampling alone where the curve tells what other engines do."""
    return found.point() if found.question.keeps_time else _doubted_point(found, load, wanted)


def _doubted_point(found: _Simulated, load: OpenLoad, wanted: int) -> Point:
    """The point widened by simulating slower and faster engines, which get half of the requests: they are bounds."""
    question, spec = found.question, found.question.under(load)
    return found.reaching([question.draws.settled(spec.shifted(z), load, wanted // 2) for z in (Z90, -Z90)])


def _refuse_too_long(question: _Question) -> None:
    spec, lengths = question.spec, question.draws.lengths
    share = float(np.mean(lengths.input_tokens + lengths.output_tokens > spec.max_model_len))
    if share <= LARGEST_REFUSED:
        return
    raise DoesNotFitError(
        f"{share:.0%} of the workload's requests are longer than the {spec.max_model_len:,} tokens of context that "
        f"{spec.config.accelerators_total} x {spec.accelerator.name} serves of {spec.model.name}: "
        f"{spec.memory.arithmetic()}; the model itself takes {spec.model.max_context:,}",
        hint="Choose a workload with shorter requests, or a configuration with more memory.",
    )
