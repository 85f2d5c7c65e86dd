"""inference-perf: its per-request lifecycle report."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tests.performance.figures import Figures, figures
from tests.performance.rivals.rival import Rival, Work, read_json, venv_python


def command(work: Work) -> Sequence[str | Path]:
    """Its command line; the configuration that it names is written first."""
    config = work.folder / "inference-perf.yaml"
    config.write_text(json.dumps(_config(work)))  # JSON is YAML
    return [venv_python("inference-perf"), "-m", "inference_perf.main", "--config_file", config]


def _config(work: Work) -> dict[str, Any]:
    cell = work.cell

    def fixed(length: int) -> dict[str, Any]:
        return {"type": "fixed", "min": length, "max": length, "mean": length, "std_dev": 0}

    stage = {"num_requests": work.requests, "concurrency_level": cell.streams}
    fields = {"request": False, "response": False, "info": False, "computed_metrics": True}
    return {
        "api": {"type": "completion", "streaming": True},
        "server": {"type": "vllm", "model_name": "exact", "base_url": work.url, "ignore_eos": True},
        "tokenizer": {"pretrained_model_name_or_path": str(work.tokenizer)},
        "data": {
            "type": "random",
            "input_distribution": {**fixed(cell.input_tokens), "total_count": work.requests},
            "output_distribution": {**fixed(cell.output_tokens), "total_count": work.requests},
        },
        "load": {"type": "concurrent", "stages": [stage], "interval": 0.0},
        "storage": {"local_storage": {"path": str(work.folder / "inference-perf")}},
        "report": {"request_lifecycle": {"per_request": True, "per_request_fields": fields}},
    }


def read(work: Work) -> Figures:
    """Sent and last: `start_time` and `end_time`; TTFT and gaps: its computed metrics."""
    (path,) = (work.folder / "inference-perf").rglob("per_request_lifecycle_metrics.json")
    entries = read_json(path)
    good = [entry for entry in entries if entry.get("error") is None]
    sent = np.array([entry["start_time"] for entry in good])
    last = np.array([entry["end_time"] for entry in good])
    ttft = np.array([entry["computed_metrics"]["time_to_first_token"] for entry in good])
    gaps = np.concatenate([entry["computed_metrics"]["inter_token_latencies"] for entry in good])
    return figures(work.cell, sent, last, ttft, gaps, failed=work.requests - len(good))


INFERENCE_PERF = Rival(
    name="inference-perf", title="inference-perf", python=venv_python("inference-perf"), package="inference-perf",
    tokens_per_s=20_000, short_rps=440, command=command, read=read,
    note="its per-request report: start and end, TTFT and every gap as it computes them",
)  # fmt: skip
