"""Load points as a table: what was asked, what came, how sure, and what is wrong with it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from giq.curve.doubts import load_words
from giq.curve.point import STATISTICS, Distribution, Point
from giq.show.table import Column, Row, Table, interval, with_bounds
from giq.units import format_rate, format_seconds, format_share


def points_table(points: Iterable[Point], title: str, percentile: str = "p90") -> Table:
    """The points in the order given, with *percentile* beside the median.

    TTFT and latency are shown as targets judge them: in open loop from the scheduled time, so that waiting to be
    sent counts, in a closed loop from sent. The raw values have both.
    """
    return Table(title, _columns(percentile), [point_row(point) for point in points])


def point_row(point: Point) -> dict[str, Any]:
    """One point's raw values, with units in the keys."""
    row: dict[str, Any] = {
        "point_id": point.point_id,
        "run_id": point.run_id,
        "evidence": point.provenance.evidence,
        "load_kind": point.load_kind,
        "offered_rps": point.offered_rps,
        "concurrency": point.concurrency,
        "load": load_words(point),
        "achieved_rps": point.achieved_rps,
        "output_tps": point.output_tps,
        "input_tps": point.input_tps,
        "in_flight_mean": point.in_flight_mean,
        "error_share": point.error_share,
        "n_requests": point.n_requests,
        "window_s": point.window_s,
        "client_error_s": point.client_error_s,
        "valid": point.valid,
        "flags": list(point.flags),
        "measured_at": point.provenance.measured_at,
        "hardware_source": point.provenance.hardware_source,
        "source": point.provenance.source,
    }
    for metric in ("ttft", "ttft_scheduled", "tpot", "itl", "ntpot", "latency", "latency_scheduled"):
        row |= _statistics(metric, point.metric(metric))
    return row


def _statistics(metric: str, found: Distribution) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for statistic in STATISTICS:
        values |= with_bounds(f"{metric}_{statistic}_s", found.at(statistic))
    return values


def _flags(value: Any) -> str:
    return ", ".join(value) if value else "ok"


def _columns(percentile: str) -> tuple[Column, ...]:
    return (
        Column("load", "Load", fold=False),
        Column("achieved_rps", "Completed", format_rate, right=True, fold=False),
        Column("output_tps", "Output", lambda v: format_rate(v, "tok/s"), right=True, fold=False),
        Column("in_flight_mean", "In flight", lambda v: format_rate(v, "").strip(), right=True, fold=False),
        _latency("ttft", "TTFT", "p50", bounds=False),
        _latency("ttft", "TTFT", percentile),
        _latency("tpot", "TPOT", "p50", bounds=False),
        _latency("tpot", "TPOT", percentile, wide=True),
        _latency("latency", "Latency", percentile, wide=True),
        Column("error_share", "Errors", format_share, right=True, wide=True, fold=False),
        Column("n_requests", "Requests", right=True, fold=False),
        Column("evidence", "Evidence", fold=False),
        Column("flags", "Flags", _flags),
        Column("window_s", "Window\n(s)", lambda v: f"{v:.0f}", right=True, wide=True, fold=False),
        Column("client_error_s", "Client\nerror", format_seconds, right=True, wide=True, fold=False),
        Column("point_id", "Point", wide=True),
        Column("run_id", "Run", wide=True),
    )


def _latency(metric: str, title: str, statistic: str, *, bounds: bool = True, wide: bool = False) -> Column:
    """A column of one statistic of one metric, in open loop from scheduled where that differs from sent."""

    def text(row: Row) -> str:
        name = f"{metric}_scheduled" if row["load_kind"] == "open" and metric in ("ttft", "latency") else metric
        key = f"{name}_{statistic}_s"
        key = f"{metric}_{statistic}_s" if row.get(key) is None else key
        return interval(key, format_seconds)(row) if bounds else format_seconds(row.get(key))

    key = f"{metric}_{statistic}_s"
    return Column(
        key, f"{title} {statistic}" + (" [90 %]" if bounds else ""), show_row=text, right=True, wide=wide, fold=bounds
    )
