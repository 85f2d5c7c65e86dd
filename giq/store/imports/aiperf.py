"""AIPerf: profile_export.jsonl with the requests, or profile_export_aiperf.json or .csv with aggregates.

Meanings (aiperf/metrics/types): TTFT and request latency as here, in ms; its inter-chunk latency is ITL; its
inter-token latency is (latency - TTFT) / (tokens - 1), here TPOT, by the tokens that its own tokenizer finds: where
the server's usage disagrees, what is per token cannot be kept. A credit is its word for the moment a request may be
sent, and no schedule.
"""

from __future__ import annotations

import csv
import io
import re
from itertools import accumulate, pairwise
from typing import Any

from giq.catalog.use_cases import Lengths
from giq.curve.point import Distribution
from giq.curve.requests import Record
from giq.documents import decode_json
from giq.errors import DamagedFileError
from giq.store.imports.foreign import (
    POINT,
    RUN,
    Aggregate,
    ForeignPoint,
    ForeignResult,
    distribution,
    exact_length,
    ns,
    number,
    section,
)
from giq.units import NS_PER_S
from giq.workload.workload import Arrival, ClosedLoad, Load, OpenLoad

REQUESTS_FILE, JSON_FILE = "profile_export.jsonl", "profile_export_aiperf.json"
_NAMES = {"mean": "avg", "p50": "p50", "p90": "p90", "p95": "p95", "p99": "p99"}
_METRICS = {
    "ttft": "time_to_first_token",
    "latency": "request_latency",
    "itl": "inter_chunk_latency",
    "tpot": "inter_token_latency",
}
_PER_MS = 1e-3


def is_aiperf(found: dict[str, Any]) -> bool:
    """Whether *found* is the JSON export of AIPerf."""
    return "aiperf_version" in found and "request_latency" in found


def is_aiperf_csv(text: str) -> bool:
    """Whether *text* begins as AIPerf's CSV does."""
    return text.startswith("Metric,avg,min,max")


def read_aiperf(
    found: dict[str, Any], where: str, content_id: str, requests: tuple[str, str] | None = None
) -> ForeignResult:
    """The one load point of the export *found*, from its *requests* (text and name of the JSONL) where they are there.

    Raises:
        DamagedFileError: a file is not as AIPerf writes it.
    """
    config = found.get("input_config") or {}
    load, arrival = _load(config)
    records = _records(*requests) if requests else ()
    prompts = next((item.get("prompts") or {} for item in config.get("datasets") or []), {})
    names = [item.get("name") for item in (config.get("models") or {}).get("items") or []]
    point = ForeignPoint(
        load=load,
        duration_s=_value(found, "benchmark_duration", where),
        records=records,
        aggregate=None if records else _aggregate(found, where),
        measured_at=str(found["start_time"])[:10] if found.get("start_time") else None,
    )
    return ForeignResult(
        tool=f"AIPerf {found.get('aiperf_version', '')}".strip(),
        where=where,
        content_id=content_id,
        model=names[0] if names else None,
        server=None,
        arrival=arrival,
        input_tokens=_lengths(prompts.get("isl")) or _counted(records, "input_tokens"),
        output_tokens=_lengths(prompts.get("osl")) or _counted(records, "output_tokens"),
        points=(point,),
        notes=_notes(found, bool(records)),
    )


def read_aiperf_csv(text: str, where: str, content_id: str) -> ForeignResult:
    """The one load point of AIPerf's CSV, which tells neither load, model nor lengths asked for.

    Raises:
        DamagedFileError: it is not as AIPerf writes it.
    """
    tables = [list(csv.DictReader(io.StringIO(part))) for part in re.split(r"\r?\n\r?\n", text.strip())]
    found = {_key(row["Metric"]): _cells(row) for table in tables for row in table if "Metric" in row}
    result = read_aiperf(found, where, content_id)
    return ForeignResult(**{**vars(result), "tool": "AIPerf", "notes": (*result.notes, "the CSV has no date")})


def _key(title: str) -> str:
    """The export's name of a metric from its title in the CSV: `Time to First Token (ms)`."""
    words = re.sub(r"\s*\([^)]*\)$", "", title).lower()
    return re.sub(r"[^a-z0-9]+", "_", words).strip("_")


def _cells(row: dict[str, Any]) -> dict[str, Any]:
    if "Value" in row:
        row = {"avg": row["Value"]}
    return {name: float(value) for name, value in row.items() if name != "Metric" and value not in ("", None)}


def _notes(found: dict[str, Any], detailed: bool) -> tuple[str, ...]:
    notes = ["no schedule delay: TTFT and latency are from when a request was sent"]
    if not detailed:
        notes.append(f"no requests, so no intervals and no steady state (give the folder with its {REQUESTS_FILE})")
    if not detailed and _miscounted(found):
        notes.append("its tokenizer counts other output tokens than the server's usage: TPOT is unknown")
    return tuple(notes)


def _miscounted(found: dict[str, Any]) -> bool:
    return bool((found.get("usage_discrepancy_count") or {}).get("avg"))


def _value(found: dict[str, Any], name: str, where: str, statistic: str = "avg") -> float:
    return number(section(found, name, where), statistic, where)


def _load(config: dict[str, Any]) -> tuple[Load | None, Arrival | None]:
    phase: dict[str, Any] = next((item for item in config.get("phases") or [] if item.get("kind") == "profiling"), {})
    rate, slots = phase.get("rate"), phase.get("concurrency")
    if rate:
        law, smooth = phase.get("type"), phase.get("smoothness")
        if law == "gamma" and smooth:
            return OpenLoad(rate_rps=float(rate)), Arrival(law="gamma", shape=float(smooth))
        return OpenLoad(rate_rps=float(rate)), Arrival(law="constant") if law == "constant" else Arrival()
    return (ClosedLoad(concurrency=int(slots)), None) if slots else (None, None)


def _lengths(found: dict[str, Any] | None) -> Lengths | None:
    if not found or not found.get("mean"):
        return None
    mean, spread = float(found["mean"]), float(found.get("stddev") or 0.0)
    return Lengths(distribution="normal", mean=mean, spread=spread) if spread else Lengths(mean=mean)


def _counted(records: tuple[Record, ...], name: str) -> Lengths | None:
    return exact_length([getattr(record, name) or 0 for record in records if record.outcome == "ok"])


def _records(text: str, where: str) -> tuple[Record, ...]:
    """The requests of the profiling phase, up to the first that was still open when the tool ended it."""
    items = [decode_json(line, dict, where) for line in text.splitlines() if line.strip()]
    items = [item for item in items if section(item, "metadata", where).get("benchmark_phase") == "profiling"]
    if not items:
        raise DamagedFileError("holds no request of the profiling phase", where=where, hint="Give a whole export.")
    starts = {id(item): int(item["metadata"]["request_start_ns"]) for item in items}
    still_open = [starts[id(item)] for item in items if item["metadata"].get("was_cancelled")]
    kept = sorted(
        (item for item in items if starts[id(item)] < min(still_open, default=2**63)), key=lambda item: starts[id(item)]
    )
    zero = min(starts.values())
    return tuple(_record(place, item, zero) for place, item in enumerate(kept))


def _record(place: int, item: dict[str, Any], zero: int) -> Record:
    found = {name: value.get("value") for name, value in (item.get("metrics") or {}).items()}
    sent = int(item["metadata"]["request_start_ns"]) - zero
    ok = not item.get("error") and found.get("time_to_first_token") is not None
    prompt = int(found.get("usage_prompt_tokens") or found.get("input_sequence_length") or 0)
    output = int(found.get("usage_completion_tokens") or found.get("output_sequence_length") or 0)
    known: dict[str, Any] = {"outcome": "http_error"}
    if ok:
        first = sent + ns(found["time_to_first_token"] * _PER_MS)
        gaps = found.get("inter_chunk_latency") or []
        times = [first, *(first + round(since * _PER_MS * NS_PER_S) for since in accumulate(gaps))]
        known = {
            "outcome": "ok", "first_token_ns": first, "last_token_ns": times[-1], "input_tokens": prompt,
            "end_ns": max(sent + ns(found["request_latency"] * _PER_MS), times[-1]), "output_tokens": output,
            "token_gaps_ns": [after - before for before, after in pairwise(times)],
        }  # fmt: skip
    return Record(
        run_id=RUN, point_id=POINT, request_id=place, scheduled_ns=sent, sent_ns=sent,
        requested_input_tokens=prompt, requested_output_tokens=output, **known,
    )  # fmt: skip


def _aggregate(found: dict[str, Any], where: str) -> Aggregate:
    succeeded = _value(found, "request_count", where)
    total = (found.get("completed_request_count") or {}).get("avg") or succeeded
    window_s = _value(found, "benchmark_duration", where)
    metrics: dict[str, Distribution] = {}
    for ours, theirs in _METRICS.items():
        if ours != "tpot" or not _miscounted(found):
            metrics[ours] = distribution(found.get(theirs), _NAMES, _PER_MS)
    flying = (found.get("effective_concurrency") or {}).get("avg")
    if flying is None:
        flying = succeeded / window_s * _value(found, "request_latency", where) * _PER_MS if window_s > 0 else 0.0
    output = "usage_completion_tokens" if "usage_completion_tokens" in found else "output_sequence_length"
    prompt = "usage_prompt_tokens" if "usage_prompt_tokens" in found else "input_sequence_length"
    return Aggregate(
        window_s=window_s,
        n_requests=int(total),
        failed=int(total - succeeded),
        in_flight_mean=float(flying),
        input_tokens_mean=_value(found, prompt, where),
        output_tokens_mean=_value(found, output, where),
        metrics=metrics,
    )
