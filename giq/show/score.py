"""The score of the simulated engine on published points: a row a group beside its ceiling, and their summary."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from giq.engine.scoring import METRICS, GroupScore, Judged, Score, coverage, mape
from giq.show.table import Column, Table


def score_document(score: Score) -> dict[str, Any]:
    """All of *score* as plain values: `summary`, `groups` and the rows that were left out; errors in percent."""
    rows = [group_row(group) for group in score.groups]
    judged = [one for group in score.groups for one in group.judged]
    summary: dict[str, Any] = {
        "calibration_points": score.calibration_points,
        "groups": len(score.groups),
        "rows_judged": len(judged),
        "rows_left_out": len(score.left_out),
        "coverage": _number(coverage(judged)),
    }
    for metric in METRICS:
        errors = [row[f"{metric}_mape"] for row in rows]
        ceilings = [row[f"ceiling_{metric}_mape"] for row in rows]
        summary |= {
            f"{metric}_mape": _over(np.median, errors),
            f"{metric}_mape_mean": _over(np.mean, errors),
            f"ceiling_{metric}_mape": _over(np.median, ceilings),
            f"ceiling_{metric}_mape_mean": _over(np.mean, ceilings),
            f"{metric}_half_width": _half_width(judged, metric),
        }
    summary["transfer_tpot_mape"] = _over(np.median, [row["transfer_tpot_mape"] for row in rows])
    left_out = [{"id": name, "group": group, "reason": reason} for name, group, reason in score.left_out]
    return {"summary": summary, "groups": rows, "left_out": left_out}


def group_row(group: GroupScore) -> dict[str, Any]:
    """One group's raw values: errors in percent, what it was fitted on, and every row that was judged."""
    row: dict[str, Any] = {
        "group": str(group.group),
        "rows_judged": len(group.judged),
        "calibrated_on": list(group.calibrated_on),
        "coverage": _number(coverage(group.judged)),
    }
    for metric in METRICS:
        row[f"{metric}_mape"] = _number(mape(group.judged, metric))
        row[f"ceiling_{metric}_mape"] = _number(mape(group.ceiling, metric))
        row[f"{metric}_half_width"] = _half_width(group.judged, metric)
    row["transfer_tpot_mape"] = _number(mape(group.transfer, "tpot"))
    row["transferred_from"] = list(group.transferred_from)
    row["rows"] = [_judged_row(one) for one in group.judged]
    return row


def score_table(document: dict[str, Any]) -> Table:
    """The groups with a last row for all of them: medians, and the pooled coverage."""
    summary = document["summary"]
    total = {"group": "median over groups (coverage: pooled)", **summary}
    points = summary["calibration_points"]
    title = f"Predicted means against published ones, {points} calibration points a group; errors in %"
    columns = [Column("group", "Group"), Column("rows_judged", "Rows", right=True)]
    for metric, name in (("ttft", "TTFT"), ("tpot", "TPOT"), ("e2e", "E2E")):
        columns.append(Column(f"{metric}_mape", name, show=_percent, right=True))
        columns.append(Column(f"ceiling_{metric}_mape", "ceiling", show=_percent, right=True))
        columns.append(Column(f"{metric}_half_width", "±", show=_percent, right=True, wide=True))
    columns.append(Column("coverage", "Coverage", show=_percent, right=True))
    columns.append(Column("transfer_tpot_mape", "Transferred TPOT", show=_percent, right=True))
    columns.append(Column("calibrated_on", "Fitted on", wide=True))
    return Table(title, tuple(columns), [*document["groups"], total])


def _judged_row(one: Judged) -> dict[str, Any]:
    row: dict[str, Any] = {
        "id": one.name,
        "concurrency": one.concurrency,
        "input_len": one.input_len,
        "output_len": one.output_len,
    }
    for metric in METRICS:
        row |= {
            f"{metric}_observed_s": _number(one.observed[metric]),
            f"{metric}_predicted_s": _number(one.predicted[metric]),
            f"{metric}_lo_s": _number(one.low[metric]),
            f"{metric}_hi_s": _number(one.high[metric]),
        }
    return row


def _half_width(judged: Sequence[Judged], metric: str) -> float | None:
    """The median half-width of the 90 % intervals, in percent of the prediction."""
    return _over(np.median, [_number(100 * one.half_width(metric)) for one in judged])


def _over(statistic: Any, values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return float(statistic(known)) if known else None


def _number(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None


def _percent(value: Any) -> str:
    return "–" if value is None else f"{value:.1f}"
