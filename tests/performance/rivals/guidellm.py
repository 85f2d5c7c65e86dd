"""GuideLLM: the per-request statistics of its JSON report."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tests.performance.figures import Figures, figures
from tests.performance.rivals.rival import Rival, Work, read_json, venv_python


def command(work: Work) -> Sequence[str | Path]:
    """Its command line."""
    cell = work.cell

    def words(**values: Any) -> str:
        return json.dumps(values)

    return [
        venv_python("guidellm"), "-m", "guidellm", "run",
        "--backend", words(kind="openai_http", target=work.url, model="exact", request_format="/v1/completions"),
        "--profile", words(kind="concurrent", streams=[cell.streams]),
        "--constraint", words(kind="max_requests", count=work.requests),
        "--tokenizer", words(kind="huggingface_auto", model=str(work.tokenizer)),
        "--data", words(kind="synthetic_text", prompt_tokens=cell.input_tokens, output_tokens=cell.output_tokens),
        "--output", words(kind="json", path=str(work.folder / "guidellm.json")),
        "--metrics", words(kind="generative", sample_size=0),
    ]  # fmt: skip


def read(work: Work) -> Figures:
    """Sent: `request_start`; TTFT and last token: its first and last token iteration (wall clock)."""
    (benchmark,) = read_json(work.folder / "guidellm.json")["benchmarks"]
    requests = benchmark["requests"]
    times = [request["info"]["timings"] for request in requests["successful"]]
    sent = np.array([one["request_start"] for one in times])
    first = np.array([one["first_token_iteration"] for one in times])
    last = np.array([one["last_token_iteration"] for one in times])
    failed = len(requests["errored"]) + len(requests["incomplete"])
    return figures(work.cell, sent, last, first - sent, None, failed=failed)


GUIDELLM = Rival(
    name="guidellm", title="GuideLLM", python=venv_python("guidellm"), package="guidellm", tokens_per_s=9_000,
    short_rps=300, command=command, read=read,
    note="the request timings of its JSON; it keeps no gaps (token times are spaced evenly between first and last), "
    "so it has no ITL p99",
)  # fmt: skip
