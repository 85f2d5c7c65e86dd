"""`giq benchmarks export` and `import`: points and records for other tools, and other tools' results as curves."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from giq.cli.asked import (
    SERVER,
    WORKLOAD,
    EngineArgOption,
    InputOption,
    OutputTokensOption,
    ResultsOption,
    UseCaseOption,
    loads_of,
    workload_of,
)
from giq.cli.curve_choice import WhichArgument, chosen_curves

if TYPE_CHECKING:
    from giq.catalog import Catalog
    from giq.curve.curve import Curve
    from giq.profiling.options import Declared as UnitDeclaration
    from giq.store.imports.conversion import Declared
    from giq.store.imports.foreign import ForeignResult
    from giq.workload.workload import Arrival, Load, Workload


def export_tables(
    which: WhichArgument = None,
    table: Annotated[
        Literal["points", "requests", "server"], typer.Option(help="Load points, requests, or the server's metrics.")
    ] = "points",
    to: Annotated[Path | None, typer.Option("--to", help="Write this file instead of stdout.")] = None,
    results_dir: ResultsOption = Path("results"),
    output: Annotated[Literal["csv", "json", "parquet"], typer.Option("--output", "-o", help="Form.")] = "csv",
) -> None:
    """Write points of curves, or the records behind them, for other tools.

    Columns carry their unit: ttft_p90_s is seconds, sent_ns nanoseconds, output_tps tokens/s. `giq benchmarks import`
    reads points back with the same values.

    Example: giq benchmarks export results/run=20261121-120000-ab12 -o csv --table requests --to requests.csv
    """
    import io
    import sys

    from giq.cli.at_hand import curves_at_hand
    from giq.errors import UsageError
    from giq.store.at_hand import runs_of
    from giq.store.export import points_of, records_of_runs, write_export
    from giq.store.parquet import write_bytes

    if to is None and output == "parquet" and sys.stdout.isatty():
        raise UsageError("Parquet is not for a terminal", hint="Give a file: --to points.parquet.")
    if table == "points":
        found = points_of(chosen_curves(which, results_dir))
    else:
        curves_at_hand(results_dir, which or ())  # recovers what a crash left, and tells what is damaged
        found = records_of_runs(runs_of(which or (), results_dir), table)
    sink = io.BytesIO()
    write_export(found, table, output, sink)
    if to is not None:
        write_bytes(to, sink.getvalue())
    else:
        sys.stdout.buffer.write(sink.getvalue())
        sys.stdout.flush()


def import_results(
    files: Annotated[list[Path], typer.Argument(help="Result files, or folders of them.")],
    accelerator: Annotated[
        str | None, typer.Option(help="NAME[:COUNT or :TOPOLOGY] it ran on; no tool tells.", rich_help_panel=SERVER)
    ] = None,
    model: Annotated[
        str | None, typer.Option(help="Model; default what the file says.", rich_help_panel=SERVER)
    ] = None,
    server: Annotated[
        Literal["vllm", "unknown"] | None,
        typer.Option(help="Server; default what the file says.", rich_help_panel=SERVER),
    ] = None,
    server_version: Annotated[str | None, typer.Option(help="Its version.", rich_help_panel=SERVER)] = None,
    machine_type: Annotated[str | None, typer.Option(help="Machine type.", rich_help_panel=SERVER)] = None,
    tensor_parallel_size: Annotated[
        int | None, typer.Option(help="Tensor-parallel ranks.", min=1, rich_help_panel=SERVER)
    ] = None,
    precision: Annotated[str | None, typer.Option(help="Precision of the weights.", rich_help_panel=SERVER)] = None,
    engine_arg: EngineArgOption = None,
    use_case: UseCaseOption = None,
    input_tokens: InputOption = None,
    output_tokens: OutputTokensOption = None,
    arrival: Annotated[
        str | None,
        typer.Option(help="Arrival law, where the file does not tell: poisson or gamma:K.", rich_help_panel=WORKLOAD),
    ] = None,
    concurrency: Annotated[
        int | None, typer.Option(help="Closed loop, where the file does not tell.", min=1, rich_help_panel=WORKLOAD)
    ] = None,
    request_rate: Annotated[
        float | None, typer.Option(help="Rate in req/s, where the file does not tell.", rich_help_panel=WORKLOAD)
    ] = None,
) -> None:
    """Read result files of vllm bench serve, GuideLLM, inference-perf and AIPerf, and giq's own exports of points.

    What is imported was measured by another tool: its evidence is `published` with the tool and the file as its
    source, its hardware `declared`. It goes to $GIQ_HOME/benchmarks, where list, show and recommend find it. Each
    metric keeps its meaning; what a file lacks is null, and is said.

    Example: giq benchmarks import guidellm.json --accelerator nvidia-l4 --model llama-3-8b --server-version 0.32.0
    """
    from giq.catalog import load_catalog
    from giq.profiling.options import Declared as UnitDeclaration
    from giq.profiling.options import parse_accelerator, parse_engine_args
    from giq.store.at_hand import keep_imported
    from giq.store.export import is_export, read_export
    from giq.store.imports.conversion import imported_curve
    from giq.store.imports.formats import read_result
    from giq.workload.workload import parse_arrival

    catalog = load_catalog()
    given = any((use_case, input_tokens, output_tokens))
    loads = loads_of(str(concurrency) if concurrency else None, str(request_rate) if request_rate else None)
    options = _Options(
        unit=UnitDeclaration(
            model=model,
            accelerator=parse_accelerator(accelerator) if accelerator else None,
            machine_type=machine_type,
            precision=precision,
            tensor_parallel_size=tensor_parallel_size,
            engine_args=parse_engine_args(tuple(engine_arg or ())),
        ),
        server=server,
        server_version=server_version,
        workload=workload_of(catalog, use_case, (input_tokens, output_tokens), "poisson")[0] if given else None,
        arrival=parse_arrival(arrival) if arrival else None,
        load=loads[0] if loads else None,
    )
    curves: list[Curve] = []
    for path in files:
        if is_export(path):
            curves += read_export(path)
        else:
            result = read_result(path)
            curves.append(imported_curve(result, _declared(result, options, catalog)))
            _tell(result, curves[-1])
    keep_imported(curves)
    _tell_kept(curves)


@dataclass(frozen=True)
class _Options:
    """What the options of `giq benchmarks import` say of every file."""

    unit: UnitDeclaration
    server: Literal["vllm", "unknown"] | None
    server_version: str | None
    workload: Workload | None
    arrival: Arrival | None
    load: Load | None


def _declared(result: ForeignResult, options: _Options, catalog: Catalog) -> Declared:
    """What *options* say of *result*, and where they do not what its file does.

    Raises:
        UsageError: neither says what model and accelerator it was.
    """
    from giq.documents import replace
    from giq.errors import UsageError
    from giq.load.identity import ServerIdentity
    from giq.profiling.configuration import identify
    from giq.store.imports.conversion import Declared

    model = options.unit.model or result.model
    if model is None or options.unit.accelerator is None:
        wanted = "--model llama-3-8b" if model is None else "--accelerator nvidia-l4"
        raise UsageError(
            f"the file does not tell the {'model' if model is None else 'accelerator'}",
            where=result.where,
            hint=f"Say it: {wanted}. It is then marked as declared.",
        )
    answered = ServerIdentity(
        server=options.server or ("vllm" if result.server == "vllm" else "unknown"),
        version=options.server_version, models=(model,), model=model, max_model_len=None, simulated=None,
        metrics=False, rtt_s=0.0, alphabet=None, accepts_token_ids=False, busy=None,
    )  # fmt: skip
    unit = identify(replace(options.unit, model=model), answered, None, catalog)
    return Declared(config=unit.config, workload=options.workload, load=options.load, arrival=options.arrival)


def _tell(result: ForeignResult, curve: Curve) -> None:
    """Say what was read, and what the file lacks."""
    from giq.curve.flags import FLAGS
    from giq.show.terminal import say
    from giq.store.imports.conversion import lacking

    valid = len(curve.valid_points)
    say(f"{result.where}: {result.tool}, {len(curve.points)} load points, {valid} of them valid.")
    for words in (*result.notes, *lacking(curve)):
        say(f"  {words}")
    for flag in sorted({flag for point in curve.points for flag in point.flags if flag != "COUNTERS_UNAVAILABLE"}):
        say(f"  {flag}: {FLAGS[flag]}")


def _tell_kept(curves: list[Curve]) -> None:
    """Print the imported curves, and say where they are and what they count as."""
    from giq.show.curves import curves_table
    from giq.show.table import write
    from giq.show.terminal import data_console, say
    from giq.store.at_hand import imports_folder

    write(curves_table(curves), "table", data_console())
    say(f"Kept in {imports_folder()}.")
    if any(curve.evidence == "published" for curve in curves):
        say("published: measured by another tool than giq, on hardware as declared.")
