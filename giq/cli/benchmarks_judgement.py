"""`giq benchmarks check` and `diff`: what is doubtful in a curve, and whether two really differ."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from giq.cli.asked import (
    ItlOption,
    LatencyOption,
    NtpotOption,
    OutputOption,
    PercentileOption,
    ResultsOption,
    TpotOption,
    TtftOption,
    targets_of,
)
from giq.cli.curve_choice import WhichArgument, chosen_curves

if TYPE_CHECKING:
    from giq.curve.curve import Curve

DIFFERS = 5
"""The exit code of `giq benchmarks diff` for curves that differ."""


def check(
    which: WhichArgument = None,
    target_ttft: TtftOption = None,
    target_tpot: TpotOption = None,
    target_itl: ItlOption = None,
    target_ntpot: NtpotOption = None,
    target_latency: LatencyOption = None,
    percentile: PercentileOption = "p90",
    results_dir: ResultsOption = Path("results"),
    output: OutputOption = "table",
) -> None:
    """Say what is doubtful in curves, and what to do next.

    Exit code 0: nothing that invalidates an answer (there may be doubts); 4: something does.

    Example: giq benchmarks check results/run=20261121-120000-ab12 --target-ttft 300ms
    """
    from datetime import UTC, datetime

    from giq.curve.doubts import doubts
    from giq.errors import DataError
    from giq.show.judgement import doubts_table
    from giq.show.table import write
    from giq.show.terminal import data_console, say
    from giq.store.at_hand import folders_of
    from giq.store.drifts import drifts_of

    targets = targets_of(
        percentile, ttft=target_ttft, tpot=target_tpot, itl=target_itl, ntpot=target_ntpot, latency=target_latency
    )
    curves = chosen_curves(which, results_dir)
    folders = folders_of(curves, which or (), results_dir)
    today = datetime.now(UTC).date()
    found = [(curve, doubts(curve, targets, today=today, drifts=drifts_of(curve, folders))) for curve in curves]
    write(doubts_table(found), output, data_console())
    if not targets:
        say("Without a target only the curve itself is judged; give one, like --target-ttft 300ms.", "dim")
    invalid = sum(item.severity == "invalid" for _, items in found for item in items)
    if invalid:
        raise DataError(
            f"{invalid} of these findings invalidate an answer",
            where=", ".join(which or [str(results_dir)]),
            hint="Follow their advice, and measure again.",
        )


def diff(
    a: Annotated[str, typer.Argument(help="A curve: its id (or how it begins), a run, or a file of points.")],
    b: Annotated[str, typer.Argument(help="The curve compared with it, likewise.")],
    force: Annotated[
        bool, typer.Option("--force", help="Compare curves of different workloads or models all the same.")
    ] = False,
    target_ttft: TtftOption = None,
    target_tpot: TpotOption = None,
    target_itl: ItlOption = None,
    target_ntpot: NtpotOption = None,
    target_latency: LatencyOption = None,
    percentile: PercentileOption = "p90",
    results_dir: ResultsOption = Path("results"),
    output: OutputOption = "table",
) -> None:
    """Tell whether two curves really differ: each ratio B / A with its 90 % interval, and a verdict.

    Loads that both have are compared directly, others at common rates read off between points. A difference is
    called real only where the chance of any false one among all is at most 10 % (Holm's procedure).

    Exit code 0: no difference shown; 5: they differ; 4: nothing can be told, or they answer different questions.

    Example: giq benchmarks diff results/run=20261121-120000-ab12 results/run=20261122-090000-cd34
    """
    from giq.curve.comparison import compare, refuse_other_question
    from giq.errors import DataError
    from giq.show.judgement import comparison_words, differences_table
    from giq.show.table import write
    from giq.show.terminal import data_console, say
    from giq.units import parse_percentile

    targets = targets_of(
        percentile, ttft=target_ttft, tpot=target_tpot, itl=target_itl, ntpot=target_ntpot, latency=target_latency
    )
    left, right = _one_curve(a, results_dir), _one_curve(b, results_dir)
    if not force:
        refuse_other_question(left, right)
    found = compare(left, right, targets, parse_percentile(percentile))
    write(differences_table(found, left, right), output, data_console())
    for words in comparison_words(found, left, right):
        say(words)
    if found.differs:
        raise typer.Exit(DIFFERS)
    if not found.can_tell:
        raise DataError(
            "nothing can be told", where=f"{a}, {b}", hint="Measure both at common loads, long enough for intervals."
        )


def _one_curve(word: str, results_dir: Path) -> Curve:
    """The curve that *word* names.

    Raises:
        UsageError: there are several, which are named.
    """
    from giq.errors import UsageError

    found = chosen_curves([word], results_dir)
    if len(found) > 1:
        names = ", ".join(f"{curve.curve_id}:{curve.evidence}" for curve in found)
        raise UsageError(f"{word!r} names {len(found)} curves", hint=f"Choose one: {names}.")
    return found[0]
