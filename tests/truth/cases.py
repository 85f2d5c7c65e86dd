"""Seeded cases: a simulated server, a workload, and targets whose true capacity is to be found."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np

from giq.catalog import Catalog, Component, EngineValue, Lengths, ServingConfiguration, load_catalog
from giq.curve.targets import Target, TargetMetric
from giq.documents import content_id
from giq.engine.calibration import Calibration
from giq.engine.simulation import Simulation, simulate
from giq.engine.spec import EngineSpec
from giq.workload.schedule import make_schedule
from giq.workload.workload import Arrival, ClosedLoad, Load, OpenLoad, Stop, Workload

CALIBRATION = Calibration(
    calibration_id="truth-1", rests_on="nothing: fixed, so that what is true does not move with the shipped prior",
    weight_read=0.8, kv_read=0.6, matrix=0.6, expert_read=0.75, expert_matrix=0.3, prefill_attention=0.4, link=0.7,
    ridge=4.0, step_s=0.2e-3, layer_s=25e-6, sequence_s=5e-6, request_s=15e-3, reduce_s=9e-6, decode_sigma=0.0,
    prefill_sigma=0.0,
)  # fmt: skip

UNITS = (
    ("llama-3-8b", "nvidia-l4", 1), ("llama-3-8b", "nvidia-tesla-a100", 1), ("llama-3.1-8b", "nvidia-h100-80gb", 1),
    ("gemma-2-2b", "nvidia-l4", 1), ("qwen3-14b", "nvidia-a100-80gb", 1), ("qwen3-32b", "nvidia-h100-80gb", 2),
    ("gemma-2-27b", "nvidia-a100-80gb", 1), ("llama-3.3-70b", "nvidia-h100-80gb", 4), ("qwen3-8b", "tpu-v6e-slice", 1),
    ("gpt-oss-20b", "nvidia-h100-80gb", 1), ("mixtral-8x7b", "nvidia-h100-80gb", 2),
    ("mistral-small-24b", "nvidia-h200-141gb", 1), ("llama-3.3-70b", "nvidia-b200", 1),
)  # fmt: skip
USE_CASES = ("chatbot", "code-completion", "advanced-customer-support", "text-summarization", "text-generation")
TTFT_S = (0.05, 0.1, 0.2, 0.3, 0.5, 0.75, 1.0, 2.0, 3.0, 5.0, 10.0)
TPOT_S = (0.01, 0.015, 0.02, 0.025, 0.03, 0.04, 0.05, 0.06, 0.075, 0.1, 0.125, 0.15, 0.2)
SHARES = (0.3, 0.5, 0.65, 0.8, 0.9, 0.97)
"""Where, as shares of what the server completes at most, a short run looks which targets are of interest."""
_SHORT = 1500


@dataclass(frozen=True)
class Case:
    """One case: *number* (its seed), the engine, what it is asked, and what the search is told.

    `max_rate_rps` is the highest rate that may be offered: where it is below the knee, "never saturates within the
    limit" is the right answer.
    """

    number: int
    spec: EngineSpec
    workload: Workload
    targets: tuple[Target, ...]
    max_rate_rps: float | None
    kinds: tuple[str, ...]

    @cached_property
    def key(self) -> str:
        """Names what its truth depends on: workload, targets, how the engine answers a short load, and its limits.

        A short load does not come near the limits.
        """
        heard = run(self.spec, self.workload, ClosedLoad(concurrency=32), Stop(requests=200), 1)
        ends = [f"{end:.5g}" for end in (heard.requests.end_ns[::20] / 1e9).tolist()]
        limits = [self.spec.max_num_seqs, self.spec.max_num_batched_tokens, self.spec.memory.kv_blocks]
        return content_id([self.workload.workload_id, [target.key for target in self.targets], ends, limits])


def run(spec: EngineSpec, workload: Workload, load: Load, stop: Stop, seed: int) -> Simulation:
    """What *load* does to the engine."""
    return simulate(spec, make_schedule(workload, load, stop, seed))


@lru_cache(maxsize=1)
def _catalog() -> Catalog:
    return load_catalog()


def make_case(number: int) -> Case:
    """Case *number*: the same for ever, as long as catalog and engine are."""
    rng = np.random.default_rng([number, 2026])
    while True:
        spec, workload, kind = _server(rng), *_workload(rng)
        if workload.input_tokens.maximum and workload.output_tokens.maximum:
            longest = workload.input_tokens.maximum + workload.output_tokens.maximum
            if longest <= min(spec.max_model_len, spec.memory.kv_tokens):
                break
    most, bound = _most(spec, workload)
    targets, kinds = _targets(rng, spec, workload, most)
    never = rng.random() < 0.06
    limit = float(f"{most * rng.uniform(0.3, 0.8):.3g}") if never else None
    return Case(number, spec, workload, targets, limit, (kind, bound, *kinds, *(("limited",) if never else ())))


def _server(rng: np.random.Generator) -> EngineSpec:
    catalog = _catalog()
    name, accelerator, tp = UNITS[rng.integers(len(UNITS))]
    arguments: dict[str, EngineValue] = {
        "max_num_seqs": int(rng.choice([64, 128, 256, 256, 512])),
        "max_num_batched_tokens": 2048,
    }
    if rng.random() < 0.3:
        arguments["max_num_batched_tokens"] = 8192
    model = catalog.model(name)
    component = Component(
        model=name, precision=model.weights[0].precision, accelerator=accelerator, accelerators_per_host=tp, tp=tp,
        engine_args=arguments,
    )  # fmt: skip
    return EngineSpec.of(ServingConfiguration(components=(component,)), catalog, CALIBRATION)


def _workload(rng: np.random.Generator) -> tuple[Workload, str]:
    arrival = Arrival()
    if rng.random() < 0.15:
        arrival = Arrival(law="gamma", shape=float(rng.choice([0.5, 2.0])))
    if rng.random() < 0.6:
        use_case = _catalog().use_case(USE_CASES[rng.integers(len(USE_CASES))])
        lengths = use_case.input_tokens, use_case.output_tokens
        return Workload(use_case=use_case.name, input_tokens=lengths[0], output_tokens=lengths[1], arrival=arrival), (
            use_case.name
        )
    made = [_lengths(rng, int(rng.choice(of))) for of in ((64, 128, 256, 512, 1024, 2048), (32, 64, 128, 256, 512))]
    return Workload(input_tokens=made[0], output_tokens=made[1], arrival=arrival), made[1].distribution


def _lengths(rng: np.random.Generator, mean: int) -> Lengths:
    law = rng.integers(3)
    if law == 0:
        return Lengths(mean=mean, minimum=mean, maximum=mean)
    if law == 1:
        return Lengths(distribution="uniform", mean=mean, minimum=mean // 2, maximum=mean + mean // 2)
    return Lengths(distribution="lognormal", mean=mean, spread=0.7, minimum=4, maximum=4 * mean)


def _most(spec: EngineSpec, workload: Workload) -> tuple[float, str]:
    """About what the server completes at most, and what bounds it."""
    seen = run(spec, workload, ClosedLoad(concurrency=4096), Stop(requests=3 * _SHORT), 5)
    ends = np.sort(seen.requests.end_ns)
    first, last = ends[_SHORT], ends[2 * _SHORT]
    state = seen.statistics(int(first), int(last))
    if (state.kv_usage_mean or 0.0) > 0.9:
        bound = "kv-bound"
    else:
        heavy = workload.input_tokens.mean > 8 * workload.output_tokens.mean
        bound = "prefill-bound" if heavy else "decode-bound"
    return _SHORT / float(last - first) * 1e9, bound


def _targets(
    rng: np.random.Generator, spec: EngineSpec, workload: Workload, most: float
) -> tuple[tuple[Target, ...], tuple[str, ...]]:
    """Targets in round numbers, most of them met somewhere between 25 % and 97 % of the most."""
    percentile = str(rng.choice(["p50", "p90", "p90", "p90", "p90", "p90", "p95"]))
    asked = ("ttft", "tpot", "both")[rng.integers(3)]
    seen: dict[TargetMetric, list[float]] = {"ttft": [], "tpot": []}
    for share in SHARES:
        found = run(spec, workload, OpenLoad(rate_rps=share * most), Stop(requests=_SHORT), 3).requests
        late = slice(_SHORT // 3, None)
        first = (found.first_token_ns - found.scheduled_ns)[late] / 1e9
        gaps = np.maximum(found.output_tokens - 1, 1)
        each = ((found.last_token_ns - found.first_token_ns) / gaps)[late] / 1e9
        seen["ttft"].append(float(np.percentile(first, int(percentile[1:]))))
        seen["tpot"].append(float(np.percentile(each, int(percentile[1:]))))
    metrics: tuple[TargetMetric, ...] = (
        ("ttft", "tpot") if asked == "both" else ("ttft",) if asked == "ttft" else ("tpot",)
    )
    impossible = rng.random() < 0.08
    targets = tuple(_target(rng, metric, percentile, seen[metric], impossible) for metric in metrics)
    return targets, (asked, percentile)


def _target(
    rng: np.random.Generator, metric: TargetMetric, percentile: str, seen: list[float], impossible: bool
) -> Target:
    ladder = np.array(TTFT_S if metric == "ttft" else TPOT_S)
    inside = ladder[(ladder > 1.02 * seen[0]) & (ladder < seen[-1])]
    if impossible:
        below = ladder[ladder < 0.6 * seen[0]]
        return Target(metric, float(below[-1]) if len(below) else float(f"{0.5 * seen[0]:.2g}"), percentile)
    if len(inside):
        return Target(metric, float(rng.choice(inside)), percentile)
    wanted = rng.uniform(SHARES[0], SHARES[-1])
    return Target(metric, float(f"{np.interp(wanted, SHARES, seen):.2g}"), percentile)
