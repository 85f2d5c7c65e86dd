"""Curves as a table: what is served where, under which workload, and how good the evidence is."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

from giq.curve.capacity import Capacity, saturation
from giq.curve.curve import Curve
from giq.profiling.recomputation import Recomputed
from giq.recommend.requirement import workload_words
from giq.show.table import Column, Table
from giq.store.shipped_summary import ShippedModel
from giq.units import format_rate


def curve_title(curve: Curve) -> str:
    """One line that says what a curve is of."""
    main = curve.config.main
    return (
        f"{main.model} ({main.precision}) on {main.accelerator} ×{curve.config.accelerators_total}, "
        f"{main.server} {main.server_version}, {workload_words(curve.workload)}: {curve.evidence}"
    )


def capacity_words(found: Capacity) -> str:
    """A capacity with its 90 % interval and what sets it, in one line."""
    if found.rate is None:
        return found.reason
    lo, hi = found.rate.lo, found.rate.hi
    interval = f" (90 % interval {format_rate(lo)} to {format_rate(hi)})" if lo is not None and hi is not None else ""
    return f"{format_rate(found.rate.value)}{interval}, {found.reason}"


def curves_table(curves: Sequence[Curve]) -> Table:
    """One row per curve."""
    columns = (
        Column("curve_id", "Curve", fold=False),
        Column("model", "Model"),
        Column("precision", "Precision"),
        Column("accelerator", "Accelerator"),
        Column("accelerators", "Count", right=True),
        Column("server", "Server"),
        Column("workload", "Workload"),
        Column("evidence", "Evidence"),
        Column("hardware_source", "Hardware"),
        Column("points", "Points", right=True),
        Column("valid_points", "Valid", right=True),
        Column("saturation_rps", "Saturation", format_rate, right=True),
        Column("measured_at", "Measured"),
        Column("source", "Source", wide=True),
    )
    return Table("Curves", columns, [_row(curve) for curve in curves])


def _row(curve: Curve) -> dict[str, Any]:
    main = curve.config.main
    found = saturation(curve)
    return {
        "curve_id": curve.curve_id,
        "model": main.model,
        "precision": main.precision,
        "accelerator": main.accelerator,
        "accelerators": curve.config.accelerators_total,
        "server": f"{main.server} {main.server_version}",
        "workload": workload_words(curve.workload),
        "evidence": curve.evidence,
        "hardware_source": curve.points[0].provenance.hardware_source,
        "points": len(curve.points),
        "valid_points": len(curve.valid_points),
        "saturation_rps": found.rate.value if found.rate and found.reached else None,
        "source": " / ".join(sorted({point.provenance.source for point in curve.points})),
        "measured_at": max((p.provenance.measured_at for p in curve.points if p.provenance.measured_at), default=None),
    }


def shipped_table(models: Sequence[ShippedModel]) -> Table:
    """One row per model and evidence of what ships."""
    columns = (
        Column("model", "Model"),
        Column("evidence", "Evidence"),
        Column("curves", "Curves", right=True),
        Column("precisions", "Precisions"),
        Column("accelerators", "Accelerators", _count, right=True),
        Column("units", "Units", right=True),
        Column("use_cases", "Use cases", _count, right=True),
    )
    return Table("What ships", columns, [dataclasses.asdict(one) for one in models])


def _count(names: Sequence[str]) -> str:
    return str(len(names))


def recomputed_table(rows: Sequence[Recomputed]) -> Table:
    """One row per point of a run: whether its records give the stored point again."""
    columns = (
        Column("point_id", "Point"),
        Column("same", "Same as stored"),
        Column("differences", "Differs in"),
    )
    raw = [
        {"point_id": row.point_id, "same": not row.differences, "differences": list(row.differences)} for row in rows
    ]
    return Table("Recomputed from the records", columns, raw)
