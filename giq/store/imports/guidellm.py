"""GuideLLM's JSON report.

Meanings (guidellm/schemas/base/request_stats.py): TTFT, request latency and dispatch delay as here; its TPOT is (last
token - start) / tokens, so with the first token, which here is NTPOT; its ITL is (last - first token) / (tokens - 1), a
mean per request and no gap between tokens, which here is TPOT. Both are weighted by tokens in its aggregates. Clock:
the wall clock.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from giq.catalog.use_cases import Lengths
from giq.curve.point import Distribution
from giq.curve.requests import Record
from giq.errors import DamagedFileError
from giq.store.imports.foreign import (
    POINT,
    RUN,
    Aggregate,
    ForeignPoint,
    ForeignResult,
    distribution,
    ns,
    number,
    section,
)
from giq.workload.workload import Arrival, ClosedLoad, Load, OpenLoad

_NAMES = {"mean": "mean", "p50": "p50", "p90": "p90", "p95": "p95", "p99": "p99"}


def is_guidellm(found: dict[str, Any]) -> bool:
    """Whether *found* is a report of GuideLLM."""
    return isinstance(found.get("benchmarks"), list) and "guidellm_version" in (found.get("metadata") or {})


def read_guidellm(found: dict[str, Any], where: str, content_id: str) -> ForeignResult:
    """The load points of *found*, one for each of its benchmarks.

    Raises:
        DamagedFileError: it holds no benchmark, or not as GuideLLM writes it.
    """
    benchmarks = [item for item in found["benchmarks"] if isinstance(item, dict)]
    if not benchmarks:
        raise DamagedFileError("holds no benchmark", where=where, hint="Give the report of a run that finished.")
    spec = (found.get("config") or {}).get("spec") or {}
    points = tuple(_point(item, where) for item in benchmarks)
    notes = [
        "its ITL is a mean per request and no gap between tokens: ITL is unknown",
        "its clock is the wall clock, which may be set while it runs",
    ]
    laws = {_strategy(item, where)["type_"] for item in benchmarks}
    if any(not point.records for point in points):
        notes.append("requests are not all in the report, so no intervals and no steady state")
    if "poisson" in laws and any(_strategy(item, where).get("worker_count", 1) != 1 for item in benchmarks):
        notes.append("with several workers its Poisson arrivals come in bunches: worse than the law says")
    synthetic: dict[str, Any] = next(
        (item for item in spec.get("data") or [] if item.get("kind") == "synthetic_text"), {}
    )
    return ForeignResult(
        tool=f"GuideLLM {found['metadata']['guidellm_version']}",
        where=where,
        content_id=content_id,
        model=(spec.get("backend") or {}).get("model"),
        server=None,
        arrival=Arrival(law="constant") if "constant" in laws else Arrival() if "poisson" in laws else None,
        input_tokens=_lengths(synthetic, "prompt_tokens"),
        output_tokens=_lengths(synthetic, "output_tokens"),
        points=points,
        notes=tuple(notes),
    )


def _lengths(data: dict[str, Any], name: str) -> Lengths | None:
    """The lengths that its synthetic data were made with."""
    mean, spread = data.get(name), data.get(f"{name}_stdev")
    if not mean:
        return None
    if not spread:
        return Lengths(mean=float(mean))
    low, high = data.get(f"{name}_min"), data.get(f"{name}_max")
    return Lengths(distribution="normal", mean=float(mean), spread=float(spread), minimum=low or 1, maximum=high)


def _strategy(benchmark: dict[str, Any], where: str) -> dict[str, Any]:
    return section(section(benchmark, "config", where), "strategy", where)


def _load(strategy: dict[str, Any], where: str) -> Load | None:
    kind = strategy.get("type_")
    if kind in ("constant", "poisson"):
        return OpenLoad(rate_rps=number(strategy, "rate", where))
    if kind == "synchronous":
        return ClosedLoad(concurrency=1)
    slots = strategy.get("streams") or strategy.get("max_concurrency")
    return ClosedLoad(concurrency=int(slots)) if slots else None


def _point(benchmark: dict[str, Any], where: str) -> ForeignPoint:
    metrics, requests = section(benchmark, "metrics", where), benchmark.get("requests") or {}
    totals = section(metrics, "request_totals", where)
    listed = [(kind, item) for kind in ("successful", "errored", "incomplete") for item in requests.get(kind) or []]
    whole = len(listed) == sum(totals.get(kind) or 0 for kind in ("successful", "errored", "incomplete")) and listed
    start = number(benchmark, "start_time", where)
    return ForeignPoint(
        load=_load(_strategy(benchmark, where), where),
        duration_s=number(benchmark, "duration", where),
        records=_records(listed) if whole else (),
        aggregate=None if whole else _aggregate(benchmark, metrics, totals, where),
        has_schedule=True,
        measured_at=datetime.fromtimestamp(start, UTC).isoformat(timespec="seconds"),
    )


def _records(listed: list[tuple[str, dict[str, Any]]]) -> tuple[Record, ...]:
    """The requests, up to the first that was still open when the tool ended the benchmark.

    From there on only the quick ones are complete, and what remains would be too good.
    """
    timed = [(kind, item) for kind, item in listed if item.get("request_start_time")]
    zero = min(_scheduled(item) for _, item in timed)
    still_open = [item["request_start_time"] for kind, item in timed if kind == "incomplete"]
    until = min(still_open, default=float("inf"))
    kept = [(kind, item) for kind, item in timed if item["request_start_time"] < until]
    kept.sort(key=lambda pair: _scheduled(pair[1]))
    return tuple(_record(place, kind, item, zero) for place, (kind, item) in enumerate(kept))


def _scheduled(item: dict[str, Any]) -> float:
    return float(item["request_start_time"]) - float(item.get("request_dispatch_delay") or 0.0)


def _record(place: int, kind: str, item: dict[str, Any], zero: float) -> Record:
    start, ttft = float(item["request_start_time"]), item.get("time_to_first_token_ms")
    sent, due = ns(start - zero), ns(_scheduled(item) - zero)
    ok = kind == "successful" and ttft is not None
    first = ns(start - zero + float(ttft or 0.0) / 1e3) if ok else None
    end = ns(start - zero + float(item["request_latency"])) if ok else None
    prompt, output = int(item.get("prompt_tokens") or 0), int(item.get("output_tokens") or 0)
    return Record(
        run_id=RUN, point_id=POINT, request_id=place, scheduled_ns=due, sent_ns=sent,
        first_token_ns=first, last_token_ns=end, end_ns=end, outcome="ok" if ok else "http_error",
        requested_input_tokens=prompt, requested_output_tokens=output, input_tokens=prompt, output_tokens=output,
    )  # fmt: skip


def _aggregate(benchmark: dict[str, Any], metrics: dict[str, Any], totals: dict[str, Any], where: str) -> Aggregate:
    def part(name: str, scale: float = 1.0) -> Distribution:
        found = (metrics.get(name) or {}).get("successful") or {}
        return distribution({**(found.get("percentiles") or {}), "mean": found.get("mean")}, _NAMES, scale)

    output = section(section(metrics, "output_token_count", where), "successful", where)
    prompt = section(section(metrics, "prompt_token_count", where), "successful", where)
    known = {
        "ttft": part("time_to_first_token_ms", 1e-3),
        "latency": part("request_latency"),
        "latency_scheduled": part("request_scheduled_latency"),
        "schedule_delay": part("request_dispatch_delay"),
    }
    if output.get("std_dev") == 0:  # weighted by tokens is weighted by requests only where all have as many
        known["ntpot"] = part("time_per_output_token_ms", 1e-3)
        known["tpot"] = part("inter_token_latency_ms", 1e-3)
    flying = section(section(metrics, "request_concurrency", where), "successful", where)
    failed = int(totals.get("errored") or 0)
    return Aggregate(
        window_s=number(benchmark, "duration", where),
        n_requests=int(totals.get("successful") or 0) + failed,
        failed=failed,
        in_flight_mean=number(flying, "mean", where),
        input_tokens_mean=number(prompt, "mean", where),
        output_tokens_mean=number(output, "mean", where),
        metrics=known,
    )
