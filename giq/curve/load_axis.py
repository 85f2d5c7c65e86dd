"""The axis that a curve is read along: which of its points, at which rates."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from giq.curve.curve import Curve
from giq.curve.point import Point
from giq.curve.saturation import stable_rate

_LEAST_OPEN = 2


@dataclass(frozen=True)
class LoadAxis:
    """The valid points that decisions rest on, in the order of `rates` (requests/s per deployment unit).

    Open-loop points at the rate offered, when there are at least two (or no closed-loop ones); otherwise closed-loop
    points at the rate they completed, which `note` says; of those only rungs that completed more than every lower
    one, because beyond the plateau more concurrency buys nothing but latency.
    """

    points: tuple[Point, ...]
    rates: tuple[float, ...]
    is_open: bool
    note: str

    def values(self, of: Callable[[Point], float | None]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Rates, and what *of* gives at each; points without it are left out."""
        found = [
            (rate, value)
            for rate, point in zip(self.rates, self.points, strict=True)
            if (value := of(point)) is not None
        ]
        table = np.array(found, dtype=np.float64).reshape(-1, 2)
        return table[:, 0], table[:, 1]


def load_axis(curve: Curve) -> LoadAxis:
    """The axis of *curve*; empty when no point is valid."""
    opened = [point for point in curve.valid_points if point.load_kind == "open"]
    rungs = _rising([point for point in curve.valid_points if point.load_kind == "closed"])
    is_open = len(opened) >= _LEAST_OPEN or not rungs
    chosen = sorted(opened if is_open else rungs, key=lambda point: (stable_rate(point), point.point_id))
    note = "" if is_open else "from closed-loop points at the rates they completed, for want of open-loop ones"
    return LoadAxis(tuple(chosen), tuple(stable_rate(point) for point in chosen), is_open, note)


def _rising(rungs: Sequence[Point]) -> list[Point]:
    """The rungs that completed more than every one of lower concurrency."""
    kept: list[Point] = []
    for point in sorted(rungs, key=lambda point: (point.concurrency or 0.0, point.achieved_rps, point.point_id)):
        if not kept or point.achieved_rps > kept[-1].achieved_rps:
            kept.append(point)
    return kept


def at_rate(rates: Sequence[float], values: Sequence[float | None], rate: float) -> float | None:
    """The value at *rate*, straight between its neighbours in *rates*; None where one of them has none.

    *rates* ascend, and *rate* lies among them.
    """
    above = int(np.searchsorted(rates, rate, side="left"))
    if rates[above] == rate:
        return values[above]
    low, high = values[above - 1], values[above]
    if low is None or high is None:
        return None
    share = (rate - rates[above - 1]) / (rates[above] - rates[above - 1])
    return low + share * (high - low)
