"""Predicted load points and curves, with intervals that hold the doubt in the step times."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from giq import __version__
from giq.curve.curve import Curve
from giq.curve.point import Point, Provenance
from giq.curve.summary import PointFacts, summarise
from giq.curve.targets import Target, requests_needed
from giq.curve.window import choose_window
from giq.documents import content_id
from giq.engine.calibration import Z90
from giq.engine.memory import DoesNotFitError
from giq.engine.simulation import Simulation, simulate
from giq.engine.spec import EngineSpec
from giq.engine.steady_state import SteadyState
from giq.engine.uncertainty import Variant, widened
from giq.workload.schedule import Schedule, make_schedule
from giq.workload.sessions import settling_s
from giq.workload.trace import Trace
from giq.workload.warm_start import begun
from giq.workload.workload import ClosedLoad, Load, OpenLoad, Stop, Workload

FRACTIONS = (0.1, 0.3, 0.5, 0.65, 0.8, 0.9, 0.97, 1.1)
"""Open-loop rates of a curve, as shares of what the engine completes when it always has work."""

OVERLOAD = 2.0
"""The highest rate, as a share of what is expected to be the most: so far beyond that even an engine faster by the
whole interval of its step times saturates there."""

MEASURED = 400
"""Requests in the window of a predicted point, about: p90 rests on the 40 slowest of them."""

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

    def schedule(self, load: Load, stop: Stop) -> Schedule:
        return make_schedule(self.workload, load, stop, self.seed, self.trace)

    def lengths(self) -> Schedule:
        """A sample of the workload's lengths."""
        return self.schedule(ClosedLoad(concurrency=1), Stop(requests=MEASURED))

    def variants(self, load: Load) -> tuple[EngineSpec, EngineSpec, EngineSpec]:
        """The engine as predicted, and slower and faster by half the width of a 90 % interval under *load*."""
        spec, work = self.spec, self.workload
        if spec.calibration.reach is not None:
            running = float(_slots(load))
            if isinstance(load, OpenLoad):
                running = SteadyState.of(spec, self.lengths()).running(load.rate_rps)
            there = spec.calibration.at(running, work.input_tokens.mean, work.output_tokens.mean)
            spec = replace(spec, calibration=there)
        return spec, spec.shifted(Z90), spec.shifted(-Z90)

    @property
    def measured(self) -> int:
        return max(MEASURED, requests_needed(self.targets) * 11 // 10)


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
        return _settled_point(question, load)
    if stop is None:
        stop = Stop(requests=round(1.1 * question.measured + _CLOSED_TURNS * _slots(load)))
    return _point(question, load, [_Served(question.schedule(load, stop), 0)] * 3)


def predict_curve(
    spec: EngineSpec, workload: Workload, targets: Sequence[Target] = (), seed: int = 0, trace: Trace | None = None
) -> Curve:
    """The saturation curve of *spec* under *workload*: one request at a time, then open loop at FRACTIONS.

    Raises:
        DoesNotFitError: more than 1 % of the workload's requests are longer than the context that is served.
    """
    question = _Question(spec, workload, tuple(targets), seed, trace)
    lengths = question.lengths()
    _refuse_too_long(question, lengths)
    highest = SteadyState.of(spec, lengths).highest_rps
    overload = _settled_point(question, _rate(OVERLOAD * highest))
    points = [
        predict_point(spec, workload, ClosedLoad(concurrency=1), seed, targets, trace=trace),
        *(_judged_point(question, _rate(fraction * overload.achieved_rps)) for fraction in FRACTIONS),
        overload,
    ]
    return Curve(spec.config, workload, tuple(points))


def _judged_point(question: _Question, load: OpenLoad) -> Point:
    """The point; from twice the requests where the load seemed too much, which is most often chance."""
    point = _settled_point(question, load)
    return _settled_point(question, load, times=2) if "NOT_STEADY" in point.flags else point


def _rate(rate_rps: float) -> OpenLoad:
    """A rate with three significant digits."""
    return OpenLoad(rate_rps=float(f"{rate_rps:.3g}"))


def _slots(load: Load) -> int:
    return load.concurrency if isinstance(load, ClosedLoad) else 0


def _settled_point(question: _Question, load: OpenLoad, times: int = 1) -> Point:
    """An open-loop point of engines that have been under this load for long: each begins where it would settle.

    The variants, whose values are only bounds, get half of the requests.
    """
    lengths = question.lengths()
    starts = [SteadyState.of(spec, lengths).running(load.rate_rps) for spec in question.variants(load)]
    # the window begins after one median latency (about as many requests as run), at most half-way
    wanted = round(1.1 * question.measured)
    count = (wanted + min(starts[0], wanted)) * times
    settled = math.ceil(load.rate_rps * settling_s(question.workload))
    numbers = [max(number, settled) for number in (count, count // 2, count // 2)]
    schedules = [question.schedule(load, Stop(requests=number)) for number in numbers]
    served = [_Served(begun(schedule, running), running) for schedule, running in zip(schedules, starts, strict=True)]
    return _point(question, load, served)


@dataclass(frozen=True)
class _Served:
    """What one engine serves: a schedule, and how many of its first requests it had begun before."""

    schedule: Schedule
    begun: int

    def by(self, spec: EngineSpec) -> Simulation:
        return simulate(spec, self.schedule, self.begun)


def _point(question: _Question, load: Load, served: Sequence[_Served]) -> Point:
    """The point of the engine, what it and its slower and faster variants serve given in that order."""
    spec, *shifted = question.variants(load)
    point = _summary(question, load, served[0].schedule, served[0].by(spec))
    runs = [ours.by(variant) for variant, ours in zip(shifted, served[1:], strict=True)]
    others = [Variant.of(run, load, question.workload.arrival) for run in runs]
    return widened(point, others, spec.calibration.ttft_sigma)


def _summary(question: _Question, load: Load, schedule: Schedule, run: Simulation) -> Point:
    spec, workload = question.spec, question.workload
    window = choose_window(run.requests, load, workload.arrival)
    facts = PointFacts(
        point_id=content_id([spec.config.config_id, workload.workload_id, load, len(schedule), question.seed]),
        run_id=None,
        load=load,
        window=window,
        provenance=Provenance(
            evidence="estimated",
            hardware_source="simulated",
            source="giq simulated engine",
            calibration_id=spec.calibration.calibration_id,
            giq_version=__version__,
        ),
        accelerators_total=spec.config.accelerators_total,
        elapsed_s=0.0,  # no accelerator ran
        targets=question.targets,
        server=run.statistics(window.start_ns, window.end_ns),
    )
    return summarise(run.requests, facts)


def _refuse_too_long(question: _Question, lengths: Schedule) -> None:
    spec = question.spec
    share = float(np.mean(lengths.input_tokens + lengths.output_tokens > spec.max_model_len))
    if share <= LARGEST_REFUSED:
        return
    raise DoesNotFitError(
        f"{share:.0%} of the workload's requests are longer than the {spec.max_model_len:,} tokens of context that "
        f"{spec.config.accelerators_total} x {spec.accelerator.name} serves of {spec.model.name}: "
        f"{spec.memory.arithmetic()}; the model itself takes {spec.model.max_context:,}",
        hint="Choose a workload with shorter requests, or a configuration with more memory.",
    )
