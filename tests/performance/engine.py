"""How fast the simulated engine is: requests a second of one core, and the curves of the whole catalog.

    .venv/bin/python tests/performance/engine.py             (simulated requests a second)
    .venv/bin/python tests/performance/engine.py catalog     (every model, accelerator, slice and use case)

Closed loop of 64, 1024 tokens in and 1024 out on average, lengths spread evenly by half: free, with a KV cache that is
the limit (about half of what 64 such requests need), and with shared prefixes, speculation and several cores. The best
of three runs by CPU time counts: others use the machine too.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor

from giq.catalog import Component, Lengths, ServingConfiguration, load_catalog
from giq.documents import replace
from giq.engine.prediction import predict_curve
from giq.engine.simulation import simulate
from giq.engine.spec import EngineSpec
from giq.errors import UsageError
from giq.recommend.catalog_curves import Part, units
from giq.workload.schedule import make_schedule
from giq.workload.shared_prefix import SharedPrefix
from giq.workload.workload import ClosedLoad, Stop, Workload

REQUESTS, CONCURRENCY, TOKENS = 3000, 64, 1024
PROCESSES = 2
MAIN = Component(model="llama-3-8b", accelerator="nvidia-h100-80gb", server="vllm")


def spec(speculative: str | None = None, **fields: object) -> EngineSpec:
    """Llama 3 8B on an H100."""
    parts = (replace(MAIN, **fields),)
    return EngineSpec.of(ServingConfiguration(components=parts, speculative=speculative), load_catalog())


def requests_a_second(engine: EngineSpec, workload: Workload) -> float:
    """Simulated requests in a second of CPU time, records and all; the best of three."""
    schedule = make_schedule(workload, ClosedLoad(concurrency=CONCURRENCY), Stop(requests=REQUESTS), seed=1)
    best = 0.0
    for _ in range(3):
        began = time.process_time()
        simulate(engine, schedule)
        best = max(best, REQUESTS / (time.process_time() - began))
    return best


def speeds() -> None:
    """Print requests a second of each kind."""
    lengths = Lengths(distribution="uniform", mean=TOKENS, minimum=TOKENS // 2, maximum=TOKENS * 3 // 2)
    plain = Workload(input_tokens=lengths, output_tokens=lengths)
    sharing = replace(plain, shared_prefix=SharedPrefix(tokens=TOKENS // 2, groups=8))
    kinds: dict[str, Callable[[], tuple[EngineSpec, Workload]]] = {
        "free (asked for: 20,000)": lambda: (spec(), plain),
        "KV cache is the limit (10,000)": lambda: (spec(engine_args={"num_gpu_blocks_override": 4000}), plain),
        "shared prefixes": lambda: (spec(), sharing),
        "speculation": lambda: (spec("tokens=3,acceptance=0.7"), plain),
        "four replicas": lambda: (spec(replicas=4), plain),
    }
    for name, made in kinds.items():
        print(f"{name:32s} {requests_a_second(*made()):9,.0f} simulated requests/s", flush=True)


def curve(asked: tuple[EngineSpec, Workload]) -> float | None:
    """Seconds that one curve takes; None where it cannot run."""
    began = time.monotonic()
    try:
        predict_curve(*asked)
    except UsageError:
        return None
    return time.monotonic() - began


def catalog_time() -> None:
    """Print how long the whole catalog takes, and the slowest curve."""
    asked = units(Part(), load_catalog())
    began = time.monotonic()
    taken: list[float] = []
    with ProcessPoolExecutor(PROCESSES) as pool:
        for done, seconds in enumerate(pool.map(curve, asked, chunksize=4), 1):
            taken += [] if seconds is None else [seconds]
            print(f"\r{done} of {len(asked)}", end="", file=sys.stderr, flush=True)
    print(file=sys.stderr)
    whole = time.monotonic() - began
    print(f"{len(asked)} units and use cases, {len(taken)} curves: {whole:.0f} s on {PROCESSES} processes")
    print(f"one curve: median {sorted(taken)[len(taken) // 2]:.2f} s, slowest {max(taken):.2f} s")


if __name__ == "__main__":
    catalog_time() if sys.argv[1:] == ["catalog"] else speeds()
