"""Load points as a table: what was asked, what came, how sure, and what is wrong with it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from giq.curve.point import Distribution, Point
from giq.show.table import Column, Table, interval, with_bounds
from giq.units import format_rate, format_seconds, format_share


def points_table(points: Iterable[Point], title: str) -> Table:
    """The points, lowest load first; latencies are percentiles from sent, with 90 % intervals in the wide form."""
    return Table(title, COLUMNS, [point_row(point) for point in points])


def point_row(point: Point) -> dict[str, Any]:
    """One point's raw values, with units in the keys."""
    row: dict[str, Any] = {
        "point_id": point.point_id,
        "run_id": point.run_id,
        "evidence": point.provenance.evidence,
        "load_kind": point.load_kind,
        "offered_rps": point.offered_rps,
        "concurrency": point.concurrency,
        "load": _load(point),
        "achieved_rps": point.achieved_rps,
        "output_tps": point.output_tps,
        "input_tps": point.input_tps,
        "in_flight_mean": point.in_flight_mean,
        "error_share": point.error_share,
        "n_requests": point.n_requests,
        "window_s": point.window_s,
        "valid": point.valid,
        "flags": list(point.flags),
        "measured_at": point.provenance.measured_at,
        "hardware_source": point.provenance.hardware_source,
        "source": point.provenance.source,
    }
    for metric in ("ttft", "ttft_scheduled", "tpot", "itl", "latency"):
        row |= _statistics(metric, point.metric(metric))
    return row


def _statistics(metric: str, found: Distribution) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for statistic in ("mean", "p50", "p90", "p99"):
        values |= with_bounds(f"{metric}_{statistic}_s", found.at(statistic))
    return values


def _load(point: Point) -> str:
    if point.load_kind == "closed":
        return f"{point.concurrency:g} in flight"
    return format_rate(point.offered_rps)


def _flags(value: Any) -> str:
    return ", ".join(value) if value else "ok"


COLUMNS = (
    Column("load", "Load", fold=False),
    Column("achieved_rps", "Completed", format_rate, right=True, fold=False),
    Column("output_tps", "Output", lambda v: format_rate(v, "tok/s"), right=True, fold=False),
    Column("in_flight_mean", "In flight", lambda v: format_rate(v, "").strip(), right=True, fold=False),
    Column("ttft_p50_s", "TTFT p50", format_seconds, right=True, fold=False),
    Column("ttft_p90_s", "TTFT p90 [90 %]", show_row=interval("ttft_p90_s", format_seconds), right=True),
    Column("tpot_p50_s", "TPOT p50", format_seconds, right=True, fold=False),
    Column("tpot_p90_s", "TPOT p90 [90 %]", show_row=interval("tpot_p90_s", format_seconds), right=True, wide=True),
    Column(
        "latency_p90_s", "Latency p90 [90 %]", show_row=interval("latency_p90_s", format_seconds), right=True, wide=True
    ),
    Column("error_share", "Errors", format_share, right=True, wide=True),
    Column("n_requests", "Requests", right=True, fold=False),
    Column("evidence", "Evidence", fold=False),
    Column("flags", "Flags", _flags),
    Column("window_s", "Window (s)", lambda v: f"{v:.0f}", right=True, wide=True),
    Column("point_id", "Point", wide=True),
    Column("run_id", "Run", wide=True),
)

FLAG_MEANINGS = {
    "NOT_STEADY": "no steady state: the load is past what the server keeps up with, or the point is too short",
    "TOO_FEW": "too few requests for a 90th percentile; hold the load longer",
    "ERRORS": "more than 1 % of the requests failed; look at the server's log",
    "GENERATOR_LATE": "giq itself sent late; give it more cores or workers",
    "CLIENT_BOUND": "giq itself was out of CPU; give it more cores or workers",
    "COUNTERS_DISAGREE": "the server counted other requests or tokens than giq received",
    "FOREIGN_TRAFFIC": "others used the server at the same time",
    "IMPLAUSIBLE": "faster than the hardware can be; check what is declared",
    "COUNTERS_UNAVAILABLE": "the server has no /metrics to check against",
    "LENGTHS_DIFFER": "the server counted other lengths than were asked for",
    "EXTRAPOLATED": "outside what the calibration rests on",
}
"""What a flag means and what to do, in one line (SCHEMA.md has the list)."""
