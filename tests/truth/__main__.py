"""`python -m tests.truth [accuracy | cost | truths] --seeds 0:400`: tables of how right and how dear the search is."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from typing import TypeVar

import numpy as np

from tests.truth.cases import Case, make_case
from tests.truth.judgement import Answer, expected, table
from tests.truth.rivals import SWEEPS
from tests.truth.runner import Outcome, search
from tests.truth.truths import Truth, store, stored, truth

T = TypeVar("T")
_THIRD = 1 / 3


def accuracy(number: int) -> Answer | None:
    """The answer of the search without a budget; None where the truth is not stored."""
    case = make_case(number)
    known = stored().get(case.key)
    return None if known is None else _answer(case, known, search(case, seed=number))


def _answer(case: Case, known: Truth, found: Outcome) -> Answer:
    kind, capacity = expected(case, known)
    rate, stable = found.capacity.rate, found.saturation.rate
    status = {"met": "met", "met_beyond_range": "limited"}.get(found.capacity.status, "unmet")
    if status == "limited" and (case.max_rate_rps is None or kind == "met"):
        status = "met"
    if case.max_rate_rps is not None and rate is not None and rate.value >= case.max_rate_rps:
        status = "limited"  # rungs tell more than what may be offered
    return Answer(
        case.number, case.kinds, kind, status, capacity,
        None if rate is None else (rate.value, rate.lo, rate.hi), known.saturation,
        None if stable is None else (stable.value, stable.lo, stable.hi),
        found.cost_s, found.cost_s / found.lifetime_s, len(found.points), found.reason,
    )  # fmt: skip


def compared(number: int) -> dict[str, tuple[float, float, float, float]] | None:
    """By rival: its error, its error read off by interpolation, its cost, and ours with a third of that."""
    case = make_case(number)
    known = stored().get(case.key)
    if known is None or expected(case, known)[0] != "met" or case.max_rate_rps is not None:
        return None
    true = expected(case, known)[1] or 1.0
    found = {}
    for name, sweep in SWEEPS.items():
        theirs = sweep(case, 500_000 + 100 * number)
        ours = search(case, seed=number, budget_s=_THIRD * theirs.cost_s)
        if ours.cost_s > _THIRD * theirs.cost_s * 1.001:
            print(f"case {number}: {ours.cost_s:.0f} s of {_THIRD * theirs.cost_s:.0f} s", file=sys.stderr)
        rate = None if ours.capacity.rate is None else ours.capacity.rate.value
        found[name] = (_off(theirs.capacity, true), _off(theirs.interpolated, true), theirs.cost_s, _off(rate, true))
    return found


def _off(rate: float | None, true: float) -> float:
    return 1.0 if rate is None else abs(rate / true - 1)


def _truth(number: int) -> tuple[str, Truth]:
    case = make_case(number)
    return case.key, stored().get(case.key) or truth(case)


def _mapped(of: Callable[[int], T], numbers: Iterable[int], processes: int) -> Iterator[T]:
    with ProcessPoolExecutor(processes) as pool:
        for done, found in enumerate(pool.map(of, numbers), 1):
            print(f"\r{done} ", end="", file=sys.stderr, flush=True)
            yield found
    print(file=sys.stderr)


def main() -> None:
    """Print the table that is asked for."""
    parser = argparse.ArgumentParser(prog="python -m tests.truth", description=__doc__)
    parser.add_argument("what", nargs="?", default="accuracy", choices=("accuracy", "cost", "truths"))
    parser.add_argument("--seeds", default="0:400", help="first:after the last")
    parser.add_argument("--processes", type=int, default=2)
    asked = parser.parse_args()
    first, last = (int(text) for text in asked.seeds.split(":"))
    numbers = range(first, last)
    if asked.what == "truths":
        known = stored()
        for key, found in _mapped(_truth, numbers, asked.processes):
            known[key] = found
            store(known)
    elif asked.what == "accuracy":
        answers = [answer for answer in _mapped(accuracy, numbers, asked.processes) if answer is not None]
        print(table(answers))
        _worst(answers)
    else:
        _print_cost([found for found in _mapped(compared, numbers, asked.processes) if found is not None])


def _worst(answers: list[Answer]) -> None:
    print("\nThe worst:\n")
    for answer in sorted(answers, key=lambda one: -abs(one.error or 0.0))[:15]:
        print(f"- case {answer.number} {answer.kinds}: said {answer.status} {answer.capacity}, true {answer.expected} "
              f"{answer.true_capacity}; {answer.reason}")  # fmt: skip


def _print_cost(found: list[dict[str, tuple[float, float, float, float]]]) -> None:
    print("| sweep | cases | its cost, s (median) | its error, highest stage: median, p90 | interpolated | "
          "giq with a third of the time |\n|---|---|---|---|---|---|")  # fmt: skip
    for name in SWEEPS:
        rows = np.array([row[name] for row in found])
        errors = [
            f"{100 * np.median(rows[:, k]):.1f} %, {100 * np.percentile(rows[:, k], 90):.1f} %" for k in (0, 1, 3)
        ]
        print(f"| {name} | {len(rows)} | {np.median(rows[:, 2]):,.0f} | {errors[0]} | {errors[1]} | {errors[2]} |")


if __name__ == "__main__":
    main()
