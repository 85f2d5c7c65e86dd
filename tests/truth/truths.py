"""What is true of a case: long virtual-time runs, plain percentiles and bisection.

Nothing here is shared with the search: no window, summary, interval or capacity of `giq.curve`. Rates are compared with
common random numbers (the same seed gives the same lengths and the same arrivals, stretched), and the error is that
of the mean over independent repetitions.
"""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from giq.curve.requests import Requests
from giq.curve.targets import Target
from giq.engine.simulation import simulate
from giq.workload.schedule import make_schedule
from giq.workload.workload import ClosedLoad, OpenLoad, Stop
from tests.truth.cases import Case

STORED = Path(__file__).with_name("truths.json")
WANTED = 0.003
"""Standard error, as a share, at which repetitions end: the half-width of its 90 % interval is then 0.5 %."""

_LENGTHS = 1_000_000
_ROUGH, _FINE, _LONG = 3_000, 10_000, 20_000
_FEWEST, _MOST = 6, 24
_STRETCHES = 40
_LOWEST, _HIGHEST = 0.02, 0.99
_PLAINLY = 0.1


@dataclass(frozen=True)
class Truth:
    """Rates in requests/s, standard errors as shares of them. `capacity` is None where no rate meets the targets."""

    saturation: float
    saturation_error: float
    capacity: float | None
    capacity_error: float


def truth(case: Case) -> Truth:
    """The true saturation point and capacity of *case*."""
    most, most_error, prompts = _saturation(case)
    capacity, error = most, most_error
    for place, target in enumerate(case.targets):
        root = _Root(case, target, most, prompts)
        if place and root.surely_met(capacity):
            continue
        rate, doubt = root.find()
        if rate is None:
            return Truth(most, most_error, None, 0.0)
        capacity, error = min((capacity, error), (rate, doubt))
    return Truth(most, most_error, capacity, error)


def _saturation(case: Case) -> tuple[float, float, float]:
    """Completions a second of a server that always has work, its error, and prompts' share of the time.

    Work is conserved: each of 40 equal stretches of time is a seconds for every prompt token and b for every output
    token of it. By least squares, at the law's mean lengths; the error is that of leaving each stretch out in turn.
    """
    slots = 4 * case.spec.max_num_seqs
    count = 40_000 + 2 * slots
    schedule = make_schedule(case.workload, ClosedLoad(concurrency=slots), Stop(requests=count), 900_001)
    found = simulate(case.spec, schedule).requests
    first, last = found.first_token_ns / 1e9, found.last_token_ns / 1e9
    ends = np.sort(last)
    edges = np.linspace(ends[slots], ends[count - 2 * slots], _STRETCHES + 1)
    by_first = np.argsort(first)
    read = np.cumsum(found.input_tokens[by_first])[np.searchsorted(first[by_first], edges, side="right") - 1]
    share = [np.clip((edge - first) / np.maximum(last - first, 1e-9), 0, 1) @ found.output_tokens for edge in edges]
    tokens = np.column_stack([np.diff(read), np.diff(np.array(share))])
    law = _law(case)

    def rate(rows: NDArray[np.float64]) -> tuple[float, float]:
        (a, b), *_ = np.linalg.lstsq(rows / law, np.full(len(rows), edges[1] - edges[0]), rcond=None)
        return 1 / float(a + b), float(np.clip(a / (a + b), 0, 1))

    most, prompts = rate(tokens)
    left_out = np.array([rate(np.delete(tokens, k, axis=0))[0] for k in range(_STRETCHES)])
    error = math.sqrt((_STRETCHES - 1) / _STRETCHES * float(((left_out - left_out.mean()) ** 2).sum()))
    return most, error / most, prompts


def _law(case: Case) -> NDArray[np.float64]:
    """The law's mean prompt and output length."""
    drawn = make_schedule(case.workload, ClosedLoad(concurrency=1), Stop(requests=_LENGTHS), 900_002)
    return np.array([drawn.input_tokens.mean(), drawn.output_tokens.mean()])


class _Root:
    """The highest rate that meets one target."""

    def __init__(self, case: Case, target: Target, most: float, prompts: float) -> None:
        self.case, self.target, self.most, self.prompts = case, target, most, prompts
        self.law = _law(case)

    def find(self) -> tuple[float | None, float]:
        """It, with its standard error as a share; None where no rate does."""
        low, high = _LOWEST * self.most, _HIGHEST * self.most
        if self.excess(low, _ROUGH, 1)[0] > 0:
            return None, 0.0
        if self.excess(high, _FINE, 1)[0] <= 0 and self.excess(high, _LONG, 2)[0] <= 0:
            return self.most * (1 + _HIGHEST) / 2, (1 - _HIGHEST) / 4
        for count, share in ((_ROUGH, 0.03), (_FINE, 0.01)):
            while high - low > share * high:
                middle = (low + high) / 2
                low, high = (middle, high) if self.excess(middle, count, 1)[0] <= 0 else (low, middle)
            middle, wide = (low + high) / 2, (0.06 if count == _ROUGH else 0.0) * high
            low, high = max(middle - wide, _LOWEST * self.most), min(middle + wide, _HIGHEST * self.most)
        return self.repeated((low + high) / 2)

    def surely_met(self, rate: float) -> bool:
        """Whether even a tenth more than *rate* meets the target plainly."""
        return self.excess(min(1.1 * rate, _HIGHEST * self.most), _LONG, 2)[0] < -_PLAINLY

    def repeated(self, about: float) -> tuple[float, float]:
        """From independent repetitions at *about*, along a straight line whose slope four pairs of rates tell.

        What a repetition happened to be offered, beside what the law offers, explains much of its deviation:
        a linear regression on the logarithm of that (a control variate) takes it out.
        """
        low, high = 0.98 * about, min(1.02 * about, 0.995 * self.most)
        rises = [self.excess(high, _FINE, seed)[0] - self.excess(low, _FINE, seed)[0] for seed in range(30, 34)]
        slope = max(float(np.mean(rises)), 1e-6) / math.log(high / low)
        rows: list[tuple[float, float]] = []
        mean, error = 0.0, 1.0
        while len(rows) < _FEWEST or (error > WANTED and len(rows) < _MOST):
            rows.append(self.excess(about, _LONG, 10 + len(rows)))
            mean, error = _controlled(np.array(rows)) if len(rows) >= _FEWEST else (0.0, 1.0)
            error /= slope
        return about * math.exp(-mean / slope), error

    def excess(self, rate: float, count: int, seed: int) -> tuple[float, float]:
        """The logarithms of the target's percentile over its limit, and of the load offered over the law's."""
        schedule = make_schedule(self.case.workload, OpenLoad(rate_rps=rate), Stop(requests=count), 910_000 + seed)
        found = simulate(self.case.spec, schedule).requests
        settled = _settled(found)
        value = float(np.percentile(_values(found, settled, self.target), self.target.percent, method="inverted_cdf"))
        arrived = found.scheduled_ns[settled] / 1e9
        length = np.array([found.input_tokens[settled].mean(), found.output_tokens[settled].mean()]) / self.law
        work = float(length @ [self.prompts, 1 - self.prompts])
        return math.log(value / self.target.seconds), math.log(len(arrived) / np.ptp(arrived) / rate * work)


def _controlled(rows: NDArray[np.float64]) -> tuple[float, float]:
    """The mean of the first column where the second is 0, and its standard error."""
    n = len(rows)
    design = np.column_stack([np.ones(n), rows[:, 1]])
    solved, *_ = np.linalg.lstsq(design, rows[:, 0], rcond=None)
    residual = rows[:, 0] - design @ solved
    spread = float(residual @ residual) / (n - 2) * np.linalg.inv(design.T @ design)[0, 0]
    return float(solved[0]), math.sqrt(spread)


def _settled(found: Requests) -> NDArray[np.bool_]:
    """The requests after the first tenth (or 3 lifetimes, up to two fifths) and before the server drains."""
    arrived, ended = found.scheduled_ns, found.end_ns
    lived = np.percentile(ended - arrived, [50, 99])
    whole = float(arrived[-1] - arrived[0])
    begin = arrived[0] + min(max(0.1 * whole, 3 * float(lived[0])), 0.4 * whole)
    settled: NDArray[np.bool_] = (arrived > begin) & (arrived < arrived[-1] - min(float(lived[1]), 0.2 * whole))
    return settled


def _values(found: Requests, settled: NDArray[np.bool_], target: Target) -> NDArray[np.float64]:
    """The metric of each settled request that has it, in seconds."""
    if target.metric == "ttft":
        return (found.first_token_ns - found.scheduled_ns)[settled] / 1e9
    several = settled & (found.output_tokens > 1)
    return ((found.last_token_ns - found.first_token_ns)[several] / (found.output_tokens[several] - 1)) / 1e9


def stored() -> dict[str, Truth]:
    """The truths in the repository, by the key of their case."""
    if not STORED.exists():
        return {}
    read = json.loads(STORED.read_text())
    return {key: Truth(**value) for key, value in read.items()}


def store(truths: dict[str, Truth]) -> None:
    """Write *truths*, one to a line, in the order of their keys."""
    lines = [f"{json.dumps(key)}: {json.dumps(_rounded(asdict(truths[key])))}" for key in sorted(truths)]
    STORED.write_text("{\n" + ",\n".join(lines) + "\n}\n")


def _rounded(value: dict[str, float | None]) -> dict[str, float | None]:
    return {key: None if item is None else float(f"{item:.5g}") for key, item in value.items()}
