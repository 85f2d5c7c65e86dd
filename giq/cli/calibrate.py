"""`giq calibrate`: fit the simulated engine to measured runs or published points."""

from __future__ import annotations

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
    observations, evidence = _observations(runs, catalog)
    groups: dict[tuple[str, str, str, int, int], list[Observation]] = {}
    for one in observations:
        groups.setdefault(identity(one.config.main), []).append(one)
    found = []
    with counting("Calibrating") as progress:
        for points in groups.values():
            found.append(fitted(points, catalog, evidence, ", ".join(Path(run).name for run in runs)))
            progress(len(found), len(groups))
    write(calibration_table([made.record for made in found]), output, data_console())
    for made in found:
        if not dry_run:
            say(f"Kept as {keep(made.record, user_home() / 'profiles')}")
        if made.suggestion is not None:
            say(suggestion_words(made.record, made.suggestion))


def _observations(runs: list[str], catalog: Catalog) -> tuple[list[Observation], str]:
    """The load points in *runs*, and of which evidence they are: measured only where all are.

    Raises:
        DataError: there are none.
    """
    from giq.engine.calibrating import observations_of
    from giq.engine.published import read_published
    from giq.errors import DataError
    from giq.store.database import read_curves

    tables = [Path(run) for run in runs if run.endswith(".csv")]
    rows = [row for table in tables for row in read_published(table, catalog)]
    published = [row.observation for row in rows if row.observation is not None and row.scored]
    curves = [curve for run in runs if not run.endswith(".csv") for curve in read_curves(run)]
    if tables and not published and not curves:
        raise DataError("no scored row of the CSV can be simulated", where=str(tables[0]))
    measured = observations_of(curves) if curves or not published else []
    kinds = {curve.evidence for curve in curves} | ({"published"} if published else set())
    return published + measured, "measured" if kinds == {"measured"} else "published"
