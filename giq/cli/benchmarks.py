"""`giq benchmarks`: the curves at hand."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from giq.cli.asked import OutputOption, ResultsOption

app = typer.Typer(help="Saturation curves: measured, published, estimated.", no_args_is_help=True)

LocationArgument = Annotated[
    str | None, typer.Argument(help="A run, a folder or file of points, gs:// or s3://; default all at hand.")
]


@app.command("list")
def list_curves(
    location: LocationArgument = None, results_dir: ResultsOption = Path("results"), output: OutputOption = "table"
) -> None:
    """List the curves.

    Example: giq benchmarks list
    """
    from giq.cli.at_hand import curves_at_hand
    from giq.show.curves import curves_table
    from giq.show.table import write
    from giq.show.terminal import data_console

    write(curves_table(curves_at_hand(results_dir, location)), output, data_console())


@app.command("show")
def show_points(
    location: LocationArgument = None,
    results_dir: ResultsOption = Path("results"),
    curve: Annotated[str | None, typer.Option(help="Only the curve with this id.")] = None,
    output: OutputOption = "table",
) -> None:
    """Print the points of curves.

    Example: giq benchmarks show results/run=20261121-120000-ab12
    """
    from giq.cli.at_hand import curves_at_hand
    from giq.errors import UsageError
    from giq.show.curves import curve_title
    from giq.show.points import points_table
    from giq.show.table import Table, write
    from giq.show.terminal import data_console

    found = [item for item in curves_at_hand(results_dir, location) if curve in (None, item.curve_id)]
    if not found:
        raise UsageError("no curve there", where=location or str(results_dir), hint="See `giq benchmarks list`.")
    tables = [points_table(item.points, curve_title(item)) for item in found]
    if output in ("table", "wide"):
        for table in tables:
            write(table, output, data_console())
        return
    rows: list[dict[str, Any]] = [
        {"curve_id": item.curve_id} | dict(row) for item, table in zip(found, tables, strict=True) for row in table.rows
    ]
    write(Table("Points", tables[0].columns, rows), output, data_console())


@app.command("recompute")
def recompute_run(run: Annotated[Path, typer.Argument(help="A run folder.")], output: OutputOption = "table") -> None:
    """Make every point of a run anew from its records and say whether it is the stored one.

    Example: giq benchmarks recompute results/run=20261121-120000-ab12
    """
    from giq.errors import DataError
    from giq.profiling.recomputation import recompute
    from giq.show.curves import recomputed_table
    from giq.show.table import write
    from giq.show.terminal import data_console

    rows = recompute(run)
    write(recomputed_table(rows), output, data_console())
    if any(row.differences for row in rows):
        raise DataError("stored points differ from their records", where=str(run), hint="Measure this run again.")
