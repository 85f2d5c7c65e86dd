"""Doubts about curves, and differences between two, as tables and words."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from giq.curve.comparison import ERROR_RATE, Comparison, Difference
from giq.curve.curve import Curve
from giq.curve.doubts import Doubt
from giq.show.table import Column, Row, Table, interval, with_bounds
from giq.units import format_rate, format_seconds


def doubts_table(found: Sequence[tuple[Curve, Sequence[Doubt]]]) -> Table:
    """One row for each doubt, worst first for each curve."""
    columns = (
        Column("curve_id", "Curve", lambda value: value[:8], fold=False),
        Column("severity", "Severity", fold=False),
        Column("subject", "Load", fold=False),
        Column("finding", "What is found"),
        Column("advice", "What to do"),
        Column("point_id", "Point", wide=True),
    )
    rows: list[dict[str, Any]] = [
        {
            "curve_id": curve.curve_id,
            "severity": item.severity,
            "subject": item.subject,
            "point_id": item.point_id,
            "finding": item.finding,
            "advice": item.advice,
        }
        for curve, items in found
        for item in items
    ]
    counts = ", ".join(
        f"{sum(row['severity'] == kind for row in rows)} {kind}" for kind in ("invalid", "doubtful", "note")
    )
    return Table(f"Findings: {counts}", columns, rows)


def differences_table(found: Comparison, a: Curve, b: Curve) -> Table:
    """One row for each thing compared."""
    columns = (
        Column("what", "What", fold=False),
        Column("load", "Load", show_row=_load, fold=False),
        Column("a", "A [90 %]", show_row=_value("a"), right=True),
        Column("b", "B [90 %]", show_row=_value("b"), right=True),
        Column("ratio", "B / A [90 %]", show_row=interval("ratio", _ratio), right=True),
        Column("verdict", "B is", fold=False),
        Column("interpolated", "Interpolated", wide=True),
    )
    return Table(f"A: {_name(a)}; B: {_name(b)}", columns, [_row(item) for item in found.differences])


def comparison_words(found: Comparison, a: Curve, b: Curve) -> Iterator[str]:
    """What must be said beside the table: where A and B differ by design, what is estimated, and the verdict."""
    settings = [f"{name}: {ours} / {theirs}" for name, ours, theirs in found.settings]
    yield f"A / B differ in {'; '.join(settings)}." if settings else "A and B have the same configuration and workload."
    if "estimated" in (a.evidence, b.evidence):
        yield "Estimated values are predicted by the simulated engine, not measured."
    if any(item.interpolated for item in found.differences):
        yield "~ marks values read off between measured rates."
    real = [item for item in found.differences if item.verdict in ("faster", "slower")]
    told = [item for item in found.differences if item.verdict != "cannot tell"]
    yield (
        f"{len(real)} of {len(told)} differences that can be told are real "
        f"(Holm: a chance of at most {ERROR_RATE * 100:.0f} % that any of them is not; intervals hold within a run, "
        "not from run to run)."
    )


def _name(curve: Curve) -> str:
    return f"{curve.curve_id[:8]} ({curve.evidence})"


def _row(item: Difference) -> dict[str, Any]:
    return {
        "what": item.what,
        "load": item.load,
        "unit": item.unit,
        **with_bounds("a", item.a),
        **with_bounds("b", item.b),
        **with_bounds("ratio", item.ratio),
        "interpolated": item.interpolated,
        "verdict": item.verdict,
    }


def _load(row: Row) -> str:
    return f"~{row['load']}" if row["interpolated"] else str(row["load"])


def _value(key: str) -> Any:
    def text(row: Row) -> str:
        def show(value: Any) -> str:
            return format_seconds(value) if row["unit"] == "s" else format_rate(value, row["unit"])

        return interval(key, show)(row)

    return text


def _ratio(value: Any) -> str:
    return "–" if value is None else f"{value:.3f}"
