"""The catalog as tables: models, accelerators, use cases, servers, prices."""

from __future__ import annotations

from typing import Any

from giq.catalog import Catalog, Lengths
from giq.catalog.prices import PRICING_MODELS
from giq.documents import plain
from giq.show.table import Column, Table
from giq.units import format_usd


def _billions(value: Any) -> str:
    return f"{value / 1e9:.1f} B"


def _gigabytes(value: Any) -> str:
    return f"{value / 1e9:.1f} GB"


def models_table(catalog: Catalog) -> Table:
    """Models with their size and what is served by default."""
    columns = (
        Column("name", "Model", fold=False),
        Column("title", "Title"),
        Column("parameters", "Parameters", _billions, right=True),
        Column("active_parameters", "Active", _billions, right=True),
        Column("precision", "Served as"),
        Column("weight_bytes", "Weights", _gigabytes, right=True),
        Column("max_context", "Context (tokens)", right=True),
        Column("repository", "Repository"),
        Column("origin", "From", wide=True),
    )
    rows = [
        plain(model)
        | {
            "precision": model.weights[0].precision,
            "weight_bytes": model.weights[0].bytes,
            "repository": model.weights[0].repository,
            "active_parameters": model.active_parameters,
            "origin": catalog.origin("model", model.name),
        }
        for model in catalog.models
    ]
    return Table("Models", columns, rows)


PHYSICS = ("memory_gb", "bandwidth_gb_s", "bf16_tflops", "peak_tflops")


def accelerators_table(catalog: Catalog) -> Table:
    """Accelerators with memory, bandwidth and peak rate of one chip."""
    columns = (
        Column("name", "Accelerator", fold=False),
        Column("title", "Title"),
        Column("aliases", "Also"),
        Column("memory_gb", "Memory (GB)", right=True),
        Column("bandwidth_gb_s", "Bandwidth (GB/s)", right=True),
        Column("bf16_tflops", "bf16 (TFLOP/s)", right=True),
        Column("on_gke", "On GKE"),
        Column("machine_types", "Machines", wide=True),
        Column("origin", "From", wide=True),
    )
    rows = [
        plain(accelerator)
        | {
            "aliases": list(accelerator.aliases),
            "bf16_tflops": accelerator.peak_tflops.bf16,
            "machine_types": sorted({shape.machine_type for shape in accelerator.shapes}),
            "origin": catalog.origin("accelerator", accelerator.name),
        }
        | ({} if accelerator.kind != "cpu" else dict.fromkeys(PHYSICS))  # the catalog's figures of a CPU stand for none
        for accelerator in catalog.accelerators
    ]
    return Table("Accelerators", columns, rows)


def use_cases_table(catalog: Catalog) -> Table:
    """Use cases with their token lengths and where those are from."""
    columns = (
        Column("name", "Use case", fold=False),
        Column("title", "Title"),
        Column("input", "Input tokens"),
        Column("output", "Output tokens"),
        Column("source_title", "Source"),
        Column("origin", "From", wide=True),
    )
    rows = [
        plain(use_case)
        | {
            "input": _lengths(use_case.input_tokens),
            "output": _lengths(use_case.output_tokens),
            "source_title": f"{use_case.source.title} ({use_case.source.date})",
            "origin": catalog.origin("use case", use_case.name),
        }
        for use_case in catalog.use_cases
    ]
    return Table("Use cases", columns, rows)


def _lengths(lengths: Lengths) -> str:
    if lengths.distribution == "fixed":
        return f"{lengths.mean:g}"
    return f"{lengths.distribution}, mean {lengths.mean:g}, {lengths.minimum} to {lengths.maximum or '–'}"


def servers_table(catalog: Catalog) -> Table:
    """Model servers by version, newest first."""
    columns = (
        Column("server", "Server", fold=False),
        Column("version", "Version"),
        Column("released", "Released"),
        Column("images", "Images", lambda images: ", ".join(f"{kind}: {image}" for kind, image in images.items())),
        Column("origin", "From", wide=True),
    )
    rows = [
        {"server": server.name, "origin": catalog.origin("server", server.name)} | plain(version)
        for server in catalog.servers
        for version in server.versions
    ]
    return Table("Model servers", columns, rows)


def prices_table(catalog: Catalog, region: str | None) -> Table:
    """Prices in USD per hour of one machine or chip, with their date and source."""
    columns = (
        Column("machine", "Machine or chip", fold=False),
        Column("region", "Region"),
        *(Column(model, model, lambda v: format_usd(v), right=True, fold=False) for model in PRICING_MODELS),
        Column("unit", "Per hour of a"),
        Column("date", "Found"),
        Column("source", "Source", wide=True),
    )
    rows = [
        {
            "machine": machine,
            "region": prices.region,
            "unit": prices.unit,
            "date": prices.source.date,
            "source": prices.source.title,
        }
        | {str(model): usd.get(model) for model in PRICING_MODELS}
        for prices in catalog.price_lists
        if region in (None, prices.region)
        for machine, usd in prices.usd_per_hour.items()
    ]
    return Table("Prices, USD per hour", columns, rows)
