"""Result files of other load tools, in the form in which each writes them, made from requests that are known."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from typing import Any

import numpy as np

ZERO = 1_700_000_000.0
"""A wall clock's time, for tools that use it."""


@dataclass(frozen=True)
class Sent:
    """One request: when due and sent (s), its TTFT and gaps (s), its tokens; `failed` without an answer."""

    due: float
    start: float
    ttft: float
    gaps: tuple[float, ...]
    input_tokens: int = 64
    failed: bool = False

    @property
    def output_tokens(self) -> int:
        """One in each chunk."""
        return len(self.gaps) + 1

    @property
    def latency(self) -> float:
        """From sent to the last token (s)."""
        return self.ttft + sum(self.gaps)

    @property
    def chunk_times(self) -> list[float]:
        """When each chunk came."""
        first = self.start + self.ttft
        return [first, *(first + since for since in accumulate(self.gaps))]


def requests(n: int = 160, rate: float = 4.0, tokens: int = 8, seed: int = 1, late: float = 0.002) -> list[Sent]:
    """*n* Poisson requests at *rate*, each sent *late* seconds after it was due, with times that all differ."""
    rng = np.random.default_rng(seed)
    due = np.cumsum(rng.exponential(1 / rate, n))
    ttft = 0.05 + rng.exponential(0.02, n)
    gaps = 0.005 + rng.exponential(0.002, (n, tokens - 1))
    return [
        Sent(float(d), float(d) + late, float(t), tuple(g.tolist())) for d, t, g in zip(due, ttft, gaps, strict=True)
    ]


def span(sent: Sequence[Sent]) -> float:
    """From the first request to the last answer."""
    return max(item.start + item.latency for item in sent) - min(item.start for item in sent)


def _summary(values: Sequence[float], names: dict[str, str]) -> dict[str, float]:
    """Mean and percentiles, linearly interpolated as these tools do."""
    at = {"mean": float(np.mean(values)), **{f"p{p}": float(np.percentile(values, p)) for p in (50, 90, 95, 99)}}
    return {theirs: at[ours] for ours, theirs in names.items()}


def vllm_bench(sent: Sequence[Sent], rate: float | str = 4.0, detailed: bool = True, **fields: Any) -> dict[str, Any]:
    """What `vllm bench serve --save-result` writes, with `--save-detailed` or without."""
    ok = [item for item in sent if not item.failed]
    duration = span(sent)
    found: dict[str, Any] = {
        "date": "20261121-081142", "backend": "vllm", "model_id": "llama-3-8b", "num_prompts": len(sent),
        "request_rate": rate, "burstiness": 1.0, "max_concurrency": None, "duration": duration, "completed": len(ok),
        "failed": len(sent) - len(ok), "total_input_tokens": sum(item.input_tokens for item in ok),
        "total_output_tokens": sum(item.output_tokens for item in ok), "request_throughput": len(ok) / duration,
    }  # fmt: skip
    metrics = {
        "ttft": [item.ttft for item in ok],
        "tpot": [(item.latency - item.ttft) / (item.output_tokens - 1) for item in ok],
        "itl": [gap for item in ok for gap in item.gaps],
        "e2el": [item.latency for item in ok],
    }
    for name, values in metrics.items():
        names = {
            "mean": f"mean_{name}_ms",
            "p50": f"median_{name}_ms",
            "p90": f"p90_{name}_ms",
            "p99": f"p99_{name}_ms",
        }
        found |= _summary([value * 1e3 for value in values], names)
    if detailed:
        found |= {
            "input_lens": [item.input_tokens for item in sent],
            "output_lens": [0 if item.failed else item.output_tokens for item in sent],
            "ttfts": [0.0 if item.failed else item.ttft for item in sent],
            "itls": [[] if item.failed else list(item.gaps) for item in sent],
            "latencies": [0.0 if item.failed else item.latency for item in sent],
            "start_times": [3000.0 + item.start for item in sent],
            "errors": ["Connection reset" if item.failed else "" for item in sent],
        }
    return found | fields


def guidellm(sent: Sequence[Sent], kind: str = "constant", listed: bool = True, incomplete: int = 0) -> dict[str, Any]:
    """GuideLLM's report of one benchmark; the last *incomplete* requests were open when it ended."""
    done = [item for item in sent[: len(sent) - incomplete] if not item.failed]
    errored = [item for item in sent if item.failed]
    cut = list(sent[len(sent) - incomplete :])
    strategy: dict[str, Any] = {"type_": kind, "worker_count": 1, "rate": 4.0}
    if kind == "concurrent":
        strategy = {"type_": kind, "streams": 8}
    names = {"p50": "p50", "p90": "p90", "p95": "p95", "p99": "p99"}

    def part(values: Sequence[float]) -> dict[str, Any]:
        spread = float(np.std(values))
        return {
            "successful": {"mean": float(np.mean(values)), "std_dev": spread, "percentiles": _summary(values, names)}
        }

    metrics = {
        "request_totals": {"successful": len(done), "errored": len(errored), "incomplete": len(cut)},
        "request_concurrency": part([1.5]),
        "request_latency": part([item.latency for item in done]),
        "request_scheduled_latency": part([item.latency + item.start - item.due for item in done]),
        "request_dispatch_delay": part([item.start - item.due for item in done]),
        "prompt_token_count": part([item.input_tokens for item in done]),
        "output_token_count": part([item.output_tokens for item in done]),
        "time_to_first_token_ms": part([item.ttft * 1e3 for item in done]),
        "time_per_output_token_ms": part([item.latency / item.output_tokens * 1e3 for item in done]),
        "inter_token_latency_ms": part([sum(item.gaps) / len(item.gaps) * 1e3 for item in done]),
    }
    groups = {"successful": done, "errored": errored, "incomplete": cut} if listed else {}
    return {
        "metadata": {"version": 2, "guidellm_version": "0.8.1"},
        "config": {
            "spec": {
                "backend": {"kind": "openai_http", "model": "llama-3-8b"},
                "data": [{"kind": "synthetic_text", "prompt_tokens": 64, "output_tokens": 8}],
            }
        },
        "benchmarks": [
            {
                "config": {"strategy": strategy}, "metrics": metrics, "start_time": ZERO, "duration": span(done),
                "requests": {name: [_guidellm_request(item) for item in items] for name, items in groups.items()},
            }
        ],
    }  # fmt: skip


def _guidellm_request(item: Sent) -> dict[str, Any]:
    return {
        "request_start_time": ZERO + item.start, "request_dispatch_delay": item.start - item.due,
        "request_latency": item.latency, "time_to_first_token_ms": None if item.failed else item.ttft * 1e3,
        "prompt_tokens": item.input_tokens, "output_tokens": item.output_tokens,
    }  # fmt: skip


INFERENCE_PERF_CONFIG = """
data:
  input_distribution: {type: normal, mean: 64.0, std_dev: 0.0, min: 64, max: 64}
  output_distribution: {type: normal, mean: 8.0, std_dev: 0.0, min: 8, max: 8}
load:
  type: constant
  stages:
  - {rate: 4.0, duration: 40}
  - {rate: 8.0, duration: 20}
server: {type: vllm, model_name: llama-3-8b}
"""


def inference_perf(
    folder: Path, stages: Sequence[Sequence[Sent]], listed: bool = True, miscounted: bool = True
) -> Path:
    """A folder as inference-perf leaves it; *miscounted*: its tokenizer found twice the tokens."""
    folder.mkdir()
    (folder / "config.yaml").write_text(INFERENCE_PERF_CONFIG)
    after = 0.0
    everything = []
    for number, sent in enumerate(stages):
        (folder / f"stage_{number}_lifecycle_metrics.json").write_text(json.dumps(_stage(sent, miscounted)))
        everything += [_inference_perf_request(item, after, 2 if miscounted else 1) for item in sent]
        after += span(sent) + 10
    if listed:
        (folder / "per_request_lifecycle_metrics.json").write_text(json.dumps(everything))
    return folder


def _stage(sent: Sequence[Sent], miscounted: bool) -> dict[str, Any]:
    ok = [item for item in sent if not item.failed]
    names = {"mean": "mean", "p50": "median", "p90": "p90", "p95": "p95", "p99": "p99"}
    factor = 2 if miscounted else 1
    latency = {
        "request_latency": [item.latency for item in ok],
        "time_to_first_token": [item.ttft for item in ok],
        "time_per_output_token": [sum(item.gaps) / (factor * item.output_tokens - 1) for item in ok],
        "normalized_time_per_output_token": [item.latency / item.output_tokens / factor for item in ok],
        "inter_token_latency": [gap for item in ok for gap in item.gaps],
    }
    return {
        "benchmark_time_seconds": span(sent),
        "load_summary": {
            "count": len(sent), "requested_rate": 4.0,
            "schedule_delay": _summary([item.start - item.due for item in sent], names),
        },
        "successes": {
            "count": len(ok),
            "latency": {name: _summary(values, names) for name, values in latency.items()},
            "prompt_tokens": _summary([item.input_tokens for item in ok], names),
            "output_len": _summary([factor * item.output_tokens for item in ok], names),
            "output_tokens": _summary([item.output_tokens for item in ok], names),
            "token_count_mismatches": len(ok) if miscounted else 0,
        },
        "failures": {"count": len(sent) - len(ok)},
    }  # fmt: skip


def _inference_perf_request(item: Sent, after: float, factor: int) -> dict[str, Any]:
    chunks = (
        [] if item.failed else [*(['{"choices":[{"text":"x"}]}'] * item.output_tokens), '{"choices":[],"usage":{}}']
    )
    times = [] if item.failed else [*item.chunk_times, item.start + item.latency]
    answer = {
        "output_tokens": factor * item.output_tokens,
        "server_usage": {"prompt_tokens": item.input_tokens, "completion_tokens": item.output_tokens},
        "chunk_times": [after + time for time in times],
        "response_chunks": chunks,
    }
    return {
        "start_time": after + item.start, "end_time": after + item.start + item.latency,
        "info": {"response_metrics": answer, "input_tokens": item.input_tokens},
        "error": {"error_type": "ClientError"} if item.failed else None,
    }  # fmt: skip


def aiperf(folder: Path, sent: Sequence[Sent], listed: bool = True, miscounted: bool = True) -> Path:
    """A folder as AIPerf leaves it; *miscounted*: its tokenizer found twice the tokens."""
    folder.mkdir()
    ok = [item for item in sent if not item.failed]
    names = {"mean": "avg", "p50": "p50", "p90": "p90", "p95": "p95", "p99": "p99"}
    factor = 2 if miscounted else 1

    def part(values: Sequence[float]) -> dict[str, Any]:
        return {"unit": "ms", **_summary(values, names)}

    export = {
        "schema_version": "1.4", "aiperf_version": "0.13.0", "start_time": "2026-11-21T08:13:33.926115",
        "request_latency": part([item.latency * 1e3 for item in ok]),
        "time_to_first_token": part([item.ttft * 1e3 for item in ok]),
        "inter_token_latency": part([sum(item.gaps) / (factor * item.output_tokens - 1) * 1e3 for item in ok]),
        "inter_chunk_latency": part([gap * 1e3 for item in ok for gap in item.gaps]),
        "input_sequence_length": part([item.input_tokens for item in ok]),
        "output_sequence_length": part([factor * item.output_tokens for item in ok]),
        "usage_completion_tokens": part([item.output_tokens for item in ok]),
        "effective_concurrency": {"avg": 1.5},
        "request_count": {"avg": float(len(ok))},
        "completed_request_count": {"avg": float(len(sent))},
        "benchmark_duration": {"avg": span(sent)},
        "input_config": {
            "models": {"items": [{"name": "llama-3-8b"}]},
            "datasets": [{"prompts": {"isl": {"mean": 64.0}, "osl": {"mean": 8.0}}}],
            "phases": [{"kind": "profiling", "type": "poisson", "rate": 4.0}],
        },
    }  # fmt: skip
    if miscounted:
        export["usage_discrepancy_count"] = {"avg": float(len(ok))}
    (folder / "profile_export_aiperf.json").write_text(json.dumps(export))
    if listed:
        lines = (json.dumps(_aiperf_request(item, factor)) for item in sent)
        (folder / "profile_export.jsonl").write_text("\n".join(lines) + "\n")
    rows = ["Metric,avg,min,max,sum,p1,p5,p10,p25,p50,p75,p90,p95,p99,std"]
    for title, key in (
        ("Request Latency (ms)", "request_latency"), ("Time to First Token (ms)", "time_to_first_token"),
        ("Inter Chunk Latency (ms)", "inter_chunk_latency"), ("Inter Token Latency (ms)", "inter_token_latency"),
        ("Input Sequence Length (tokens)", "input_sequence_length"),
        ("Output Sequence Length (tokens)", "output_sequence_length"),
        ("Usage Completion Tokens (tokens)", "usage_completion_tokens"),
    ):  # fmt: skip
        found: dict[str, Any] = export[key]  # type: ignore[assignment]
        rows.append(
            f"{title},{found['avg']},,,,,,,,{found['p50']},,{found['p90']},{found['p95']},{found['p99']},"
        )  # fmt: skip
    values = [("Request Count", len(ok)), ("Benchmark Duration (sec)", span(sent))]
    rows += ["", "Metric,Value", *(f"{title},{value}" for title, value in values)]
    if miscounted:
        rows.append(f"Usage Discrepancy Count,{len(ok)}")
    (folder / "profile_export_aiperf.csv").write_text("\n".join(rows) + "\n")
    return folder


def _aiperf_request(item: Sent, factor: int) -> dict[str, Any]:
    start = round((ZERO + item.start) * 1e9)
    found: dict[str, Any] = {
        "metadata": {
            "credit_issued_ns": start - 700_000, "request_start_ns": start, "benchmark_phase": "profiling",
            "was_cancelled": False,
        },
        "metrics": {},
    }  # fmt: skip
    if item.failed:
        return found | {"error": {"code": 500, "message": "Internal Server Error"}}
    values = {
        "time_to_first_token": item.ttft * 1e3, "request_latency": item.latency * 1e3,
        "inter_chunk_latency": [gap * 1e3 for gap in item.gaps], "usage_prompt_tokens": item.input_tokens,
        "usage_completion_tokens": item.output_tokens, "output_sequence_length": factor * item.output_tokens,
    }  # fmt: skip
    return found | {"metrics": {name: {"value": value} for name, value in values.items()}}
