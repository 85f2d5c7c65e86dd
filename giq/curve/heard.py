"""What became of requests, as a stand-in for the server answers them, and the metrics of targets on it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from giq.curve.stand_in import Floats, Lengths
from giq.curve.targets import Target

METRICS = ("ttft", "tpot", "latency")
"""Those that a stand-in tells of."""


@dataclass(frozen=True)
class Heard:
    """Times of each request, in s: scheduled (or sent in turn), first and last token; and how many output tokens."""

    scheduled: Floats
    first: Floats
    last: Floats
    outputs: Lengths

    def values(self, target: Target) -> Floats:
        """The metric of *target* of each request, in s; NaN where it has none."""
        if target.metric == "tpot":
            several = self.outputs > 1
            return np.where(several, (self.last - self.first) / np.maximum(self.outputs - 1, 1), np.nan)
        return (self.first if target.metric == "ttft" else self.last) - self.scheduled

    def part(self, chosen: NDArray[np.bool_] | slice) -> Heard:
        """Some of them."""
        return Heard(self.scheduled[chosen], self.first[chosen], self.last[chosen], self.outputs[chosen])


def percentile(values: Floats, target: Target) -> float:
    """That of *target* among *values*, those that are NaN left out."""
    return float(np.nanpercentile(values, target.percent, method="inverted_cdf"))
