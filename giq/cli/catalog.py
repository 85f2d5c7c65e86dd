"""`giq models | accelerators | use-cases | servers | prices`: what the catalog knows, and which layer said it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from giq.cli.asked import OutputOption

if TYPE_CHECKING:
    from giq.catalog import Catalog
    from giq.show.table import OutputFormat, Table


def _list(kind: str, form: OutputFormat, **options: Any) -> None:
    from giq.catalog import load_catalog
    from giq.show import catalog as tables
    from giq.show.table import write
    from giq.show.terminal import data_console

    make = getattr(tables, f"{kind}_table")
    table: Table = make(load_catalog(), **options)
    write(table, form, data_console())


def _show(entry: object, origin: str) -> None:
    from giq.documents import dump_yaml
    from giq.show.terminal import data_console, say

    say(f"From {origin}")
    data_console().file.write(dump_yaml(entry))


def _catalog() -> Catalog:
    from giq.catalog import load_catalog

    return load_catalog()


models_app = typer.Typer(help="Models of the catalog.", no_args_is_help=True)
accelerators_app = typer.Typer(help="Accelerators and their machines.", no_args_is_help=True)
use_cases_app = typer.Typer(help="Named workloads.", no_args_is_help=True)
servers_app = typer.Typer(help="Model servers by version.", no_args_is_help=True)
prices_app = typer.Typer(help="Prices by region and pricing model.", no_args_is_help=True)

NameArgument = Annotated[str, typer.Argument(help="Name or alias.")]


@models_app.command("list")
def list_models(output: OutputOption = "table") -> None:
    """List the models.

    Example: giq models list -o json
    """
    _list("models", output)


@models_app.command("show")
def show_model(name: NameArgument) -> None:
    """Print one model as YAML.

    Example: giq models show llama-3-8b
    """
    catalog = _catalog()
    model = catalog.model(name)
    _show(model, catalog.origin("model", model.name))


@accelerators_app.command("list")
def list_accelerators(output: OutputOption = "table") -> None:
    """List the accelerators.

    Example: giq accelerators list
    """
    _list("accelerators", output)


@accelerators_app.command("show")
def show_accelerator(name: NameArgument) -> None:
    """Print one accelerator as YAML.

    Example: giq accelerators show trillium
    """
    catalog = _catalog()
    accelerator = catalog.accelerator(name)
    _show(accelerator, catalog.origin("accelerator", accelerator.name))


@use_cases_app.command("list")
def list_use_cases(output: OutputOption = "table") -> None:
    """List the use cases.

    Example: giq use-cases list
    """
    _list("use_cases", output)


@use_cases_app.command("show")
def show_use_case(name: NameArgument) -> None:
    """Print one use case as YAML.

    Example: giq use-cases show chatbot
    """
    catalog = _catalog()
    use_case = catalog.use_case(name)
    _show(use_case, catalog.origin("use case", use_case.name))


@servers_app.command("list")
def list_servers(output: OutputOption = "table") -> None:
    """List the model servers and versions.

    Example: giq servers list
    """
    _list("servers", output)


@servers_app.command("show")
def show_server(
    name: NameArgument, version: Annotated[str | None, typer.Argument(help="Version; default the newest.")] = None
) -> None:
    """Print one version as YAML.

    Example: giq servers show vllm 0.24.0
    """
    catalog = _catalog()
    server = catalog.server(name)
    _show(catalog.server_version(server.name, version), catalog.origin("server", server.name))


@prices_app.command("list")
def list_prices(
    region: Annotated[str | None, typer.Option(help="Only this region.")] = None, output: OutputOption = "table"
) -> None:
    """List the prices with their dates.

    Example: giq prices list --region us-central1
    """
    _list("prices", output, region=region)
