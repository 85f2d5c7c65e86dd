"""What ships beside the measured curves, in numbers: without reading a single point."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from giq.catalog.shipped import shipped
from giq.store.parquet import open_table, read_rows
from giq.store.schema import POINTS

_COLUMNS = ["model", "curve_id", "precision", "accelerator", "accelerators_total", "use_case"]


@dataclass(frozen=True)
class ShippedModel:
    """The curves of one model and kind of evidence that ship: how many, and of what."""

    model: str
    evidence: str
    curves: int
    precisions: tuple[str, ...]
    accelerators: tuple[str, ...]
    units: int
    use_cases: tuple[str, ...]


def shipped_models() -> list[ShippedModel]:
    """What ships, by model: estimates, then published points.

    Raises:
        DataError: a file is damaged.
    """
    folder = shipped("benchmarks")
    estimated = [one for file in sorted(folder.glob("estimates/*.parquet")) for one in _models(file, "estimated")]
    published = [one for file in folder.glob("published.parquet") for one in _models(file, "published")]
    return estimated + published


def _models(file: Path, evidence: str) -> Iterator[ShippedModel]:
    with open_table(file, POINTS, str(file)) as opened:
        rows = read_rows(opened, str(file), columns=_COLUMNS).to_pylist()
    for model in sorted({row["model"] for row in rows}):
        ours = [row for row in rows if row["model"] == model]
        yield ShippedModel(
            model=model,
            evidence=evidence,
            curves=len({row["curve_id"] for row in ours}),
            precisions=tuple(sorted({row["precision"] for row in ours})),
            accelerators=tuple(sorted({row["accelerator"] for row in ours})),
            units=len({(row["accelerator"], row["accelerators_total"], row["precision"]) for row in ours}),
            use_cases=tuple(sorted({row["use_case"] for row in ours} - {None})),
        )
