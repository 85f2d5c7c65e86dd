"""Predicted load points and curves, with intervals that hold the doubt in the step times."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import pairwise

import numpy as np

from giq import __version__
from giq.curve.curve import Curve
from giq.curve.point import Point, Provenance
from giq.curve.realised import mean_lengths
from giq.curve.summary import PointFacts, summarise
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
from giq.engine.uncertainty import Variant, widened
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
    """What is predicted, apart from the load."""

    spec: EngineSpec
    workload: Workload
    targets: tuple[Target, ...]
    seed: int
    trace: Trace | None

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

    @cached_property
    def engine_id(self) -> str:
        """That of the engine, whatever its load."""
        return engine_id(self.spec)

    @property
    def keeps_time(self) -> bool:
        """Whether all times are the engine's: those of people, and of links between pools, do not change with it."""
        return self.workload.conversation is None and self.spec.decode_pool is None


_Made = Callable[["_Question", OpenLoad, int], Point]


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
        return _doubted_point(question, load, question.window(MEASURED))
    if stop is None:
        stop = Stop(requests=round(1.1 * question.window(MEASURED) + _CLOSED_TURNS * _slots(load)))
    return _by_variants(question, load, [Served(question.draws.schedule(load, stop))] * 3)


def predict_curve(
    spec: EngineSpec, workload: Workload, targets: Sequence[Target] = (), seed: int = 0, trace: Trace | None = None
) -> Curve:
    """The saturation curve of *spec* under *workload*: one request at a time, then open loop at FRACTIONS.

    The intervals are made as those of `predict_point`, but what slower and faster engines do is read off the curve
    itself (`giq.engine.slower_clock`) where every time is the engine's.

    Raises:
        DoesNotFitError: more than 1 % of the workload's requests are longer than the context that is served.
    """
    question = _Question(spec, workload, tuple(targets), seed, trace)
    _refuse_too_long(question)
    made = _settled_point if question.keeps_time else _doubted_point
    overload = _overload(question, made)
    steady = [_steady_point(question, fraction, overload, made) for fraction in FRACTIONS]
    points = [_alone(question, ClosedLoad(concurrency=1)), *filter(None, steady), overload]
    for _ in range(MOST_BETWEEN):
        fraction = steepest(points, _completed(overload))
        if fraction is not None and (between := _steady_point(question, fraction, overload, made)) is not None:
            points.append(between)
    if question.keeps_time:
        points = _doubted(question, points)
    return Curve(spec.config, workload, tuple(points))


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


def _overload(question: _Question, made: _Made) -> Point:
    """The point of more load than the engine completes."""
    load = _rate(OVERLOAD * question.state.highest_rps)
    found = made(question, load, question.window(ON_A_CURVE))
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
    if question.keeps_time:
        return _summary(question, load, served, served.by(question.spec))
    return _by_variants(question, load, [served] * 3)


def _doubted(question: _Question, points: Sequence[Point]) -> list[Point]:
    """*points* with intervals that reach over what they would be by a slower and a faster clock."""
    own, found = OwnCurve(points), []
    for point in points:
        load: Load = ClosedLoad(concurrency=1) if point.offered_rps is None else _rate(point.offered_rps)
        spec = question.under(load)
        others = [own.by(clock, point) for clock in clocks(spec, question.state, question.running(load))]
        found.append(widened(point, others, spec.calibration.ttft_sigma))
    return found


def _steady_point(question: _Question, fraction: float, overload: Point, made: _Made) -> Point | None:
    """The point at a *fraction* of what the engine completes in *overload*; None where chance makes it seem too much.

    Such a load is tried once more with twice the requests. What still seems to grow then says nothing of a long run.
    """
    load = _rate(fraction * _completed(overload))
    wanted = question.window(WHILE_IDLE if fraction < HARDLY_QUEUES else ON_A_CURVE)
    found = (made(question, load, times * wanted) for times in (1, 2))
    return next((point for point in found if "NOT_STEADY" not in point.flags), None)


def _rate(rate_rps: float) -> OpenLoad:
    """A rate with three significant digits."""
    return OpenLoad(rate_rps=float(f"{rate_rps:.3g}"))


def _slots(load: Load) -> int:
    return load.concurrency if isinstance(load, ClosedLoad) else 0


def _settled_point(question: _Question, load: OpenLoad, wanted: int) -> Point:
    """An open-loop point of an engine that has been under this load for long: it begins where it would settle.

    Its intervals are those of sampling alone.
    """
    served = question.draws.settled(question.spec, load, wanted)
    return _summary(question, load, served, served.by(question.spec))


def _doubted_point(question: _Question, load: OpenLoad, wanted: int) -> Point:
    """The same, widened by simulating slower and faster engines, which get half of the requests: they are bounds."""
    spec, half = question.under(load), wanted // 2
    variants = [(spec, wanted), (spec.shifted(Z90), half), (spec.shifted(-Z90), half)]
    return _by_variants(question, load, [question.draws.settled(one, load, number) for one, number in variants])


def _by_variants(question: _Question, load: Load, served: Sequence[Served]) -> Point:
    """The point of the engine, what it and its slower and faster variants serve given in that order."""
    spec, workload = question.under(load), question.workload
    point = _summary(question, load, served[0], served[0].by(spec))
    shifted = (spec.shifted(Z90), spec.shifted(-Z90))
    runs = [(ours, ours.by(variant)) for variant, ours in zip(shifted, served[1:], strict=True)]
    others = [Variant.of(run, load, ours.looked_at(run, workload)) for ours, run in runs]
    return widened(point, others, spec.calibration.ttft_sigma)


def _summary(question: _Question, load: Load, served: Served, run: Simulation) -> Point:
    spec, workload = question.spec, question.workload
    window = served.looked_at(run, workload)
    number = len(served.schedule)
    facts = PointFacts(
        point_id=content_id([*question.ids, load, number, question.seed]),
        run_id=None,
        load=load,
        window=window,
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
        server=run.statistics(window.start_ns, window.end_ns),
    )
    return summarise(run.requests, facts)


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
