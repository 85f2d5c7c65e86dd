"""`giq predict`: the curve of a model on an accelerator from the simulated engine, in virtual time."""

from __future__ import annotations

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
    TpotOption,
    TtftOption,
    UseCaseOption,
    loads_of,
    stop_of,
    targets_of,
    workload_of,
)
from giq.units import parse_percentile


def predict(
    model: Annotated[str, typer.Option(help="Model, like llama-3-8b.", rich_help_panel=SERVER)],
    accelerator: Annotated[str, typer.Option(help="NAME[:COUNT or :TOPOLOGY].", rich_help_panel=SERVER)],
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
    target_ttft: TtftOption = None,
    target_tpot: TpotOption = None,
    percentile: PercentileOption = "p90",
    concurrency: Annotated[str | None, typer.Option(help="Closed loops.", rich_help_panel=LOADS)] = None,
    request_rate: Annotated[str | None, typer.Option(help="Open loops in req/s.", rich_help_panel=LOADS)] = None,
    requests: Annotated[int | None, typer.Option(help="Requests per load.", min=1, rich_help_panel=LOADS)] = None,
    duration: Annotated[str | None, typer.Option(help="Time per load (default 60s).", rich_help_panel=LOADS)] = None,
    seed: Annotated[int, typer.Option(help="Fixes arrivals and lengths.", min=0, rich_help_panel=LOADS)] = 0,
    output: OutputOption = "table",
) -> None:
    """Predict the saturation curve of a model on an accelerator; nothing is measured.

    Example: giq predict --model llama-3-8b --accelerator nvidia-l4 --use-case chatbot
    """
    from giq.catalog import load_catalog
    from giq.cli.declared import declared_configuration
    from giq.curve.curve import Curve
    from giq.engine.prediction import predict_curve, predict_point
    from giq.engine.spec import EngineSpec
    from giq.profiling.options import Declared, parse_accelerator, parse_engine_args
    from giq.show.curves import curve_title
    from giq.show.points import points_table
    from giq.show.table import write
    from giq.show.terminal import data_console, say

    catalog = load_catalog()
    declared = Declared(
        model=model,
        accelerator=parse_accelerator(accelerator),
        machine_type=machine_type,
        precision=precision,
        tensor_parallel_size=tensor_parallel_size,
        engine_args=parse_engine_args(tuple(engine_arg or ())),
    )
    workload, trace = workload_of(catalog, use_case, (input_tokens, output_tokens), arrival)
    config = declared_configuration(declared, workload, catalog)
    spec = EngineSpec.of(config, catalog)
    targets = targets_of(percentile, ttft=target_ttft, tpot=target_tpot)
    loads = loads_of(concurrency, request_rate)
    if loads:
        stop = stop_of(requests, duration)
        points = [predict_point(spec, workload, load, seed, targets, stop, trace) for load in loads]
        curve = Curve(config, workload, tuple(points))
    else:
        curve = predict_curve(spec, workload, targets, seed, trace)
    write(points_table(curve.points, curve_title(curve), parse_percentile(percentile)), output, data_console())
    say("Estimated by the simulated engine, not measured.", "dim")
