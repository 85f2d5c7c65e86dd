"""`giq engine serve`: the simulated vLLM over HTTP."""

from __future__ import annotations

from typing import Annotated

import typer

from giq.cli.asked import SERVER, EngineArgOption, UseCaseOption, workload_of

app = typer.Typer(help="The simulated vLLM.", no_args_is_help=True)


@app.callback()
def engine() -> None:
    """Hold the commands of the simulated engine."""


@app.command("serve")
def serve_command(
    model: Annotated[str, typer.Option(help="Model of the catalog.", rich_help_panel=SERVER)],
    accelerator: Annotated[str, typer.Option(help="NAME[:COUNT or :TOPOLOGY].", rich_help_panel=SERVER)],
    machine_type: Annotated[str | None, typer.Option(help="Machine type.", rich_help_panel=SERVER)] = None,
    tensor_parallel_size: Annotated[
        int | None, typer.Option(help="Tensor-parallel ranks.", min=1, rich_help_panel=SERVER)
    ] = None,
    precision: Annotated[str | None, typer.Option(help="Precision of the weights.", rich_help_panel=SERVER)] = None,
    engine_arg: EngineArgOption = None,
    use_case: UseCaseOption = None,
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port to listen on.")] = 8000,
) -> None:
    """Answer like vLLM in real time, with predicted timing; it announces itself as simulated.

    Example: giq engine serve --model llama-3-8b --accelerator nvidia-l4 --port 8000
    """
    from giq.catalog import load_catalog
    from giq.cli.declared import declared_configuration
    from giq.engine.calibrations import kept_calibrations, predicting
    from giq.engine.http_server import run_server
    from giq.profiling.options import Declared, parse_accelerator, parse_engine_args
    from giq.show.terminal import say

    catalog = load_catalog()
    declared = Declared(
        model=model,
        accelerator=parse_accelerator(accelerator),
        machine_type=machine_type,
        tensor_parallel_size=tensor_parallel_size,
        precision=precision,
        engine_args=parse_engine_args(tuple(engine_arg or ())),
    )
    workload, _ = workload_of(catalog, use_case, (None, None), "poisson")
    config = declared_configuration(declared, workload, catalog)
    spec = predicting(config, catalog, kept_calibrations())

    def ready(*_: object) -> None:
        say(f"Simulated {model} on {config.main.accelerator}: http://{host}:{port} (estimated, no real hardware)")

    run_server(spec, host, port, ready)
