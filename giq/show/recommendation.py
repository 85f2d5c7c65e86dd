"""A recommendation as a table of rows, a list of rejected pairs, and the words around them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from giq.documents import plain
from giq.recommend.recommendation import Recommendation, Rejection, Row
from giq.recommend.requirement import target_words, workload_words
from giq.show.table import Column, Table, interval, with_bounds
from giq.units import format_rate, format_seconds, format_share, format_usd

ROWS_WITH_NOTES = 3


def recommendation_table(recommendation: Recommendation) -> Table:
    """Rows in order of rank; costs and capacities with 90 % intervals."""
    asked = recommendation.requirement
    percentile = asked.targets[0].percentile if asked.targets else "p90"
    title = f"{asked.model}, {workload_words(asked.workload)}, {target_words(asked)}"
    return Table(
        title,
        _columns(percentile, rated=asked.request_rate_rps is not None),
        [_row(row, percentile) for row in recommendation.rows],
    )


def rejected_table(recommendation: Recommendation) -> Table:
    """Every rejected pair with its reason and nearest miss."""
    columns = (
        Column("unit", "Rejected", fold=False),
        Column("evidence", "Evidence", fold=False),
        Column("reason", "Why"),
        Column("nearest_miss", "Nearest miss"),
    )
    return Table("Not recommended", columns, [_rejection(item) for item in recommendation.rejected])


def words(recommendation: Recommendation, *, wide: bool) -> Iterator[str]:
    """What must be said beside the table: defaults, evidence, and the notes of the first rows (*wide*: of all)."""
    if recommendation.defaults:
        yield f"Defaults: {'; '.join(recommendation.defaults)}."
    if any(row.evidence == "estimated" for row in recommendation.rows):
        yield (
            "Rows marked estimated are predicted by the simulated engine, not measured. "
            "Measure one with `giq profile` before you spend on it."
        )
    shown = recommendation.rows if wide else recommendation.rows[:ROWS_WITH_NOTES]
    for row in shown:
        yield f"#{row.rank or '–'} {_unit(row)}: {'; '.join(row.notes)}."
    if len(shown) < len(recommendation.rows):
        yield "The notes of the other rows: -o wide."
    yield from recommendation.notes
    yield (
        "Token costs are equivalents for comparison: USD per hour over the tokens at capacity; "
        "what is billed is the machine."
    )


def _columns(percentile: str, *, rated: bool) -> tuple[Column, ...]:
    return (
        Column("rank", "#", right=True, fold=False),
        Column("unit", "Accelerator", fold=False),
        Column("machine_type", "Machine", fold=False),
        Column(
            "usd_per_million_output",
            "USD/M output [90 %]",
            show_row=interval("usd_per_million_output", format_usd),
            right=True,
        ),
        Column("usd_per_million_input", "USD/M input", format_usd, right=True, wide=True),
        Column("usd_per_hour", "USD/hour", show_row=interval("usd_per_hour", format_usd), right=True),
        Column("replicas", "Replicas", right=True, fold=False, wide=not rated),
        Column("capacity_rps", "Capacity, req/s per unit [90 %]", show_row=interval("capacity_rps", _rate), right=True),
        Column("output_tps", "Output", lambda v: format_rate(v, "tok/s"), right=True, fold=False),
        Column("ttft_s", f"{percentile} TTFT", format_seconds, right=True, fold=False),
        Column("tpot_s", f"{percentile} TPOT", format_seconds, right=True, fold=False),
        Column("evidence", "Evidence", fold=False),
        Column("price_date", "Price of", fold=False),
        Column("joint_attainment", "All targets at once", format_share, right=True, wide=True),
        Column("price_source", "Price source", wide=True),
        Column("curve_id", "Curve", wide=True),
    )


def _row(row: Row, percentile: str) -> dict[str, Any]:
    """One row's raw values; what is nested in it is in the JSON of the whole recommendation."""
    at, main = row.operating_point, row.config.main
    return {
        "rank": row.rank,
        "unit": _unit(row),
        "model": main.model,
        "precision": main.precision,
        "accelerator": main.accelerator,
        "accelerators": row.config.accelerators_total,
        "machine_type": row.shape.machine_type if row.shape else None,
        **with_bounds("usd_per_million_output", row.usd_per_million_output),
        **with_bounds("usd_per_million_input", row.usd_per_million_input),
        **with_bounds("usd_per_hour", row.usd_per_hour),
        "replicas": row.replicas,
        **with_bounds("capacity_rps", row.capacity),
        "output_tps": row.output_tps,
        "input_tps": row.input_tps,
        "percentile": percentile,
        "ttft_s": at.metric("ttft_scheduled", percentile) or at.metric("ttft", percentile),
        "tpot_s": at.metric("tpot", percentile),
        "joint_attainment": row.joint_attainment,
        "evidence": row.evidence,
        "hardware_source": row.hardware_source,
        "measured_at": row.measured_at,
        "calibration_id": row.calibration_id,
        "price_date": row.price.source.date if row.price else None,
        "price_source": row.price.source.title if row.price else None,
        "tie_with": row.tie_with,
        "curve_id": row.curve_id,
    }


def _rejection(item: Rejection) -> dict[str, Any]:
    raw: dict[str, Any] = plain(item)
    return raw | {
        "unit": item.unit,
        "evidence": item.evidence,
        "reason": item.reason,
        "nearest_miss": item.nearest_miss,
    }


def _unit(row: Row) -> str:
    total = row.config.accelerators_total
    return row.config.main.accelerator if total == 1 else f"{row.config.main.accelerator} ×{total}"


def _rate(value: Any) -> str:
    return format_rate(value, "").strip()
