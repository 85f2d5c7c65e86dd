"""Which curves a command is about."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from giq.curve.curve import Curve

WhichArgument = Annotated[
    list[str] | None,
    typer.Argument(
        help="Curves: their ids (or how these begin), runs, folders or files of points, gs:// or s3://; "
        "default all at hand.",
    ),
]


def chosen_curves(which: list[str] | None, results_dir: Path) -> list[Curve]:
    """The curves that *which* names, without it all at hand; at least one.

    Raises:
        UsageError: there is none.
    """
    from giq.cli.at_hand import curves_at_hand
    from giq.errors import UsageError

    found = [curve for curve in curves_at_hand(results_dir, which or ()) if curve.points]
    if not found:
        raise UsageError("no curve there", where=", ".join(which or [str(results_dir)]), hint="See `giq profile`.")
    return found
