"""What arrivals must look like under the law that is named, and how known load generators get it wrong.

Every check works on the times at which requests arrived at a server (s from a point's start). Its bounds leave a
sample of the law itself out about once in a million, and leave room for the milliseconds by which a busy machine
delivers late; the test of these checks shows that both hold.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from itertools import accumulate

import numpy as np
from numpy.typing import NDArray

Times = NDArray[np.float64]

Z = 4.9
"""Standard deviations beyond which a normal value lies once in a million."""

KS = 2.69
"""Beyond KS / sqrt(n) the Kolmogorov-Smirnov distance lies at most twice in a million (Dvoretzky-Kiefer-Wolfowitz)."""

BUSY = 0.08
"""Share of the gaps that a busy machine may spoil."""

GRID_S, WIDTH_S = 1.0, 0.010
"""A generator that works second by second shows in the 10 ms after whole seconds."""

NEAR = 0.05
"""Neighbouring gaps that differ by less than this share of the mean look like one gap sent twice."""


@dataclass(frozen=True)
class Law:
    """A law of gaps with mean 1 in the time of its rate.

    `cdf` is their distribution (None: all are 1), `cv` their coefficient of variation, and `near` the share of
    neighbours that differ by less than NEAR.
    """

    cdf: Callable[[Times], Times] | None
    cv: float
    near: float = 0.0


def _exponential(gaps: Times) -> Times:
    return 1 - np.exp(-gaps)


def _half_gamma(gaps: Times) -> Times:
    """Gamma of shape 1/2 and mean 1: a squared normal."""
    return np.array([math.erf(math.sqrt(max(gap, 0.0) / 2)) for gap in gaps])


CONSTANT = Law(None, 0.0)
POISSON = Law(_exponential, 1.0, 1 - math.exp(-NEAR))
BURSTY = Law(_half_gamma, math.sqrt(2), 0.10)


@dataclass(frozen=True)
class Rate:
    """The rate in requests/s over a point of `span_s`: a straight line from one value to another."""

    first: float
    last: float
    span_s: float

    def due(self, times: Times) -> Times:
        """How many requests have fallen due on average: the time in which every law here has the rate 1."""
        return self.first * times + (self.last - self.first) / (2 * self.span_s) * times**2

    @property
    def expected(self) -> float:
        """Requests in one point."""
        return float(self.due(np.array([self.span_s]))[0])


@dataclass(frozen=True)
class Named:
    """A law in the command line's words, what is checked of it, and how many points of it are looked at together."""

    words: str
    rate: Rate
    law: Law
    points: int


NAMED = (
    Named("constant", Rate(10, 10, 6), CONSTANT, 2),
    Named("poisson", Rate(10, 10, 6), POISSON, 4),
    Named("gamma:0.5", Rate(10, 10, 6), BURSTY, 4),
    Named("ramp:0-20", Rate(0, 20, 6), POISSON, 6),
    Named("ramp:0-20,constant", Rate(0, 20, 6), CONSTANT, 2),
)
"""All laws at a mean rate of 10 requests/s."""


def complaints(points: list[Times], rate: Rate, law: Law) -> list[str]:
    """What contradicts *law* at *rate* in the arrivals of several points; nothing where they follow it."""
    due = [rate.due(np.sort(point)) for point in points]
    gaps = [np.diff(times) for times in due]
    found = [*_count(due, rate, law), *_shape(np.concatenate(due) / rate.expected, law)]
    found += [*_gap_law(np.concatenate(gaps), law), *_dispersion(due, rate, law)]
    if law.cdf is not None:
        found += [*_serial(gaps), *_repeats(gaps, law), *_grid(np.concatenate(points), law)]
    return found


def _count(due: list[Times], rate: Rate, law: Law) -> list[str]:
    number, expected = sum(map(len, due)), rate.expected * len(due)
    spread = Z * law.cv * math.sqrt(expected) + len(due)
    return [f"rate: {number} arrivals, {expected:.0f} expected"] if abs(number - expected) > spread else []


def _shape(shares: Times, law: Law) -> list[str]:
    """Whether the rate holds, or rises as it should: then arrivals are even in the time of the rate."""
    distance = _distance(np.sort(shares))
    limit = 0.05 if law.cdf is None else KS / math.sqrt(len(shares)) * max(1.0, law.cv)
    return [f"shape: {distance:.2f} from the rate's"] if distance > limit else []


def _distance(share: Times) -> float:
    """Kolmogorov and Smirnov's distance: from *share*, ascending, to being even between 0 and 1."""
    steps = np.arange(len(share) + 1) / len(share)
    return float(max(np.abs(share - steps[1:]).max(), np.abs(share - steps[:-1]).max()))


def _gap_law(gaps: Times, law: Law) -> list[str]:
    ordered = np.sort(gaps)
    if law.cdf is None:
        even = float(np.mean(np.abs(gaps - 1) < 0.5))
        return [f"gaps: only {even:.0%} are even"] if even < 1 - 2 * BUSY else []
    distance = _distance(law.cdf(ordered))
    limit = KS / math.sqrt(len(gaps)) + BUSY
    return [f"gaps: {distance:.2f} from their law, CV {_cv(gaps):.2f}"] if distance > limit else []


def _dispersion(due: list[Times], rate: Rate, law: Law) -> list[str]:
    """Variance over mean of the counts in stretches of ten requests."""
    edges = np.arange(0, rate.expected + 1e-9, 10)
    counts = np.concatenate([np.histogram(times, edges)[0] for times in due])
    freedom = len(counts) - 1
    value = float(counts.var(ddof=1) / counts.mean()) if counts.any() else math.inf
    low, high = (max(0.0, 1 - 2 / (9 * freedom) + z * math.sqrt(2 / (9 * freedom))) ** 3 for z in (-Z, Z))
    # Wilson and Hilferty's chi-square; counts of a renewal process disperse by CV^2, nearly so in ten gaps
    squared = law.cv**2
    wrong = value > 0.3 if law.cdf is None else not 0.8 * low * squared <= value <= 1.2 * high * squared
    return [f"counts: dispersion {value:.2f}"] if wrong else []


def _serial(gaps: list[Times]) -> list[str]:
    pairs = np.concatenate([np.stack([one[:-1], one[1:]]) for one in gaps], axis=1)
    value = float(np.corrcoef(pairs)[0, 1])
    limit = Z / math.sqrt(pairs.shape[1]) + BUSY
    return [f"gaps: lag-1 autocorrelation {value:.2f}"] if abs(value) > limit else []


def _repeats(gaps: list[Times], law: Law) -> list[str]:
    near = np.concatenate([np.abs(np.diff(one)) < NEAR for one in gaps])
    expected = len(near) * law.near
    limit = expected + Z * math.sqrt(expected) + BUSY * len(near)
    return [f"gaps: {near.sum()} are sent again at once"] if near.sum() > limit else []


def _grid(times: Times, law: Law) -> list[str]:
    on = int(np.sum(np.mod(times, GRID_S) < WIDTH_S))
    expected = len(times) * WIDTH_S / GRID_S
    limit = expected + Z * math.sqrt(expected) * max(1.0, law.cv) + 3
    return [f"grid: {on} arrivals on whole seconds"] if on > limit else []


def _cv(gaps: Times) -> float:
    return float(gaps.std() / gaps.mean())


def rescaled_gaps(rate: Rate, rng: np.random.Generator) -> Times:
    """Arrivals called constant that are exponential gaps, stretched to the right number (inference-perf)."""
    gaps = rng.exponential(1.0, round(rate.expected))
    return np.asarray(np.cumsum(gaps) / gaps.sum() * rate.span_s)


def second_by_second(rate: Rate, rng: np.random.Generator) -> Times:
    """Arrivals called Poisson, each second's stretched so that its last one ends it (inference-perf)."""
    seconds = []
    for second in range(round(rate.span_s)):
        gaps = rng.exponential(1.0, rng.poisson(rate.first))
        seconds.append(second + np.cumsum(gaps) / max(gaps.sum(), 1e-9))
    return np.concatenate(seconds)


def one_seed_for_all(rate: Rate, rng: np.random.Generator) -> Times:
    """Arrivals called Poisson of ten workers by turns, who all draw the same gaps (GuideLLM)."""
    gaps = np.repeat(rng.exponential(1 / rate.first, round(rate.expected)), 10)
    times = np.cumsum(gaps)
    return times[times < rate.span_s]


def same_schedule_twice(rate: Rate, rng: np.random.Generator) -> Times:
    """Arrivals called Poisson of two workers, who both send all arrivals of half the rate."""
    times = np.cumsum(rng.exponential(2 / rate.first, round(2 * rate.expected)))
    return np.repeat(times[times < rate.span_s], 2)


def in_heaps(rate: Rate, rng: np.random.Generator) -> Times:
    """Arrivals called Poisson that come twenty at a time."""
    times = np.cumsum(rng.exponential(20 / rate.first, round(rate.expected)))
    return np.repeat(times[times < rate.span_s], 20)


def sleeping(rate: Rate, rng: np.random.Generator) -> Times:
    """Arrivals called constant by a loop that sleeps for the gap after each send, which takes time too."""
    return np.array(list(accumulate([1.08 / rate.first] * round(rate.expected / 1.08))))


def without_ramp(rate: Rate, rng: np.random.Generator) -> Times:
    """Arrivals called a ramp that hold its mean rate."""
    times = np.cumsum(rng.exponential(rate.span_s / rate.expected, round(2 * rate.expected)))
    return times[times < rate.span_s]
