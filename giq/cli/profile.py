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
    PrefixOption,
    ResultsOption,
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
from giq.errors import UsageError
from giq.units import parse_duration


def _panel(panel: str, words: str, least: int | None = None) -> typer.models.OptionInfo:
    info = typer.Option(help=words, rich_help_panel=panel, min=least)
    assert isinstance(info, typer.models.OptionInfo)  # noqa: S101 - typer declares Any
    return info


def profile(
    context: typer.Context,
    run: Annotated[str, typer.Argument(help="With --resume: a run's id or folder, or latest.")] = "latest",
    resume: Annotated[bool, _panel(LOADS, "Go on with a run that was interrupted or killed.")] = False,
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
    shared_prefix: PrefixOption = None,
    turns: TurnsOption = None,
    think_time: ThinkOption = None,
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
    budget: Annotated[
        str | None,
        _panel(LOADS, "Wall time of a search, like 10m (default: no load begins after 1h)."),
    ] = None,
    timeout: Annotated[str, _panel(LOADS, "Give a request up after this time.")] = "10m",
    seed: Annotated[int, _panel(LOADS, "Fixes arrivals, lengths and their order.", least=0)] = 0,
    workers: Annotated[str, _panel(LOADS, "Client processes, or auto: what the load needs.")] = "auto",
    results_dir: ResultsOption = Path("results"),
    quiet: Annotated[bool, _panel(OUTPUT, "No progress.")] = False,
    output: OutputOption = "table",
) -> None:
    """Measure how a server saturates, and save the curve.

    Example: giq profile --endpoint http://localhost:8000 --use-case chatbot --target-ttft 300ms
    """
    from giq.catalog import load_catalog
    from giq.cli.profiling import Choice, run_profile
    from giq.cli.resuming import resume_profile
    from giq.profiling.options import Declared, ProfileOptions, parse_accelerator, parse_engine_args

    catalog = load_catalog()
    workload, trace = workload_of(
        catalog, use_case, (input_tokens, output_tokens), arrival, Sharing(shared_prefix, turns, think_time)
    )
    loads, stop = loads_of(concurrency, request_rate), stop_of(requests, duration)
    given = [name for name in context.params if _is_given(context, name)]
    if not resume:
        loads = loads_under(workload, loads, stop)
        timed = requests is not None or duration is not None
        _refuse_idle_options(
            ("run" in given, "Names of runs", "--resume"),
            (timed and not loads, "--requests and --duration", "explicit loads"),
            (budget is not None and bool(loads), "--budget", "a search, which explicit loads replace"),
            (not launch and (python is not None or trust_remote_code), "--python and --trust-remote-code", "--launch"),
        )
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
        stop=stop,
        seed=seed,
        request_timeout_s=parse_duration(timeout),
        budget_s=None if budget is None else parse_duration(budget),
        workers=_workers_of(workers),
        shared=shared,
    )
    choice = Choice(
        endpoint=endpoint, launch=launch, simulate=simulate, python=python, trust_remote_code=trust_remote_code,
        api=api, api_key_file=api_key_file, ca_file=ca_file, yes=yes, quiet=quiet, results_dir=results_dir,
        output=output, trace_file=Path(arrival.removeprefix("trace:")) if trace else None,
    )  # fmt: skip
    if resume:
        resume_profile(run, choice, options, given, catalog)
    else:
        run_profile(choice, options, trace, catalog)


def _is_given(context: typer.Context, name: str) -> bool:
    """Whether the option *name* stands in the command line."""
    source = context.get_parameter_source(name)
    return source is not None and source.name == "COMMANDLINE"


def _workers_of(text: str) -> int | None:
    """A number of client processes; None for `auto`."""
    if text == "auto":
        return None
    if not text.isdecimal() or int(text) < 1:
        raise UsageError(f"--workers {text!r} is neither auto nor a number above zero", hint="Like --workers 2.")
    return int(text)


def _refuse_idle_options(*cases: tuple[bool, str, str]) -> None:
    """Refuse options that would do nothing as they are given."""
    for idle, options, wanted in cases:
        if idle:
            raise UsageError(f"{options} need {wanted}", hint="Leave them out, or see giq profile --help.")
