"""Load points of another tool as giq's: the same summaries where it kept its requests, else its aggregates alone."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from giq import __version__, documents
from giq.catalog.configuration import ServingConfiguration
from giq.curve.curve import Curve
from giq.curve.point import Distribution, Point, Provenance
from giq.curve.requests import Requests
from giq.curve.summary import PointFacts, summarise
from giq.curve.targets import Target, requests_needed
from giq.curve.window import choose_window
from giq.errors import UsageError
from giq.store.imports.foreign import Aggregate, ForeignPoint, ForeignResult
from giq.workload.workload import Arrival, ClosedLoad, Load, OpenLoad, Workload

_SCHEDULED = ("ttft_scheduled", "latency_scheduled", "schedule_delay")
_PERCENTILES = ("p50", "p90", "p95", "p99")
_LARGE_SHARE = 0.01
_UNFINISHED_SHARE = 0.15


@dataclass(frozen=True, kw_only=True)
class Declared:
    """What the user says of a result: what served it, and what its file does not tell of the workload."""

    config: ServingConfiguration
    workload: Workload | None = None
    load: Load | None = None
    arrival: Arrival | None = None
    targets: tuple[Target, ...] = ()


def imported_curve(result: ForeignResult, declared: Declared) -> Curve:
    """*result* as a curve: evidence `published`, hardware `declared`, the source its tool and file.

    `measured` is kept for what giq measured itself. A closed loop has no arrivals: its curve is that of Poisson
    arrivals, as with `giq profile`, unless something else is declared.

    Raises:
        UsageError: the file does not tell the lengths or the load, and nothing is declared.
    """
    workload = _workload(result, declared)
    points = [_point(result, place, declared, workload.arrival) for place in range(len(result.points))]
    return Curve(declared.config, workload, tuple(points))


def _workload(result: ForeignResult, declared: Declared) -> Workload:
    arrival = declared.arrival or result.arrival or Arrival()
    if declared.workload is not None:
        return documents.replace(declared.workload, arrival=arrival)
    if result.input_tokens is None or result.output_tokens is None:
        side = "input" if result.input_tokens is None else "output"
        raise UsageError(
            f"the file does not tell which {side} lengths were asked for",
            where=result.where,
            hint="Say them: --input-tokens 512 --output-tokens 128, or --use-case chatbot.",
        )
    return Workload(input_tokens=result.input_tokens, output_tokens=result.output_tokens, arrival=arrival)


def _point(result: ForeignResult, place: int, declared: Declared, arrival: Arrival) -> Point:
    found = result.points[place]
    load = found.load or declared.load
    if load is None:
        raise UsageError(
            "the file does not tell which load was put to the server",
            where=result.where,
            hint="Say it: --request-rate 4, or --concurrency 16.",
        )
    provenance = Provenance(
        evidence="published",
        hardware_source="declared",
        source=f"{result.tool}, imported from {Path(result.where).name} ({result.content_id})",
        measured_at=found.measured_at,
        giq_version=__version__,
    )
    facts = _Facts(f"p{place + 1:03d}", f"import-{result.content_id}", load, arrival, provenance, declared)
    return _summarised(found, facts) if found.records else _aggregated(found, facts)


@dataclass(frozen=True)
class _Facts:
    point_id: str
    run_id: str
    load: Load
    arrival: Arrival
    provenance: Provenance
    declared: Declared

    @property
    def accelerators(self) -> int:
        return self.declared.config.accelerators_total


def _summarised(found: ForeignPoint, facts: _Facts) -> Point:
    """The point by giq's own summary of the requests; what was not recorded of them stays unknown."""
    requests = Requests.of(found.records)
    point = summarise(
        requests,
        PointFacts(
            point_id=facts.point_id,
            run_id=facts.run_id,
            load=facts.load,
            window=choose_window(requests, facts.load, facts.arrival),
            provenance=facts.provenance,
            accelerators_total=facts.accelerators,
            elapsed_s=found.duration_s,
            targets=facts.declared.targets,
            flags=(*found.flags, "COUNTERS_UNAVAILABLE"),
        ),
    )
    unknown: dict[str, Any] = dict.fromkeys(_SCHEDULED, Distribution()) if not found.has_schedule else {}
    if not any(record.token_gaps_ns for record in found.records):
        unknown["itl"] = Distribution()
    judged_from_sent = not found.has_schedule and isinstance(facts.load, OpenLoad)
    attainment = () if judged_from_sent else point.attainment
    return documents.replace(point, attainment=attainment, **(unknown | found.metrics))


def _aggregated(found: ForeignPoint, facts: _Facts) -> Point:
    """The point with the columns that the tool's aggregates fill.

    Where requests failed, its percentiles are of those that did not, and here those that failed are infinitely slow:
    percentiles are then left out.
    """
    known = found.aggregate
    assert known is not None  # noqa: S101 - a point has requests or aggregates
    metrics: dict[str, Any] = known.metrics | found.metrics
    if known.failed:
        metrics = {name: _mean_only(metric) for name, metric in metrics.items()}
    rate = (known.n_requests - known.failed) / known.window_s if known.window_s > 0 else 0.0
    load = facts.load
    return Point(
        point_id=facts.point_id,
        run_id=facts.run_id,
        provenance=facts.provenance,
        load_kind="open" if isinstance(load, OpenLoad) else "closed",
        offered_rps=load.rate_rps if isinstance(load, OpenLoad) else None,
        concurrency=float(load.concurrency) if isinstance(load, ClosedLoad) else None,
        achieved_rps=rate,
        in_flight_mean=known.in_flight_mean,
        error_share=known.failed / known.n_requests if known.n_requests else 0.0,
        window_s=known.window_s,
        n_requests=known.n_requests,
        input_tokens_mean=known.input_tokens_mean,
        output_tokens_mean=known.output_tokens_mean,
        input_tps=rate * known.input_tokens_mean,
        output_tps=rate * known.output_tokens_mean,
        total_tps=rate * (known.input_tokens_mean + known.output_tokens_mean),
        accelerator_seconds=facts.accelerators * found.duration_s,
        flags=(*_flags(known, load, rate, facts.declared.targets), *found.flags, "COUNTERS_UNAVAILABLE"),
        **metrics,
    )


def _mean_only(metric: Distribution) -> Distribution:
    return documents.replace(metric, **dict.fromkeys(_PERCENTILES))


def _flags(known: Aggregate, load: Load, rate: float, targets: Sequence[Target]) -> tuple[str, ...]:
    """The flags that aggregates can tell, by the same bounds as of giq's own points."""
    behind = isinstance(load, OpenLoad) and _falls_short(load.rate_rps, rate, known.window_s)
    burst = isinstance(load, ClosedLoad) and known.n_requests < 2 * load.concurrency
    found = {
        "NOT_STEADY": behind or burst,
        "TOO_FEW": known.n_requests < requests_needed(targets),
        "ERRORS": known.failed > _LARGE_SHARE * max(known.n_requests, 1),
    }
    return tuple(flag for flag, holds in found.items() if holds)


def _falls_short(offered_rps: float, completed_rps: float, window_s: float) -> bool:
    """Whether less was completed than offered by more than 15 %, and by more than chance makes arrivals vary."""
    short = (offered_rps - completed_rps) * window_s
    by_chance = 2 * math.sqrt(offered_rps * window_s)
    return completed_rps < (1 - _UNFINISHED_SHARE) * offered_rps and short > by_chance


def lacking(curve: Curve) -> tuple[str, ...]:
    """The metrics that no point of *curve* has, and those without intervals, in words."""
    names = ("ttft", "ttft_scheduled", "itl", "tpot", "ntpot", "latency", "latency_scheduled", "schedule_delay")
    missing = [name for name in names if not any(_known(point.metric(name)) for point in curve.points)]
    words = [f"unknown: {', '.join(missing)}"] if missing else []
    if not any(found.lo is not None for point in curve.points if (found := point.ttft.p90)):
        words.append("no intervals")
    words.append("no server metrics, no counters to check against, no round trip, no error bound of the client")
    return tuple(words)


def _known(metric: Distribution) -> bool:
    return any((found := metric.at(name)) and not math.isnan(found.value) for name in ("mean", *_PERCENTILES))
