"""AIPerf: its records file, one JSON line a request."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from tests.performance.figures import Figures, figures
from tests.performance.rivals.rival import Rival, Work, read_json_lines, venv_python


def command(work: Work) -> Sequence[str | Path]:
    """Its command line."""
    cell = work.cell
    return [
        venv_python("aiperf"), "-m", "aiperf", "profile", "--model", "exact", "--url", work.url,
        "--endpoint-type", "completions", "--streaming", "--tokenizer", work.tokenizer,
        "--isl", str(cell.input_tokens), "--osl", str(cell.output_tokens),
        "--concurrency", str(cell.streams), "--request-count", str(work.requests),
        "--extra-inputs", "ignore_eos:true", "--export-level", "records",
        "--output-artifact-dir", work.folder / "aiperf", "--ui", "none",
    ]  # fmt: skip


def read(work: Work) -> Figures:
    """Sent and last: `request_start_ns` and `request_end_ns`; gaps: `inter_chunk_latency`."""
    found = list((work.folder / "aiperf").rglob("profile_export*.jsonl"))
    if not found:
        raise ValueError("it wrote no records")
    lines = read_json_lines(found[0])
    good = [line for line in lines if not line.get("error") and "time_to_first_token" in line["metrics"]]
    sent = np.array([line["metadata"]["request_start_ns"] for line in good]) / 1e9
    last = np.array([line["metadata"]["request_end_ns"] for line in good]) / 1e9
    ttft = np.array([line["metrics"]["time_to_first_token"]["value"] for line in good]) / 1e3
    gaps = [line["metrics"].get("inter_chunk_latency", {}).get("value", []) for line in good]
    pooled = np.concatenate([np.atleast_1d(one) for one in gaps]) / 1e3 if gaps else None
    return figures(work.cell, sent, last, ttft, pooled, failed=work.requests - len(good))


AIPERF = Rival(
    name="aiperf", title="AIPerf", python=venv_python("aiperf"), package="aiperf", tokens_per_s=13_000, short_rps=500,
    command=command, read=read,
    note="its records (--export-level records): request start and end, TTFT, and every inter-chunk latency",
)  # fmt: skip
