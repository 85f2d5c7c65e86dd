"""`giq predict`: the curve of a model on an accelerator from the simulated engine, in virtual time."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from giq.cli.asked import (
    LOADS,
    SERVER,
    ArrivalOption,
    EngineArgOption,
    InputOption,
    OutputOption,
    OutputTokensOption,
    PercentileOption,
    PrefixOption,
    Sharing,
    ThinkOption,
    TpotOption,
    TtftOption,
    TurnsOption,
    UseCaseOption,
    loads_of,
    loads_under,
    stop_of,
    targets_of,
    workload_of,
)
from giq.cli.scoring import print_score
from giq.units import parse_percentile

SCORE = "Score"


def predict(
    model: Annotated[str | None, typer.Option(help="Model, like llama-3-8b.", rich_help_panel=SERVER)] = None,
    accelerator: Annotated[str | None, typer.Option(help="NAME[:COUNT or :TOPOLOGY].", rich_help_panel=SERVER)] = None,
    machine_type: Annotated[str | None, typer.Option(help="Machine type.", rich_help_panel=SERVER)] = None,
    tensor_parallel_size: Annotated[
        int | None, typer.Option(help="Tensor-parallel ranks.", min=1, rich_help_panel=SERVER)
    ] = None,
    precision: Annotated[str | None, typer.Option(help="Precision of the weights.", rich_help_panel=SERVER)] = None,
    engine_arg: EngineArgOption = None,
    use_case: UseCaseOption = None,
    input_tokens: InputOption = None,
    output_tokens: OutputTokensOption = None,
    arrival: ArrivalOption = "poisson",
    shared_prefix: PrefixOption = None,
    turns: TurnsOption = None,
    think_time: ThinkOption = None,
    target_ttft: TtftOption = None,
    target_tpot: TpotOption = None,
    percentile: PercentileOption = "p90",
    concurrency: Annotated[str | None, typer.Option(help="Closed loops.", rich_help_panel=LOADS)] = None,
    request_rate: Annotated[str | None, typer.Option(help="Open loops in req/s.", rich_help_panel=LOADS)] = None,
    requests: Annotated[int | None, typer.Option(help="Requests per load.", min=1, rich_help_panel=LOADS)] = None,
    duration: Annotated[str | None, typer.Option(help="Time per load (default 60s).", rich_help_panel=LOADS)] = None,
    seed: Annotated[int, typer.Option(help="Fixes arrivals and lengths.", min=0, rich_help_panel=LOADS)] = 0,
    score: Annotated[
        Path | None, typer.Option(help="Judge predictions on the scored rows of this CSV file.", rich_help_panel=SCORE)
    ] = None,
    calibration_points: Annotated[
        int, typer.Option(help="Rows of each group to fit; the others are judged.", min=0, rich_help_panel=SCORE)
    ] = 0,
    output: OutputOption = "table",
) -> None:
    """Predict the saturation curve of a model on an accelerator; nothing is measured.

    Example: giq predict --model llama-3-8b --accelerator nvidia-l4 --use-case chatbot
    """
    if score is not None:
        print_score(score, calibration_points, output)
        return
    from giq.catalog import load_catalog
    from giq.cli.declared import declared_configuration
    from giq.curve.curve import Curve
    from giq.engine.calibrations import basis, kept_calibrations, predicting
    from giq.engine.prediction import predict_curve, predict_point
    from giq.profiling.options import Declared, parse_accelerator, parse_engine_args
    from giq.show.curves import curve_title
    from giq.show.points import points_table
    from giq.show.table import write
    from giq.show.terminal import data_console, say

    catalog = load_catalog()
    declared = Declared(
        model=model,
        accelerator=parse_accelerator(accelerator) if accelerator else None,
        machine_type=machine_type,
        precision=precision,
        tensor_parallel_size=tensor_parallel_size,
        engine_args=parse_engine_args(tuple(engine_arg or ())),
    )
    workload, trace = workload_of(
        catalog, use_case, (input_tokens, output_tokens), arrival, Sharing(shared_prefix, turns, think_time)
    )
    config = declared_configuration(declared, workload, catalog)
    spec = predicting(config, catalog, kept_calibrations())
    targets = targets_of(percentile, ttft=target_ttft, tpot=target_tpot)
    stop = stop_of(requests, duration)
    loads = loads_under(workload, loads_of(concurrency, request_rate), stop)
    if loads:
        points = [predict_point(spec, workload, load, seed, targets, stop, trace) for load in loads]
        curve = Curve(config, workload, tuple(points))
    else:
        curve = predict_curve(spec, workload, targets, seed, trace)
    write(points_table(curve.points, curve_title(curve), parse_percentile(percentile)), output, data_console())
    say(f"Estimated by the simulated engine, not measured. Rests on {basis(spec.calibration)}.", "dim")
