"""How right the answers are: errors, coverage and widths over cases, with Wilson's interval of each share."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from tests.truth.cases import Case
from tests.truth.truths import Truth

LARGE = 0.05
_Z95 = 1.96


@dataclass(frozen=True)
class Answer:
    """One case with what is true and what was said; rates in requests/s, ends None where not told.

    `status` and `expected` are one of `met`, `unmet`, `limited` (every target is met up to the highest rate allowed).
    """

    number: int
    kinds: tuple[str, ...]
    expected: str
    status: str
    true_capacity: float | None
    capacity: tuple[float, float | None, float | None] | None
    true_saturation: float
    saturation: tuple[float, float | None, float | None] | None
    cost_s: float
    lifetimes: float
    points: int
    reason: str

    @property
    def right_kind(self) -> bool:
        """Whether the answer is of the kind that is true; either is, for a truth within 5 % of the border."""
        return self.status == self.expected

    @property
    def error(self) -> float | None:
        """Relative error of the capacity, where both sides tell one; infinite where one of them only does."""
        if self.expected != "met":
            return None if self.right_kind else math.inf
        if self.capacity is None or self.true_capacity is None or self.status == "unmet":
            return math.inf
        return self.capacity[0] / self.true_capacity - 1

    @property
    def saturation_error(self) -> float:
        """Relative error of the saturation point."""
        return math.inf if self.saturation is None else self.saturation[0] / self.true_saturation - 1


def expected(case: Case, truth: Truth) -> tuple[str, float | None]:
    """The kind of answer that is true, and the capacity within the limit."""
    limit = case.max_rate_rps or math.inf
    if truth.capacity is None:
        return "unmet", None
    return ("limited", limit) if truth.capacity >= limit else ("met", truth.capacity)


def wilson(hits: int, n: int) -> tuple[float, float]:
    """The 95 % interval of a share (Wilson, Journal of the American Statistical Association 22, 1927)."""
    if n == 0:
        return 0.0, 1.0
    share, square = hits / n, _Z95**2
    middle = (share + square / (2 * n)) / (1 + square / n)
    half = _Z95 / (1 + square / n) * math.sqrt(share * (1 - share) / n + square / (4 * n * n))
    return middle - half, middle + half


def table(answers: Sequence[Answer]) -> str:
    """The table of all cases and of each class, as Markdown."""
    kinds = sorted({kind for answer in answers for kind in answer.kinds})
    lines = [
        "| class | cases | right kind | within 5 % (Wilson) | median error | bias | covered (Wilson) | half-width | "
        "saturation within 5 % | median | covered | half-width | cost, s | lifetimes |",
        "|---|---|---|---|---|---|---|---|---|---|---|---|---|---|",
        _row("all", answers),
    ]
    lines += [_row(kind, [answer for answer in answers if kind in answer.kinds]) for kind in kinds]
    return "\n".join(lines)


def _row(name: str, answers: Sequence[Answer]) -> str:
    errors = [answer.error for answer in answers if answer.error is not None]
    known = [answer for answer in answers if answer.expected == "met" and answer.status == "met" and answer.capacity]
    told = [(answer.capacity, answer.true_capacity) for answer in known]
    hits = [_covers(found, true) for found, true in told]
    widths = [half for found, _ in told if (half := _half(found)) is not None]
    finite = [error for error in errors if math.isfinite(error)]
    steady = [answer for answer in answers if "limited" not in answer.kinds]
    wrong = [answer.saturation_error for answer in answers]
    held = [_covers(answer.saturation, answer.true_saturation) for answer in answers]
    halves = [half for answer in steady if (half := _half(answer.saturation)) is not None]
    return (
        f"| {name} | {len(answers)} | {sum(answer.right_kind for answer in answers)} | {_share(_small(errors))} | "
        f"{_percent(_median([abs(e) for e in finite]))} | {_percent(_median(finite))} | {_share(hits)} | "
        f"{_percent(_median(widths))} | {_share(_small(wrong))} | {_percent(_median([abs(e) for e in wrong]))} | "
        f"{_share(held)} | {_percent(_median(halves))} | {_median([a.cost_s for a in answers]):,.0f} | "
        f"{_median([a.lifetimes for a in answers]):,.0f} |"
    )


def _small(errors: Sequence[float]) -> list[bool]:
    return [abs(error) <= LARGE for error in errors]


def _covers(found: tuple[float, float | None, float | None] | None, true: float | None) -> bool:
    if found is None or true is None or found[1] is None or found[2] is None:
        return False
    return found[1] <= true <= found[2]


def _half(found: tuple[float, float | None, float | None] | None) -> float | None:
    if found is None or found[1] is None or found[2] is None:
        return None
    return (found[2] - found[1]) / 2 / found[0]


def _median(values: Sequence[float]) -> float:
    return float(np.median(values)) if len(values) else math.nan


def _percent(share: float) -> str:
    return "-" if math.isnan(share) else f"{100 * share:.1f} %"


def _share(hits: Sequence[bool]) -> str:
    if not hits:
        return "-"
    low, high = wilson(sum(hits), len(hits))
    return f"{100 * sum(hits) / len(hits):.0f} % ({100 * low:.0f}-{100 * high:.0f})"
