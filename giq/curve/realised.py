"""The load that a point happened to be offered, beside the one that its rate names."""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import median

from giq.curve.curve import Curve
from giq.curve.point import Point
from giq.workload.lengths import mean_length
from giq.workload.workload import Workload

ELASTICITY = 0.75
"""How much of a chance excess of load a latency answers to, on average: 0.7 to 0.8 over simulated servers of many
kinds, each at its capacity (its regression on the realised load, as a share of the slope of its curve)."""

_MOST_DEVIATIONS = 6.0
"""A load further off than so many standard deviations of a Poisson count is no chance, and is not corrected."""


def mean_lengths(workload: Workload) -> tuple[float, float] | None:
    """The mean prompt and output length of the law, in tokens; None where lengths follow a trace or a conversation."""
    if workload.arrival.law == "trace" or workload.conversation is not None:
        return None
    return mean_length(workload.input_tokens), mean_length(workload.output_tokens)


def prompt_share(points: Sequence[Point]) -> float | None:
    """Prompts' share of the server's time where it always had work: the median over those of *points* that tell it."""
    told = [point.prompt_share for point in points if point.prompt_share is not None]
    return median(told) if told else None


def realised_rates(curve: Curve, points: Sequence[Point], share: float | None) -> list[float]:
    """The rates of open-loop *points*, corrected for what chance drew: arrivals in the window and their lengths.

    A point of some hundred requests is offered a few percent more or less work than its rate says. Taking that out (a
    control variate, with the fixed coefficient ELASTICITY) makes its latency tell more of the law. *share* is that of
    prompts in a request's work; without it only arrivals count.
    """
    means = mean_lengths(curve.workload)
    found = []
    for point in points:
        rate = point.offered_rps or point.achieved_rps
        arrived = point.n_requests / point.window_s if point.window_s > 0 else rate
        work = 1.0
        if share is not None and means is not None:
            work = share * point.input_tokens_mean / means[0] + (1 - share) * point.output_tokens_mean / means[1]
        ratio = arrived * work / rate
        by_chance = abs(ratio - 1) <= _MOST_DEVIATIONS / math.sqrt(max(point.n_requests, 1))
        found.append(rate * ratio**ELASTICITY if by_chance else rate)
    return found
