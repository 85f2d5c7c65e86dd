"""`vllm bench serve --save-result`, with and without `--save-detailed`.

Meanings (vllm/benchmarks/serve.py): TTFT to the first chunk that has choices, TPOT = (latency - TTFT) / (tokens - 1) a
request, ITL the gaps between chunks pooled, all over successful requests and all in ms; percentiles interpolate;
rates are over the whole run with ramp and drain.
"""

from __future__ import annotations

from datetime import datetime
from itertools import accumulate, pairwise
from typing import Any

from giq.curve.point import Distribution
from giq.curve.requests import Record
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
)
from giq.workload.workload import Arrival, ClosedLoad, Load, OpenLoad

TOOL = "vllm bench serve"
_METRICS = {"ttft": "ttft", "tpot": "tpot", "itl": "itl", "latency": "e2el"}


def is_vllm_bench(found: dict[str, Any]) -> bool:
    """Whether *found* is the result of a run of `vllm bench serve`."""
    return {"request_throughput", "mean_ttft_ms", "completed", "num_prompts"} <= found.keys()


def read_vllm_bench(found: dict[str, Any], where: str, content_id: str) -> ForeignResult:
    """The one load point of *found*.

    Raises:
        DamagedFileError: a field that every version writes is missing.
    """
    load, arrival, notes = _load(found, where)
    detailed = bool(found.get("start_times")) and bool(found.get("ttfts"))
    capped = isinstance(load, OpenLoad) and found.get("max_concurrency") is not None
    point = ForeignPoint(
        load=load,
        duration_s=number(found, "duration", where),
        records=_records(found) if detailed else (),
        aggregate=None if detailed else _aggregate(found, where),
        measured_at=_date(found.get("date")),
        flags=("GENERATOR_LATE",) if capped else (),
    )
    if capped:
        notes.append("its concurrency limit delays requests that are due, so the point is flagged GENERATOR_LATE")
    if not detailed:
        notes.append("no requests, so no intervals and no steady state (run it with --save-result --save-detailed)")
    return ForeignResult(
        tool=TOOL,
        where=where,
        content_id=content_id,
        model=found.get("model_id"),
        server="vllm" if found.get("backend") in ("vllm", "openai", "openai-chat") else None,
        arrival=arrival,
        input_tokens=exact_length(found.get("input_lens") or []),
        output_tokens=exact_length(found.get("output_lens") or []),
        points=(point,),
        notes=("no schedule delay: TTFT and latency are from when a request was sent", *notes),
    )


def _load(found: dict[str, Any], where: str) -> tuple[Load, Arrival | None, list[str]]:
    """What was asked. Burstiness is the shape of gamma gaps; without a rate all requests are due at once."""
    limit = found.get("max_concurrency")
    if found.get("request_rate") in ("inf", None):
        slots = int(limit or number(found, "num_prompts", where))
        notes = [] if limit else ["all requests were sent at once: this is no load that a server can be held at"]
        return ClosedLoad(concurrency=slots), None, notes
    shape = float(found.get("burstiness") or 1.0)
    arrival = Arrival() if shape == 1.0 else Arrival(law="gamma", shape=shape)
    return OpenLoad(rate_rps=number(found, "request_rate", where)), arrival, []


def _records(found: dict[str, Any]) -> tuple[Record, ...]:
    count = len(found["start_times"])
    zero = min(found["start_times"])
    latencies = found.get("latencies") or [None] * count
    columns = zip(
        found["start_times"], found["ttfts"], found["itls"], found["input_lens"], found["output_lens"],
        found.get("errors") or [""] * count, latencies, strict=True,
    )  # fmt: skip
    return tuple(_record(number_, zero, *row) for number_, row in enumerate(columns))


def _record(
    number_: int, zero: float, start: float, ttft: float, gaps: list[float], input_tokens: int, output_tokens: int,
    error: str, latency: float | None,
) -> Record:  # fmt: skip
    """One request; its times are rounded to ns one by one, so that the gaps add up to the last token."""
    sent = ns(start - zero)
    if error:
        return Record(
            run_id=RUN, point_id=POINT, request_id=number_, scheduled_ns=sent, sent_ns=sent, outcome="http_error",
            requested_input_tokens=input_tokens, requested_output_tokens=output_tokens,
        )  # fmt: skip
    first = sent + ns(ttft)
    times = [first + ns(since) for since in accumulate(gaps)]
    last = times[-1] if times else first
    return Record(
        run_id=RUN, point_id=POINT, request_id=number_, scheduled_ns=sent, sent_ns=sent, first_token_ns=first,
        last_token_ns=last, end_ns=max(last, sent + ns(latency)) if latency is not None else last, outcome="ok",
        requested_input_tokens=input_tokens, requested_output_tokens=output_tokens, input_tokens=input_tokens,
        output_tokens=output_tokens,
        token_gaps_ns=[after - before for before, after in pairwise([first, *times])],
    )  # fmt: skip


def _aggregate(found: dict[str, Any], where: str) -> Aggregate:
    completed, window_s = number(found, "completed", where), number(found, "duration", where)
    failed = int(found.get("failed") or 0)
    metrics = {name: _distribution(found, theirs) for name, theirs in _METRICS.items()}
    input_mean = number(found, "total_input_tokens", where) / max(completed, 1)
    output_mean = number(found, "total_output_tokens", where) / max(completed, 1)
    latency = metrics["latency"].mean
    tpot = float(found.get("mean_tpot_ms") or 0.0) / 1e3
    mean_s = latency.value if latency else number(found, "mean_ttft_ms", where) / 1e3 + tpot * max(output_mean - 1, 0)
    return Aggregate(
        window_s=window_s,
        n_requests=int(completed) + failed,
        failed=failed,
        in_flight_mean=completed / window_s * mean_s if window_s > 0 else 0.0,
        input_tokens_mean=input_mean,
        output_tokens_mean=output_mean,
        metrics=metrics,
    )


def _distribution(found: dict[str, Any], theirs: str) -> Distribution:
    names = {statistic: f"{statistic}_{theirs}_ms" for statistic in ("mean", "p90", "p95", "p99")}
    return distribution(found, names | {"p50": f"median_{theirs}_ms"}, 1e-3)


def _date(text: object) -> str | None:
    """The day of the run; the file has the local time of the machine, and not its zone."""
    try:
        return datetime.strptime(str(text), "%Y%m%d-%H%M%S").date().isoformat()
    except ValueError:
        return None
