"""`giq recommend`: the cheapest accelerator within the targets, with the evidence."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from giq.cli.asked import (
    ArrivalOption,
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
    targets_of,
    workload_of,
)

if TYPE_CHECKING:
    from giq.catalog import Catalog
    from giq.cli.asked import OutputForm
    from giq.curve.curve import Curve
    from giq.recommend.recommendation import Recommendation
    from giq.recommend.requirement import Requirement

ASKED, COST = "Requirement", "Cost"


def recommend(
    model: Annotated[str, typer.Option(help="Model, like llama-3-8b.", rich_help_panel=ASKED)],
    request_rate: Annotated[
        float | None, typer.Option(help="Requests/s to carry; then ranked by USD/hour.", rich_help_panel=ASKED)
    ] = None,
    spare_replicas: Annotated[int, typer.Option(help="Replicas beyond the needed.", min=0, rich_help_panel=ASKED)] = 0,
    accelerator: Annotated[
        list[str] | None, typer.Option(help="Only this accelerator; may be repeated.", rich_help_panel=ASKED)
    ] = None,
    precision: Annotated[
        str | None, typer.Option(help="Precision of the weights; default as served.", rich_help_panel=ASKED)
    ] = None,
    measured_only: Annotated[
        bool, typer.Option("--measured-only", help="Refuse estimated rows.", rich_help_panel=ASKED)
    ] = False,
    attainment: Annotated[
        float | None,
        typer.Option(help="Share of requests that must meet all targets at once.", rich_help_panel=ASKED),
    ] = None,
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
    region: Annotated[str, typer.Option(help="Region of the prices.", rich_help_panel=COST)] = "us-central1",
    pricing: Annotated[
        str,
        typer.Option(help="on-demand, spot, 1-year-cud, 3-years-cud or flex-start.", rich_help_panel=COST),
    ] = "on-demand",
    output_input_cost_ratio: Annotated[
        float, typer.Option(help="Price of an output token over an input token's.", rich_help_panel=COST)
    ] = 4.0,
    results_dir: ResultsOption = Path("results"),
    output: OutputOption = "table",
) -> None:
    """Rank accelerators for a model by cost within latency targets, on measured and estimated curves.

    Example: giq recommend --model llama-3-8b --target-ttft 300ms
    """
    from giq.catalog import load_catalog
    from giq.cli.at_hand import curves_at_hand
    from giq.documents import validate
    from giq.errors import CatalogError, UsageError
    from giq.recommend.recommendation import require_any
    from giq.recommend.requirement import Requirement

    catalog = load_catalog()
    workload, _ = workload_of(
        catalog, use_case, (input_tokens, output_tokens), arrival, Sharing(shared_prefix, turns, think_time)
    )
    if not workload.arrival.is_steady:
        raise UsageError("no capacity is read off a ramp", hint="Name the law that your requests follow, like poisson.")
    targets = targets_of(
        percentile, ttft=target_ttft, tpot=target_tpot, itl=target_itl, ntpot=target_ntpot, latency=target_latency
    )
    stored = curves_at_hand(results_dir)
    asked = {
        "model": _model(model, catalog, stored),
        "workload": _raw(workload),
        "targets": [_raw(target) for target in targets],
        "request_rate_rps": request_rate,
        "spare_replicas": spare_replicas,
        "region": _region(region, catalog),
        "pricing_model": pricing,
        "output_input_ratio": output_input_cost_ratio,
        "accelerators": [catalog.accelerator(name).name for name in accelerator] if accelerator else None,
        "precision": precision,
        "evidence_floor": "measured" if measured_only else None,
        "attainment": attainment,
    }
    try:
        requirement = validate(asked, Requirement, "the command line")
    except CatalogError as error:
        raise UsageError(error.what, hint="See giq recommend --help.") from None
    recommendation = _recommendation(requirement, catalog, stored)
    _tell(recommendation, output)
    require_any(recommendation)
    _keep(recommendation)


def _raw(value: object) -> object:
    from giq.documents import plain

    return plain(value)


def _region(name: str, catalog: Catalog) -> str:
    from giq.errors import UnknownNameError

    if name not in catalog.regions():
        raise UnknownNameError("region", name, catalog.regions())
    return name


def _model(name: str, catalog: Catalog, stored: list[Curve]) -> str:
    """The catalog's name of a model; one outside the catalog must have been measured."""
    from giq.errors import UnknownNameError

    try:
        return catalog.model(name).name
    except UnknownNameError:
        if any(curve.config.main.model == name for curve in stored):
            return name
        raise


def _recommendation(requirement: Requirement, catalog: Catalog, stored: list[Curve]) -> Recommendation:
    """Curves at hand, estimates for the rest, ranked: those that ship where they are of the same engine."""
    from giq.recommend.answer import answer
    from giq.recommend.shipped_curves import shipped_curves
    from giq.show.live import counting

    ships = shipped_curves(requirement)
    known, processes = [*stored, *ships.published], os.cpu_count() or 1
    with counting("Predicting what is not measured") as progress:
        return answer(known, requirement, catalog, progress, processes, ships.estimates)


def _keep(recommendation: Recommendation) -> None:
    """Keep the answer for `giq manifest`; it has been printed already, so failing here costs nothing else."""
    from giq.errors import StorageError
    from giq.recommend.saved import save_recommendation
    from giq.show.terminal import warn

    try:
        save_recommendation(recommendation)
    except StorageError as error:
        warn(str(error))


def _tell(recommendation: Recommendation, form: OutputForm) -> None:
    from giq.documents import dump_yaml, encode_json
    from giq.show.recommendation import recommendation_table, rejected_table, words
    from giq.show.table import write
    from giq.show.terminal import data_console, say, talk_console

    console = data_console()
    if form in ("json", "yaml"):
        text = encode_json(recommendation, 2).decode() + "\n" if form == "json" else dump_yaml(recommendation)
        console.file.write(text)
        return
    if recommendation.rows:
        write(recommendation_table(recommendation), form, console)
    if recommendation.rejected:
        write(rejected_table(recommendation), "table" if form == "csv" else form, talk_console())
    for sentence in words(recommendation, wide=form == "wide"):
        say(sentence, "dim")
