"""giq beside `vllm bench serve` on a server that runs: `python -m tests.campaign.beside_bench --url URL ...`.

Both hold the same closed loops in turns (tests/vllm/compare.py), and the server's own histograms judge them.
"""

from __future__ import annotations

import argparse
import json
import sys
import urllib.request
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from giq.store.parquet import write_bytes

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "vllm"))

from compare import HEAD, Pair, Served, Work, giq, measured, rows

WARM_REQUESTS = 2
"""For each request in flight: what the server compiles or fills first is no part of what is compared."""


def served_at(url: str, python: Path) -> Served:
    """The server at *url* by what /v1/models says; *python* is the interpreter that has vLLM."""
    with urllib.request.urlopen(f"{url}/v1/models", timeout=10) as reply:
        model = json.load(reply)["data"][0]
    return Served(url=url, python=python, model=model["root"], name=model["id"])


def works(text: str, input_tokens: int, output_tokens: int) -> list[Work]:
    """The loads in `CONCURRENCY:REQUESTS,...`."""
    pairs = [tuple(map(int, part.split(":"))) for part in text.split(",")]
    return [Work(f"{slots} in flight", slots, number, input_tokens, output_tokens) for slots, number in pairs]


def document(pair: Pair) -> dict[str, Any]:
    """One load as plain values: the ratios giq / vllm bench, as such and as the server's histograms judge each turn."""

    def figures(found: Sequence[Any]) -> list[dict[str, Any]]:
        return [{name: value for name, value in asdict(one).items() if name != "server"} for one in found]

    return {
        "work": asdict(pair.work),
        "throughput_ratio": pair.throughput_ratio,
        "tpot_ratio": pair.tpot_ratio,
        "judged_throughput_ratio": pair.judged_throughput_ratio,
        "judged_tpot_ratio": pair.judged_tpot_ratio,
        "giq_tpot_error": pair.giq_error,
        "bench_tpot_error": pair.bench_error,
        "giq": figures(pair.giq),
        "vllm_bench": figures(pair.bench),
        "table": list(rows(pair)),
    }


def main(arguments: Sequence[str]) -> None:
    """Measure, print the table and write the figures."""
    parser = argparse.ArgumentParser(prog="python -m tests.campaign.beside_bench")
    parser.add_argument("--url", required=True)
    parser.add_argument("--python", type=Path, required=True, help="the interpreter that has vLLM")
    parser.add_argument("--loads", required=True, help="CONCURRENCY:REQUESTS,...")
    parser.add_argument("--input-tokens", type=int, default=64)
    parser.add_argument("--output-tokens", type=int, default=32)
    parser.add_argument("--turns", type=int, default=1)
    parser.add_argument("--to", type=Path, help="write the figures into this JSON file too")
    asked = parser.parse_args(arguments)
    server = served_at(asked.url, asked.python)
    loads = works(asked.loads, asked.input_tokens, asked.output_tokens)
    most = max(loads, key=lambda work: work.concurrency)
    warm = Work("warm-up", most.concurrency, WARM_REQUESTS * most.concurrency, asked.input_tokens, asked.output_tokens)
    giq(server, warm, seed=1)
    print(HEAD, flush=True)
    found = []
    for work in loads:
        pair = measured(server, work, asked.turns)
        print(*rows(pair), sep="\n", flush=True)
        found.append(document(pair))
    if asked.to is not None:
        write_bytes(asked.to, json.dumps({"head": HEAD, "loads": found}, indent=1).encode() + b"\n")


if __name__ == "__main__":
    main(sys.argv[1:])
