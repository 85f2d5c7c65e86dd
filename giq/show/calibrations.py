"""Calibrations as a table: each point that one was fitted to with its residuals, and what to measure next."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from giq.engine.calibrating import Suggestion
from giq.engine.calibration import Z90
from giq.engine.calibrations import CalibrationRecord
from giq.show.table import Column, Table
from giq.units import format_share


def calibration_table(records: Sequence[CalibrationRecord]) -> Table:
    """One row a fitted point; residuals are observed / predicted - 1."""
    rows = [_row(record, index) for record in records for index in range(len(record.points))]
    columns = (
        Column("calibration_id", "Calibration"),
        Column("point", "Point", wide=True),
        Column("load", "Load"),
        Column("input_tokens", "Input", show=_tokens, right=True),
        Column("output_tokens", "Output", show=_tokens, right=True),
        Column("ttft_residual", "TTFT residual", show=_signed, right=True),
        Column("tpot_residual", "TPOT residual", show=_signed, right=True),
        Column("ttft_interval", "TTFT ±", show=_share, right=True),
        Column("tpot_interval", "TPOT ±", show=_share, right=True),
    )
    return Table("Fitted points; residual = observed / predicted - 1, ± = half of the 90 % interval", columns, rows)


def suggestion_words(record: CalibrationRecord, suggestion: Suggestion) -> str:
    """The measurement that would help most next, as a command, and by how much."""
    command = (
        f"giq profile --model {record.model} --accelerator {record.accelerator}:{record.tp}"
        f" --concurrency {suggestion.concurrency} --input-tokens {suggestion.input_tokens}"
        f" --output-tokens {suggestion.output_tokens}"
    )
    return (
        f"What would help most next for {record.calibration.calibration_id}: {command}\n"
        f"  the fitted factors leave an error of {suggestion.before:.1f} % over loads and lengths; "
        f"{suggestion.after:.1f} % after it"
    )


def _row(record: CalibrationRecord, index: int) -> dict[str, Any]:
    point, calibration = record.points[index], record.calibration
    return {
        "calibration_id": calibration.calibration_id,
        "rests_on": calibration.rests_on,
        "model": record.model,
        "precision": record.precision,
        "accelerator": record.accelerator,
        "tp": record.tp,
        "evidence": record.evidence,
        "point": point.name,
        "load": point.load,
        "input_tokens": point.input_tokens,
        "output_tokens": point.output_tokens,
        "ttft_residual": point.ttft_residual,
        "tpot_residual": point.tpot_residual,
        "ttft_interval": half_width(calibration.prefill_sigma),
        "tpot_interval": half_width(calibration.decode_sigma),
    }


def half_width(sigma: float) -> float:
    """Half of the 90 % interval as a share, of an error whose logarithm has that standard deviation."""
    return Z90 * sigma


def _tokens(value: Any) -> str:
    return f"{value:,.0f}"


def _signed(value: Any) -> str:
    return "–" if value is None else f"{100 * value:+.1f} %"


def _share(value: Any) -> str:
    return format_share(value)
