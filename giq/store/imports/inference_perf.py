"""A folder of inference-perf: a file for each stage, and the requests where `per_request` was set.

Meanings (its docs/metrics.md): TTFT to the first output that is not empty, TPOT = (latency - TTFT) / (tokens - 1),
NTPOT = latency / tokens, ITL between tokens, in seconds and over successful requests. Its tokens are those that its own
tokenizer finds in the text unless `use_server_output_tokens` is set: where that disagrees with the server, what is per
token cannot be kept. Its `constant` arrivals have exponential gaps (loadgen/load_timer.py), so they are Poisson.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

from giq.catalog.use_cases import Lengths
from giq.curve.requests import Record
from giq.documents import decode_json, load_yaml
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

PER_REQUEST = "per_request_lifecycle_metrics.json"
_STAGE = re.compile(r"stage_(\d+)_lifecycle_metrics\.json$")
_NAMES = {"mean": "mean", "p50": "median", "p90": "p90", "p95": "p95", "p99": "p99"}

ReadText = Callable[[Path], str]


def is_inference_perf(folder: Path) -> bool:
    """Whether *folder* holds the stages of a run of inference-perf."""
    return any(_STAGE.search(path.name) for path in folder.iterdir())


def read_inference_perf(folder: Path, read_text: ReadText, content_id: str) -> ForeignResult:
    """The load points of *folder*, one for each stage.

    Raises:
        DamagedFileError: a file is not as inference-perf writes it.
    """
    paths = {int(match[1]): path for path in folder.iterdir() if (match := _STAGE.search(path.name))}
    stages = [(str(paths[key]), _json(paths[key], dict, read_text)) for key in sorted(paths)]
    config = _config(folder, read_text)
    listed = _requests(folder, stages, read_text)
    asked = (config.get("load") or {}).get("stages") or []
    points = tuple(
        _point(stage, where, asked[place] if place < len(asked) else {}, listed[place] if listed else [])
        for place, (where, stage) in enumerate(stages)
    )
    data, server = config.get("data") or {}, config.get("server") or {}
    return ForeignResult(
        tool="inference-perf",
        where=str(folder),
        content_id=content_id,
        model=server.get("model_name"),
        server="vllm" if server.get("type") == "vllm" else None,
        arrival=Arrival() if any(isinstance(point.load, OpenLoad) for point in points) else None,
        input_tokens=_lengths(data.get("input_distribution")),
        output_tokens=_lengths(data.get("output_distribution")),
        points=points,
        notes=tuple(_notes(config, stages, bool(listed))),
    )


def _notes(config: dict[str, Any], stages: list[tuple[str, dict[str, Any]]], detailed: bool) -> list[str]:
    notes = ["no date", "TTFT and latency are from when a request was sent; its schedule delay is kept by stage"]
    if not config:
        notes.append("no config.yaml: model and lengths must be declared")
    if (config.get("load") or {}).get("type") == "constant":
        notes.append("its constant arrivals have exponential gaps: they are kept as Poisson")
    if not detailed:
        notes.append("no requests, so no intervals and no steady state (set report.request_lifecycle.per_request)")
    if not detailed and any(_miscounted(section(stage, "successes", where)) for where, stage in stages):
        notes.append("its tokenizer counts other tokens than the server: TPOT, NTPOT and ITL are unknown")
    return notes


def _json(path: Path, kind: Any, read_text: ReadText) -> Any:
    return decode_json(read_text(path), kind, str(path))


def _config(folder: Path, read_text: ReadText) -> dict[str, Any]:
    path = folder / "config.yaml"
    found = load_yaml(read_text(path), str(path)) if path.exists() else None
    return found if isinstance(found, dict) else {}


def _lengths(found: dict[str, Any] | None) -> Lengths | None:
    if not found or not found.get("mean"):
        return None
    mean, spread = float(found["mean"]), float(found.get("std_dev") or 0.0)
    if not spread:
        return Lengths(mean=mean)
    if found.get("type") not in (None, "normal"):
        return None
    low, high = int(found.get("min") or 1), found.get("max")
    return Lengths(distribution="normal", mean=mean, spread=spread, minimum=max(low, 1), maximum=high)


def _requests(
    folder: Path, stages: list[tuple[str, dict[str, Any]]], read_text: ReadText
) -> list[list[dict[str, Any]]]:
    """The requests of each stage, none at all without their file: stages follow one another, each of so many.

    Raises:
        DamagedFileError: there are other many than the stages say.
    """
    path = folder / PER_REQUEST
    if not path.exists():
        return []
    found = sorted(_json(path, list, read_text), key=lambda item: float(item["start_time"]))
    counts = [int(number(section(stage, "load_summary", where), "count", where)) for where, stage in stages]
    if sum(counts) != len(found):
        raise DamagedFileError(
            f"holds {len(found)} requests, the stages {sum(counts)}", where=str(path), hint="Give the whole folder."
        )
    ends = [sum(counts[: place + 1]) for place in range(len(counts))]
    return [found[end - count : end] for end, count in zip(ends, counts, strict=True)]


def _point(stage: dict[str, Any], where: str, asked: dict[str, Any], listed: list[dict[str, Any]]) -> ForeignPoint:
    summary = section(stage, "load_summary", where)
    delay = distribution(summary.get("schedule_delay"), _NAMES, 1.0)
    return ForeignPoint(
        load=_load(summary, asked),
        duration_s=number(stage, "benchmark_time_seconds", where),
        records=_records(listed),
        aggregate=None if listed else _aggregate(stage, where),
        metrics={"schedule_delay": delay},
    )


def _load(summary: dict[str, Any], asked: dict[str, Any]) -> Load | None:
    slots = asked.get("concurrency_level") or summary.get("concurrency_level") or summary.get("concurrency")
    if slots:
        return ClosedLoad(concurrency=int(slots))
    rate = asked.get("rate") or summary.get("requested_rate")
    return OpenLoad(rate_rps=float(rate)) if rate else None


def _records(listed: list[dict[str, Any]]) -> tuple[Record, ...]:
    zero = min((float(item["start_time"]) for item in listed), default=0.0)
    return tuple(_record(place, item, zero) for place, item in enumerate(listed))


def _record(place: int, item: dict[str, Any], zero: float) -> Record:
    info = item.get("info") or {}
    answer = info.get("response_metrics") or {}
    usage = answer.get("server_usage") or {}
    prompt = int(usage.get("prompt_tokens") or info.get("input_tokens") or 0)
    output = int(usage.get("completion_tokens") or answer.get("output_tokens") or 0)
    sent = ns(float(item["start_time"]) - zero)
    times = [ns(time - zero) for time in _token_times(answer)]
    ok = item.get("error") is None and bool(times)
    return Record(
        run_id=RUN, point_id=POINT, request_id=place, scheduled_ns=sent, sent_ns=sent,
        first_token_ns=times[0] if ok else None, last_token_ns=times[-1] if ok else None,
        end_ns=ns(float(item["end_time"]) - zero) if ok else None, outcome="ok" if ok else "http_error",
        requested_input_tokens=prompt, requested_output_tokens=output, input_tokens=prompt,
        output_tokens=output if ok else None,
        token_gaps_ns=[after - before for before, after in pairwise(times)] if ok else None,
    )  # fmt: skip


def _token_times(answer: dict[str, Any]) -> list[float]:
    """When the chunks came that carry tokens: those with choices, where the chunks themselves were kept."""
    times, chunks = answer.get("chunk_times") or [], answer.get("response_chunks") or []
    if len(chunks) != len(times):
        return list(times)
    return [time for time, chunk in zip(times, chunks, strict=True) if '"choices":[]' not in chunk.replace(" ", "")]


def _miscounted(successes: dict[str, Any]) -> bool:
    return bool(successes.get("token_count_mismatches"))


def _aggregate(stage: dict[str, Any], where: str) -> Aggregate:
    successes = section(stage, "successes", where)
    latency = section(successes, "latency", where)
    failed = int(section(stage, "failures", where).get("count") or 0)
    count, window_s = number(successes, "count", where), number(stage, "benchmark_time_seconds", where)
    names = {"ttft": "time_to_first_token", "latency": "request_latency"}
    if not _miscounted(successes):
        names |= {
            "tpot": "time_per_output_token",
            "ntpot": "normalized_time_per_output_token",
            "itl": "inter_token_latency",
        }
    metrics = {ours: distribution(latency.get(theirs), _NAMES, 1.0) for ours, theirs in names.items()}
    mean = metrics["latency"].mean
    counted = successes.get("output_tokens") or successes.get("output_len") or {}
    return Aggregate(
        window_s=window_s,
        n_requests=int(count) + failed,
        failed=failed,
        in_flight_mean=count / window_s * mean.value if mean and window_s > 0 else 0.0,
        input_tokens_mean=number(section(successes, "prompt_tokens", where), "mean", where),
        output_tokens_mean=number(counted, "mean", where),
        metrics=metrics,
    )
