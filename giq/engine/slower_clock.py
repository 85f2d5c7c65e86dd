"""What a slower or a faster engine would do, read off the curve of the engine itself.

An engine all of whose times are longer by one factor f is the same engine with a slower clock: what it does under a
rate, the other does under f times that rate, f times as fast. So L'(rate) = f L(f rate) for every latency. The
calibration's doubt is such a factor, and the simulated points of one engine are those of all of them. In between
points L is taken to be straight for the slower engine, and 1 / L for the faster: the wider interval of the two. Past
saturation, where waiting grows with what is too much, L is straight for both.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from giq.curve.point import STATISTICS, Distribution, Estimate, Point
from giq.documents import replace
from giq.engine.calibration import Z90
from giq.engine.pace import pace
from giq.engine.spec import EngineSpec
from giq.engine.steady_state import SteadyState
from giq.engine.step_time import Work
from giq.engine.uncertainty import METRICS, Variant

_LEAST_S = 1e-12
_FIRST_TOKEN = ("ttft", "ttft_scheduled")


@dataclass(frozen=True)
class Clock:
    """By which factors times are longer: those of `steps`, and of what a first token waits for in an idle engine."""

    steps: float
    first_token: float


def clocks(spec: EngineSpec, state: SteadyState, running: int) -> tuple[Clock, Clock]:
    """The clocks of *spec* slower and faster by half of its 90 % interval, with so many running.

    All times of a dense model's slower engine are longer by one factor. No share of the hardware's peak exceeds 1, so
    the faster one gains less where much of it is realised already; and experts are in doubt twice, as weights and as
    experts. Then the factor is that of a step of so many.
    """
    return _clock(spec, state, running, Z90), _clock(spec, state, running, -Z90)


def _clock(spec: EngineSpec, state: SteadyState, running: int, deviations: float) -> Clock:
    other = spec.shifted(deviations)
    usual, shifted = state.times, pace(other.decode_pool or other)
    step, prompt = state.step(max(1, running)), Work(round(state.input_mean), 1, 0, 0, round(state.pairs_mean))
    front = spec.calibration.request_s + spec.calibration.prompt_token_s * state.input_mean
    longer = math.exp(deviations * spec.calibration.decode_sigma)
    first = (longer * front + shifted.seconds(prompt)) / (front + usual.seconds(prompt))
    return Clock(shifted.seconds(step) / usual.seconds(step), first)


class OwnCurve:
    """The simulated points of one engine, to be read by other clocks; one request at a time is the rate 0."""

    def __init__(self, points: Sequence[Point]) -> None:
        self._points = sorted(points, key=_rate)
        self._highest_rps = max(point.achieved_rps for point in points)

    def by(self, clock: Clock, point: Point) -> Variant:
        """What the engine with that *clock* would do under the load of *point*."""
        rate = clock.steps * _rate(point)
        longer = {name: clock.first_token if name in _FIRST_TOKEN else clock.steps for name in METRICS}
        found = {name: self._distribution(name, rate, longer[name]) for name in METRICS}
        slope = point.in_flight_slope
        missing = self._highest_rps * (1 - 1 / clock.steps)  # completions a second that a slower engine lacks
        work = point.work_rps
        return Variant(
            found,
            slope=None if slope is None else slope.value + missing,
            work_rps=None if work is None else work.value / clock.steps,
        )

    def _distribution(self, metric: str, rate: float, longer: float) -> Distribution:
        found: dict[str, Estimate | None] = {}
        for statistic in STATISTICS:
            known = [(_rate(point), at.value) for point in self._points if (at := point.metric(metric).at(statistic))]
            if known:
                rates, values = np.array(known).T
                if longer > 1 or rate > self._highest_rps:
                    read = float(np.interp(rate, rates, values))
                else:
                    speed = float(np.interp(rate, rates, 1 / np.maximum(values, _LEAST_S)))
                    read = 1 / speed if speed else math.inf  # what is refused is infinitely late
                found[statistic] = Estimate(value=longer * read)
        return replace(Distribution(), **found)


def _rate(point: Point) -> float:
    return point.offered_rps or 0.0
