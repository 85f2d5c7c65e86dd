"""A recommendation as a table of rows, a list of rejected pairs, and the words around them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from giq.curve.point import Estimate
from giq.documents import plain
from giq.recommend.recommendation import Recommendation, Rejection, Row
from giq.recommend.requirement import target_words, workload_words
from giq.show.table import Column, Table
from giq.units import format_rate, format_seconds, format_usd

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
        Column("usd_per_million_output", "USD/M output [90 %]", _usd, right=True),
        Column("usd_per_million_input_value", "USD/M input", format_usd, right=True, wide=True),
        Column("usd_per_hour", "USD/hour", _usd, right=True),
        Column("replicas", "Replicas", right=True, fold=False, wide=not rated),
        Column("capacity", "Capacity, req/s per unit [90 %]", _rate, right=True),
        Column("output_tps", "Output", lambda v: format_rate(v, "tok/s"), right=True, fold=False),
        Column("ttft_s", f"{percentile} TTFT", format_seconds, right=True, fold=False),
        Column("tpot_s", f"{percentile} TPOT", format_seconds, right=True, fold=False),
        Column("evidence", "Evidence", fold=False),
        Column("price_date", "Price of", fold=False),
        Column("joint_attainment", "All targets at once", right=True, wide=True),
        Column("price_source", "Price source", wide=True),
        Column("curve_id", "Curve", wide=True),
    )


def _row(row: Row, percentile: str) -> dict[str, Any]:
    at = row.operating_point
    raw: dict[str, Any] = plain(row)
    return raw | {
        "unit": _unit(row),
        "machine_type": row.shape.machine_type if row.shape else None,
        "usd_per_million_output": row.usd_per_million_output,
        "usd_per_million_input_value": row.usd_per_million_input.value if row.usd_per_million_input else None,
        "usd_per_hour": row.usd_per_hour,
        "capacity": row.capacity,
        "output_tps": row.output_tps,
        "ttft_s": at.metric("ttft_scheduled", percentile) or at.metric("ttft", percentile),
        "tpot_s": at.metric("tpot", percentile),
        "evidence": row.evidence,
        "price_date": row.price.source.date if row.price else None,
        "price_source": row.price.source.title if row.price else None,
        "rank": row.rank,
        "replicas": row.replicas,
        "joint_attainment": row.joint_attainment,
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


def _usd(value: Any) -> str:
    return "no price" if value is None else _with_interval(value, format_usd)


def _rate(value: Any) -> str:
    return _with_interval(value, lambda rate: format_rate(rate, "").strip())


def _with_interval(value: Any, form: Any) -> str:
    if not isinstance(value, Estimate):
        return "–"
    if value.lo is None and value.hi is None:
        return str(form(value.value))
    low = "?" if value.lo is None else form(value.lo)
    high = "?" if value.hi is None else form(value.hi)
    return f"{form(value.value)} [{low}, {high}]"
