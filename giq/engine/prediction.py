"""Predicted load points and curves, with intervals that hold the doubt in the step times."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

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
from giq.engine.uncertainty import Variant, widened
from giq.workload.schedule import Schedule, make_schedule
from giq.workload.trace import Trace
from giq.workload.workload import ClosedLoad, Load, OpenLoad, Stop, Workload

FRACTIONS = (0.1, 0.3, 0.5, 0.65, 0.8, 0.9, 0.97, 1.1, 2.0)
"""Open-loop rates of a curve, as shares of what the engine completes when it always has work.

The last is so far beyond that even an engine faster by the whole interval of its step times saturates there.
"""

MEASURED = 400
"""Requests in the window of a predicted point, at least: p90 rests on the 40 slowest of them."""

LARGEST_REFUSED = 0.01
"""A curve is refused when more than this share of the workload's requests exceed the served context."""

_SETTLING = 2.5  # warm-up is that many times the number in flight, in requests


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
    if stop is None:
        in_flight = load.concurrency if isinstance(load, ClosedLoad) else _plateau(question).running_mean
        stop = Stop(requests=_requests(question, in_flight))
    return _point(question, load, stop)


def predict_curve(
    spec: EngineSpec, workload: Workload, targets: Sequence[Target] = (), seed: int = 0, trace: Trace | None = None
) -> Curve:
    """The saturation curve of *spec* under *workload*: one request at a time, then open loop at FRACTIONS.

    Raises:
        DoesNotFitError: more than 1 % of the workload's requests are longer than the context that is served.
    """
    question = _Question(spec, workload, tuple(targets), seed, trace)
    _refuse_too_long(question)
    plateau = _plateau(question)
    points = [_point(question, ClosedLoad(concurrency=1), Stop(requests=question.measured + 20))]
    for fraction in FRACTIONS:
        load = OpenLoad(rate_rps=float(f"{fraction * plateau.rate_rps:.3g}"))
        count = _requests(question, plateau.running_mean * min(fraction, 1.0))
        points.append(_point(question, load, Stop(requests=count)))
    return Curve(spec.config, workload, tuple(points))


@dataclass(frozen=True)
class _Plateau:
    """What the engine does when it always has work: requests completed a second, and how many run at once."""

    rate_rps: float
    running_mean: float


def _plateau(question: _Question) -> _Plateau:
    """Found in a closed loop of as many requests as the engine ever runs, after each slot was used once."""
    slots = min(question.spec.max_num_seqs, _most_running(question)) + 8
    run = simulate(
        question.spec, question.schedule(ClosedLoad(concurrency=slots), Stop(requests=2 * slots + MEASURED))
    )
    ends = np.sort(run.requests.end_ns[run.requests.ok])
    if len(ends) < 2:
        raise _too_long(question, 1.0)
    first, last = int(ends[min(slots, len(ends) // 2)]), int(run.requests.sent_ns.max())
    last = max(last, first + 1)
    completed = np.count_nonzero((ends > first) & (ends <= last))
    if not completed:
        first, last, completed = 0, int(ends[-1]), len(ends)
    statistics = run.statistics(first, last)
    return _Plateau(completed / (last - first) * 1e9, statistics.running_mean or 1.0)


def _most_running(question: _Question) -> int:
    """About how many sequences the KV cache holds at once, with half of their output given."""
    schedule = question.schedule(ClosedLoad(concurrency=1), Stop(requests=256))
    context = schedule.input_tokens + schedule.output_tokens / 2
    layout = question.spec.layout
    blocks = float(np.mean([layout.blocks(int(tokens)) for tokens in context]))
    return int(question.spec.memory.kv_blocks / max(blocks, 1.0)) + 1


def _requests(question: _Question, in_flight: float) -> int:
    return round(1.1 * question.measured + _SETTLING * in_flight)


def _point(question: _Question, load: Load, stop: Stop) -> Point:
    schedule = question.schedule(load, stop)
    point = _summary(question, load, stop, simulate(question.spec, schedule))
    variants = [
        Variant.of(simulate(question.spec.shifted(deviations), schedule), load) for deviations in (Z90, -Z90)
    ]
    return widened(point, variants)


def _summary(question: _Question, load: Load, stop: Stop, run: Simulation) -> Point:
    spec, workload = question.spec, question.workload
    window = choose_window(run.requests, load)
    facts = PointFacts(
        point_id=content_id([spec.config.config_id, workload.workload_id, load, stop, question.seed]),
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


def _refuse_too_long(question: _Question) -> None:
    schedule = question.schedule(ClosedLoad(concurrency=1), Stop(requests=MEASURED))
    longest = schedule.input_tokens + schedule.output_tokens
    share = float(np.mean(longest > question.spec.max_model_len))
    if share > LARGEST_REFUSED:
        raise _too_long(question, share)


def _too_long(question: _Question, share: float) -> DoesNotFitError:
    spec = question.spec
    return DoesNotFitError(
        f"{share:.0%} of the workload's requests are longer than the {spec.max_model_len:,} tokens of context that "
        f"{spec.config.accelerators_total} x {spec.accelerator.name} serves of {spec.model.name}: "
        f"{spec.memory.arithmetic()}; the model itself takes {spec.model.max_context:,}",
        hint="Choose a workload with shorter requests, or a configuration with more memory.",
    )
