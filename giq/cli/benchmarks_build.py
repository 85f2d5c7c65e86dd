"""`giq benchmarks build`: the database that ships, made anew from the catalog and the engine."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from giq.catalog import Catalog


def build_database(
    to: Annotated[Path, typer.Option("--to", help="Folder of the database, like benchmarks.")],
    model: Annotated[list[str] | None, typer.Option(help="Only this model; may be repeated.")] = None,
    accelerator: Annotated[list[str] | None, typer.Option(help="Only this accelerator; may be repeated.")] = None,
    use_case: Annotated[list[str] | None, typer.Option(help="Only this use case; may be repeated.")] = None,
    processes: Annotated[int | None, typer.Option(help="Processes; default one for each CPU.", min=1)] = None,
) -> None:
    """Predict the curves of the whole catalog, and put them and published points into a database (for developers).

    Every model that fits, in every precision it is published in, on every accelerator and slice, for every use case:
    one file a model below TO/estimates, replaced as a whole (also by a part of it). Published points come from
    TO/published.csv. The same catalog, calibrations and engine give the same bytes.

    Example: giq benchmarks build --to benchmarks
    """
    from itertools import groupby

    from giq.catalog import load_catalog
    from giq.recommend.catalog_curves import Part, catalog_curves, units
    from giq.show.live import counting
    from giq.show.terminal import say
    from giq.store.compact import write_estimates

    catalog = load_catalog()
    part = Part(*(tuple(names) if names else None for names in (model, accelerator, use_case)))
    asked = units(part, catalog)
    curves = catalog_curves(asked, processes or os.cpu_count() or 1)
    written: list[Path] = []
    made = points = 0
    with counting("Predicting the catalog") as progress:
        pairs = enumerate(zip(asked, curves, strict=True), 1)
        for name, group in groupby(pairs, key=lambda pair: pair[1][0][0].model.name):
            found = []
            for done, (_, curve) in group:
                progress(done, len(asked))
                found += [] if curve is None else [curve]
            written.append(write_estimates(to, name, found))
            made, points = made + len(found), points + sum(len(curve.points) for curve in found)
    if part == Part():
        for file in set((to / "estimates").glob("*.parquet")) - set(written):
            file.unlink()  # of a model that is no longer in the catalog
    size = sum(file.stat().st_size for file in written)
    say(f"{made:,} estimated curves of {len(asked):,} units and use cases, {points:,} points: {size / 1e6:.1f} MB.")
    if (to / "published.csv").exists():
        say(f"{_published(to, catalog)} published points.")


def _published(to: Path, catalog: Catalog) -> int:
    """Put the published points beside the estimates; how many there are."""
    from giq.engine.published import read_published
    from giq.engine.published_curves import published_curves
    from giq.store.compact import write_compact
    from giq.store.export import points_of

    table = points_of(published_curves(read_published(to / "published.csv", catalog)))
    write_compact(to / "published.parquet", table)
    return len(table)
