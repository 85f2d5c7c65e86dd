"""The table of commands."""

from __future__ import annotations

from typing import Annotated

import typer

from giq import __version__
from giq.cli import benchmarks, calibrate, catalog, engine, manifest, predict, profile, recommend


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"giq {__version__}")
        raise typer.Exit


def application() -> typer.Typer:
    """`giq`, with every command."""
    app = typer.Typer(
        name="giq",
        help="Measure how a vLLM server saturates, find the cheapest accelerator within a latency target, "
        "and write the Kubernetes manifests.",
        no_args_is_help=True,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
    )

    @app.callback()
    def options(
        version: Annotated[
            bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and exit.")
        ] = False,
        debug: Annotated[bool, typer.Option("--debug", help="Show a traceback with an error.")] = False,
    ) -> None:
        """Take the options that come before the command."""

    app.command("profile")(profile.profile)
    app.command("recommend")(recommend.recommend)
    app.command("manifest")(manifest.manifest)
    app.command("predict")(predict.predict)
    app.command("calibrate")(calibrate.calibrate)
    app.add_typer(engine.app, name="engine")
    app.add_typer(catalog.models_app, name="models")
    app.add_typer(catalog.accelerators_app, name="accelerators")
    app.add_typer(catalog.use_cases_app, name="use-cases")
    app.add_typer(catalog.servers_app, name="servers")
    app.add_typer(catalog.prices_app, name="prices")
    app.add_typer(benchmarks.app, name="benchmarks")
    return app
