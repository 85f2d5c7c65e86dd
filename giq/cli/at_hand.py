"""The curves at hand, after recovering what a crash left, with damages told."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from giq.curve.curve import Curve
    from giq.errors import GiqError

DEFAULT_RESULTS = Path("results")


def recover_runs(results_dir: Path) -> None:
    """Save the records that a killed run left in its journals, and say so."""
    from giq.errors import StorageError
    from giq.show.terminal import say
    from giq.store.run import recover

    if not results_dir.is_dir():
        return
    try:
        for run_id in recover(results_dir, on_damage=_tell):
            say(f"Recovered the records that run {run_id} left behind.")
    except StorageError as error:  # they stay where they are, and what was asked for may still be answered
        _tell(error)


def curves_at_hand(results_dir: Path, words: Sequence[str] = ()) -> list[Curve]:
    """The curves that *words* name (runs, folders, files, URIs, ids), without words all at hand.

    A damaged file in a folder is told and passed over, as long as there are others.

    Raises:
        DataError: a place is not there, or nothing in it can be read.
        UnknownNameError: an id that no curve at hand has.
        UsageError: *results_dir* was given and is not there.
    """
    from giq.errors import UsageError
    from giq.store.at_hand import named_curves

    if results_dir != DEFAULT_RESULTS and not results_dir.is_dir():
        raise UsageError("there is no such folder of results", where=str(results_dir))
    recover_runs(results_dir)
    damages: list[GiqError] = []
    found = named_curves(words, results_dir, on_damage=damages.append)
    if damages and words and not found:
        raise damages[0]
    for damage in damages:
        _tell(damage)
    return found


def _tell(error: GiqError) -> None:
    from giq.show.terminal import warn

    warn(str(error))
