"""`giq benchmarks`: the curves at hand: listed, drawn, judged, compared, exported and imported."""

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
from giq.cli.benchmarks_build import build_database
from giq.cli.benchmarks_exchange import export_tables, import_results
from giq.cli.benchmarks_judgement import check, diff
from giq.cli.curve_choice import WhichArgument, chosen_curves

if TYPE_CHECKING:
    from giq.cli.asked import OutputForm
    from giq.curve.curve import Curve

app = typer.Typer(help="Saturation curves: measured, published, estimated.", no_args_is_help=True)
app.command("check")(check)
app.command("diff")(diff)
app.command("export")(export_tables)
app.command("import")(import_results)
app.command("build")(build_database)


@app.command("list")
def list_curves(
    which: WhichArgument = None,
    model: Annotated[str | None, typer.Option(help="All curves of this model, those that ship too.")] = None,
    accelerator: Annotated[str | None, typer.Option(help="With --model: only on this accelerator.")] = None,
    use_case: Annotated[str | None, typer.Option(help="With --model: only of this use case.")] = None,
    results_dir: ResultsOption = Path("results"),
    output: OutputOption = "table",
) -> None:
    """List the curves at hand: measured and imported ones; of those that ship a summary, or with --model each.

    Example: giq benchmarks list --model llama-3-8b --accelerator nvidia-l4
    """
    from giq.cli.at_hand import curves_at_hand
    from giq.errors import UsageError
    from giq.show.curves import curves_table, shipped_table
    from giq.show.table import write
    from giq.show.terminal import data_console, say
    from giq.store.shipped_summary import shipped_models

    if model is not None:
        found = _of_model(model, accelerator, use_case, results_dir)
        write(curves_table(found), output, data_console())
        return
    if accelerator or use_case:
        raise UsageError("a part of what ships is listed by model", hint="Like --model llama-3-8b.")
    found = curves_at_hand(results_dir, which or ())
    is_table = output in ("table", "wide")
    if found or not is_table:
        write(curves_table(found), output, data_console())
    if is_table and not which:
        models = shipped_models()
        write(shipped_table(models), output, data_console())
        example = models[0].model if models else "llama-3-8b"
        say(f"Each curve of a model: giq benchmarks list --model {example} --accelerator nvidia-l4")


def _of_model(model: str, accelerator: str | None, use_case: str | None, results_dir: Path) -> list[Curve]:
    """The curves of *model* at hand and of those that ship, by the catalog's names; one outside it by its own."""
    from giq.catalog import load_catalog
    from giq.cli.at_hand import curves_at_hand
    from giq.errors import UnknownNameError
    from giq.store.at_hand import shipped_estimates, shipped_published

    catalog, at_hand = load_catalog(), curves_at_hand(results_dir)
    try:
        model = catalog.model(model).name
    except UnknownNameError:
        if all(curve.config.main.model != model for curve in at_hand):
            raise
    only = {}
    if accelerator:
        only["accelerator"] = catalog.accelerator(accelerator).name
    if use_case:
        only["use_case"] = catalog.use_case(use_case).name
    return [
        curve
        for curve in (*at_hand, *shipped_published(), *shipped_estimates(model, only))
        if curve.config.main.model == model
        and curve.config.main.accelerator == only.get("accelerator", curve.config.main.accelerator)
        and curve.workload.use_case == only.get("use_case", curve.workload.use_case)
    ]


@app.command("show")
def show_curves(
    which: WhichArgument = None,
    plot: Annotated[
        Path | None, typer.Option("--plot", help="Draw into this file too: .svg or .png (needs giq[plot]).")
    ] = None,
    target_ttft: TtftOption = None,
    target_tpot: TpotOption = None,
    target_itl: ItlOption = None,
    target_ntpot: NtpotOption = None,
    target_latency: LatencyOption = None,
    percentile: PercentileOption = "p90",
    results_dir: ResultsOption = Path("results"),
    output: OutputOption = "table",
) -> None:
    """Draw curves in the terminal, several over each other, and print their points.

    Example: giq benchmarks show results/run=20261121-120000-ab12 --target-ttft 300ms --plot curve.svg
    """
    from giq.show.picture import picture_of
    from giq.show.plot_file import check_plot_file, drawn
    from giq.show.terminal import say
    from giq.store.parquet import write_bytes
    from giq.units import parse_percentile

    if plot is not None:
        check_plot_file(plot)
    targets = targets_of(
        percentile, ttft=target_ttft, tpot=target_tpot, itl=target_itl, ntpot=target_ntpot, latency=target_latency
    )
    curves = chosen_curves(which, results_dir)
    picture = picture_of(curves, targets, parse_percentile(percentile))
    if output in ("table", "wide"):
        from giq.show.terminal import data_console
        from giq.show.text_plot import draw

        draw(picture, data_console())
    _print_points(curves, output, parse_percentile(percentile))
    if plot is not None:
        write_bytes(plot, drawn(picture, plot.suffix.lower()))
        say(f"Drawn in {plot}.")


def _print_points(curves: list[Curve], output: OutputForm, percentile: str) -> None:
    """A table for each curve; in forms for machines the rows of all, each with its curve's id."""
    from giq.show.curves import curve_title
    from giq.show.points import points_table
    from giq.show.table import Table, write
    from giq.show.terminal import data_console

    tables = [points_table(item.points, curve_title(item), percentile) for item in curves]
    if output in ("table", "wide"):
        for table in tables:
            write(table, output, data_console())
        return
    rows = [
        {"curve_id": item.curve_id, **row} for item, table in zip(curves, tables, strict=True) for row in table.rows
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
