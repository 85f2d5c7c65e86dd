"""Other people's clients, unchanged, against `giq engine serve`: `vllm bench serve` and GuideLLM.

    .venv/bin/python tests/performance/engine_clients.py [--requests 60] [--streams 8]

Needs what tests/performance/rivals/install.sh installs. For each client and API it prints whether all requests
succeeded, and its TTFT and TPOT beside those that the engine predicts for the same load.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.error import URLError
from urllib.request import urlopen

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[2]))

from giq.catalog import Component, Lengths, ServingConfiguration, load_catalog
from giq.engine.simulation import simulate
from giq.engine.spec import EngineSpec
from giq.workload.schedule import make_schedule
from giq.workload.workload import ClosedLoad, Stop, Workload
from tests.performance.rivals.vllm_bench import ENTRY
from tests.performance.rivals.vllm_bench import PYTHON as VLLM_PYTHON

ROOT = Path(__file__).parents[2]
MODEL, ACCELERATOR = "llama-3-8b", "nvidia-h100-80gb"
PROMPT, OUTPUT = 256, 64
TOKENIZER = ROOT / ".venv-rivals" / "tokenizer"
GUIDELLM = ROOT / ".venv-rivals" / "guidellm" / "bin" / "python"


@contextmanager
def served(port: int) -> Iterator[str]:
    """The engine's URL, once it answers."""
    words = ["engine", "serve", "--model", MODEL, "--accelerator", ACCELERATOR, "--port", str(port)]
    with subprocess.Popen([sys.executable, "-m", "giq", *words], cwd=ROOT, stderr=subprocess.DEVNULL) as process:
        url = f"http://127.0.0.1:{port}"
        try:
            for _ in range(300):
                time.sleep(0.1)
                try:
                    urlopen(url + "/health")  # our own server on loopback
                    break
                except URLError:
                    continue
            yield url
        finally:
            process.terminate()


def predicted(requests: int, streams: int) -> tuple[float, float]:
    """Median TTFT and TPOT in ms of that load."""
    fixed = [Lengths(distribution="fixed", mean=mean) for mean in (PROMPT, OUTPUT)]
    workload = Workload(input_tokens=fixed[0], output_tokens=fixed[1])
    part = Component(model=MODEL, accelerator=ACCELERATOR, server="vllm")
    spec = EngineSpec.of(ServingConfiguration(components=(part,)), load_catalog())
    found = simulate(
        spec, make_schedule(workload, ClosedLoad(concurrency=streams), Stop(requests=requests), 1)
    ).requests
    ttft = (found.first_token_ns - found.sent_ns) / 1e6
    tpot = (found.last_token_ns - found.first_token_ns) / 1e6 / (found.output_tokens - 1)
    return float(np.median(ttft)), float(np.median(tpot))


def vllm_bench(url: str, folder: Path, chat: bool, requests: int, streams: int) -> dict[str, Any]:
    """What `vllm bench serve` reports."""
    api = ["openai-chat", "/v1/chat/completions"] if chat else ["openai", "/v1/completions"]
    command: list[str | Path] = [
        VLLM_PYTHON, "-c", ENTRY, "--backend", api[0], "--endpoint", api[1], "--base-url", url, "--model", MODEL,
        "--tokenizer", TOKENIZER, "--dataset-name", "random", "--random-input-len", str(PROMPT),
        "--random-output-len", str(OUTPUT), "--num-prompts", str(requests), "--max-concurrency", str(streams),
        "--ignore-eos", "--save-result", "--result-dir", folder, "--result-filename", "vllm.json",
    ]  # fmt: skip
    subprocess.run(command, check=True, capture_output=True, text=True)
    told = json.loads((folder / "vllm.json").read_text())
    return {
        "completed": told["completed"],
        "ttft": told["median_ttft_ms"],
        "tpot": told["median_tpot_ms"],
        "tokens": told["total_output_tokens"],
    }


def guidellm(url: str, folder: Path, chat: bool, requests: int, streams: int) -> dict[str, Any]:
    """What GuideLLM reports."""
    path = "/v1/chat/completions" if chat else "/v1/completions"
    parts: list[tuple[str, dict[str, Any]]] = [
        ("--backend", {"kind": "openai_http", "target": url, "model": MODEL, "request_format": path}),
        ("--profile", {"kind": "concurrent", "streams": [streams]}),
        ("--constraint", {"kind": "max_requests", "count": requests}),
        ("--tokenizer", {"kind": "huggingface_auto", "model": str(TOKENIZER)}),
        ("--data", {"kind": "synthetic_text", "prompt_tokens": PROMPT, "output_tokens": OUTPUT}),
        ("--output", {"kind": "json", "path": str(folder / "guidellm.json")}),
        ("--metrics", {"kind": "generative", "sample_size": 0}),
    ]
    words = [word for name, value in parts for word in (name, json.dumps(value))]
    subprocess.run([GUIDELLM, "-m", "guidellm", "run", *words], check=True, capture_output=True, text=True)
    (benchmark,) = json.loads((folder / "guidellm.json").read_text())["benchmarks"]
    good = benchmark["requests"]["successful"]
    times = [request["info"]["timings"] for request in good]
    ttft = [(one["first_token_iteration"] - one["request_start"]) * 1e3 for one in times]
    span = [(one["last_token_iteration"] - one["first_token_iteration"]) * 1e3 / (OUTPUT - 1) for one in times]
    return {
        "completed": len(good),
        "ttft": float(np.median(ttft)),
        "tpot": float(np.median(span)),
        "tokens": len(good) * OUTPUT,
    }


def main() -> None:
    """Run each client on each API."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--requests", type=int, default=60)
    parser.add_argument("--streams", type=int, default=8)
    parser.add_argument("--port", type=int, default=8093)
    words = parser.parse_args()
    ttft, tpot = predicted(words.requests, words.streams)
    print(f"predicted: TTFT p50 {ttft:.1f} ms, TPOT p50 {tpot:.2f} ms")
    with served(words.port) as url, tempfile.TemporaryDirectory() as folder:
        for client in (vllm_bench, guidellm):
            for chat in (False, True):
                api = "chat" if chat else "completions"
                try:
                    told = client(url, Path(folder), chat, words.requests, words.streams)
                except subprocess.CalledProcessError as error:
                    print(f"{client.__name__:12s} {api:12s} failed:\n{error.stdout[-1500:]}{error.stderr[-3000:]}")
                    continue
                print(
                    f"{client.__name__:12s} {api:12s} {told['completed']} of {words.requests} requests, "
                    f"{told['tokens']} tokens, TTFT p50 {told['ttft']:.1f} ms, TPOT p50 {told['tpot']:.2f} ms"
                )


if __name__ == "__main__":
    main()
