"""`giq profile`: measure how a server saturates."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from giq.cli.asked import (
    LOADS,
    OUTPUT,
    SERVER,
    ArrivalOption,
    EngineArgOption,
    InputOption,
    ItlOption,
    LatencyOption,
    NtpotOption,
    OutputOption,
    OutputTokensOption,
    PercentileOption,
    ResultsOption,
    TpotOption,
    TtftOption,
    UseCaseOption,
    loads_of,
    stop_of,
    targets_of,
    workload_of,
)
from giq.errors import UsageError
from giq.units import parse_duration


def _panel(panel: str, words: str, least: int | None = None) -> typer.models.OptionInfo:
    info = typer.Option(help=words, rich_help_panel=panel, min=least)
    assert isinstance(info, typer.models.OptionInfo)  # noqa: S101 - typer declares Any
    return info


def profile(
    endpoint: Annotated[str | None, _panel(SERVER, "URL of the server (default http://localhost:8000).")] = None,
    launch: Annotated[bool, _panel(SERVER, "Start vLLM here, measure it, stop it.")] = False,
    simulate: Annotated[bool, _panel(SERVER, "Start the simulated engine and measure that: estimated.")] = False,
    model: Annotated[str | None, _panel(SERVER, "Model, in the catalog's or the server's words.")] = None,
    accelerator: Annotated[str | None, _panel(SERVER, "NAME[:COUNT or :TOPOLOGY], like nvidia-l4:4.")] = None,
    machine_type: Annotated[str | None, _panel(SERVER, "Machine type, like g2-standard-12.")] = None,
    tensor_parallel_size: Annotated[int | None, _panel(SERVER, "Tensor-parallel ranks.", least=1)] = None,
    precision: Annotated[str | None, _panel(SERVER, "Precision of the weights, like bf16.")] = None,
    engine_arg: EngineArgOption = None,
    python: Annotated[str | None, _panel(SERVER, "With --launch: an interpreter that has vLLM.")] = None,
    trust_remote_code: Annotated[bool, _panel(SERVER, "With --launch: let vLLM run the model's own code.")] = False,
    api: Annotated[Literal["completions", "chat"], _panel(SERVER, "API that is measured.")] = "completions",
    api_key_file: Annotated[Path | None, _panel(SERVER, "File with the key (or set GIQ_API_KEY).")] = None,
    ca_file: Annotated[Path | None, _panel(SERVER, "Certificates to trust for https.")] = None,
    shared: Annotated[bool, _panel(SERVER, "Go on although others use the server; points are flagged.")] = False,
    yes: Annotated[bool, _panel(SERVER, "Do not ask before loading a server that is not on this machine.")] = False,
    use_case: UseCaseOption = None,
    input_tokens: InputOption = None,
    output_tokens: OutputTokensOption = None,
    arrival: ArrivalOption = "poisson",
    target_ttft: TtftOption = None,
    target_tpot: TpotOption = None,
    target_itl: ItlOption = None,
    target_ntpot: NtpotOption = None,
    target_latency: LatencyOption = None,
    percentile: PercentileOption = "p90",
    concurrency: Annotated[str | None, _panel(LOADS, "Closed loops, like 1,8,64 (no search).")] = None,
    request_rate: Annotated[str | None, _panel(LOADS, "Open loops in req/s, like 2,4,8 (no search).")] = None,
    requests: Annotated[int | None, _panel(LOADS, "Requests per explicit load.", least=1)] = None,
    duration: Annotated[str | None, _panel(LOADS, "Time per explicit load (default 60s).")] = None,
    timeout: Annotated[str, _panel(LOADS, "Give a request up after this time.")] = "10m",
    seed: Annotated[int, _panel(LOADS, "Fixes arrivals, lengths and their order.", least=0)] = 0,
    workers: Annotated[int, _panel(LOADS, "Client processes.", least=1)] = 1,
    results_dir: ResultsOption = Path("results"),
    quiet: Annotated[bool, _panel(OUTPUT, "No progress.")] = False,
    output: OutputOption = "table",
) -> None:
    """Measure how a server saturates, and save the curve.

    Example: giq profile --endpoint http://localhost:8000 --use-case chatbot --target-ttft 300ms
    """
    from giq.catalog import load_catalog
    from giq.cli.profiling import Choice, run_profile
    from giq.profiling.options import Declared, ProfileOptions, parse_accelerator, parse_engine_args

    loads = loads_of(concurrency, request_rate)
    _refuse_idle_options(
        (not loads and (requests is not None or duration is not None), "--requests and --duration", "explicit loads"),
        (not launch and (python is not None or trust_remote_code), "--python and --trust-remote-code", "--launch"),
    )
    catalog = load_catalog()
    workload, trace = workload_of(catalog, use_case, (input_tokens, output_tokens), arrival)
    options = ProfileOptions(
        declared=Declared(
            model=model,
            accelerator=parse_accelerator(accelerator) if accelerator else None,
            machine_type=machine_type,
            precision=precision,
            tensor_parallel_size=tensor_parallel_size,
            engine_args=parse_engine_args(tuple(engine_arg or ())),
        ),
        workload=workload,
        targets=targets_of(
            percentile, ttft=target_ttft, tpot=target_tpot, itl=target_itl, ntpot=target_ntpot, latency=target_latency
        ),
        loads=loads,
        stop=stop_of(requests, duration),
        seed=seed,
        request_timeout_s=parse_duration(timeout),
        workers=workers,
        shared=shared,
    )
    choice = Choice(
        endpoint=endpoint, launch=launch, simulate=simulate, python=python, trust_remote_code=trust_remote_code,
        api=api, api_key_file=api_key_file, ca_file=ca_file, yes=yes, quiet=quiet, results_dir=results_dir,
        output=output,
    )  # fmt: skip
    run_profile(choice, options, trace, catalog)


def _refuse_idle_options(*cases: tuple[bool, str, str]) -> None:
    """Refuse options that would do nothing as they are given."""
    for idle, options, wanted in cases:
        if idle:
            raise UsageError(f"{options} need {wanted}", hint="Leave them out, or see giq profile --help.")
