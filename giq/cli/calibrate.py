"""`giq calibrate`: fit the simulated engine to measured runs or published points."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from giq.cli.asked import OUTPUT, OutputOption

if TYPE_CHECKING:
    from giq.catalog import Catalog
    from giq.engine.observation import Observation


def calibrate(
    runs: Annotated[list[str], typer.Argument(help="Runs, folders or files with points; or CSV of published points.")],
    dry_run: Annotated[bool, typer.Option(help="Print only; keep nothing.", rich_help_panel=OUTPUT)] = False,
    to: Annotated[
        Path | None,
        typer.Option("--to", help="Profiles folder to keep them in; default the user's own.", rich_help_panel=OUTPUT),
    ] = None,
    output: OutputOption = "table",
) -> None:
    """Fit the simulated engine to measured points; predictions of that configuration rest on them from then on.

    Example: giq calibrate results/run=*
    """
    from giq.catalog import load_catalog
    from giq.catalog.shipped import user_home
    from giq.engine.calibrating import calibrate as fitted
    from giq.engine.calibrating import identity
    from giq.engine.calibrations import keep
    from giq.show.calibrations import calibration_table, suggestion_words
    from giq.show.live import counting
    from giq.show.table import write
    from giq.show.terminal import data_console, say

    catalog = load_catalog()
    observations, origin = _observations(runs, catalog)
    groups: dict[tuple[str, str, str, int, int], list[Observation]] = {}
    for one in observations:
        groups.setdefault(identity(one.config.main), []).append(one)
    found = []
    with counting("Calibrating") as progress:
        for points in groups.values():
            found.append(fitted(points, catalog, origin.evidence, origin.source, origin.licence))
            progress(len(found), len(groups))
    write(calibration_table([made.record for made in found]), output, data_console())
    for made in found:
        if not dry_run:
            say(f"Kept as {keep(made.record, to or user_home() / 'profiles')}")
        if made.suggestion is not None:
            say(suggestion_words(made.record, made.suggestion))


@dataclass(frozen=True)
class _Origin:
    """Where points come from: measured only where all are; the licence where all have the same."""

    evidence: str
    source: str
    licence: str | None


def _observations(runs: list[str], catalog: Catalog) -> tuple[list[Observation], _Origin]:
    """The load points in *runs*, and where they come from.

    Raises:
        DataError: there are none.
    """
    from giq.engine.calibrating import observations_of
    from giq.engine.published import read_published
    from giq.errors import DataError
    from giq.store.database import read_curves

    tables = [Path(run) for run in runs if run.endswith(".csv")]
    rows = [row for table in tables for row in read_published(table, catalog) if row.scored]
    published = [row.observation for row in rows if row.observation is not None]
    curves = [curve for run in runs if not run.endswith(".csv") for curve in read_curves(run)]
    if tables and not published and not curves:
        raise DataError("no scored row of the CSV can be simulated", where=str(tables[0]))
    measured = observations_of(curves) if curves or not published else []
    kinds = {curve.evidence for curve in curves} | ({"published"} if published else set())
    said = {row.source for row in rows} if rows and not curves else set()
    licences = {row.licence for row in rows} if not curves else set()
    return published + measured, _Origin(
        evidence="measured" if kinds == {"measured"} else "published",
        source=", ".join(sorted(said - {""}) or (Path(run).name for run in runs)),
        licence=next(iter(licences)) or None if len(licences) == 1 else None,
    )
