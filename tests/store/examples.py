"""Records, points and manifests for the tests of this room, made to order or drawn by hypothesis."""

from __future__ import annotations

import resource
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, get_args

import numpy as np
from hypothesis import strategies as st

from giq.catalog.configuration import Component, ServingConfiguration
from giq.catalog.use_cases import Lengths
from giq.curve.point import (
    GRID_METRICS,
    INFORMING,
    INVALIDATING,
    METRICS,
    Attainment,
    Distribution,
    Estimate,
    Evidence,
    Expected,
    Foreseen,
    HardwareSource,
    Point,
    Provenance,
)
from giq.curve.requests import OUTCOMES, Phase, Record, Sample, TokenRule
from giq.store.run_manifest import Host, RunManifest, Server, Worker
from giq.workload.workload import Arrival, ClosedLoad, OpenLoad, Sampling, Workload

MODEL = "meta-llama/Llama-3.1-8B-Instruct"
CONFIG = ServingConfiguration(
    components=(
        Component(model=MODEL, precision="bf16", server="vllm", server_version="0.20.0", accelerator="nvidia-l4", tp=1),
    )
)
WORKLOAD = Workload(use_case="chatbot", input_tokens=Lengths(mean=128.0), output_tokens=Lengths(mean=64.0))


def record(request_id: int, **fields: Any) -> Record:
    """A successful request of run r1, point p1, with three token gaps."""
    start = 1_000_000 * request_id
    known: dict[str, Any] = {
        "run_id": "r1", "point_id": "p1", "request_id": request_id, "scheduled_ns": start, "sent_ns": start + 5,
        "first_token_ns": start + 100, "last_token_ns": start + 400, "end_ns": start + 410, "outcome": "ok",
        "http_status": 200, "requested_input_tokens": 128, "requested_output_tokens": 4, "input_tokens": 128,
        "output_tokens": 4, "token_gaps_ns": [100, 101, 99], "chunk_tokens": [1, 1, 1, 1],
    }  # fmt: skip
    return Record(**(known | fields))


def sample(ts_ns: int, **fields: Any) -> Sample:
    """A sample of the gauge of running requests, of run r1, point p1."""
    known: dict[str, Any] = {
        "run_id": "r1", "point_id": "p1", "ts_ns": ts_ns, "source": "http://localhost:8000", "engine": "0",
        "metric": "vllm:num_requests_running", "labels": {"model_name": MODEL, "engine": "0"}, "value": 3.0,
    }  # fmt: skip
    return Sample(**(known | fields))


def point(
    point_id: str = "p1",
    evidence: Evidence = "measured",
    hardware: HardwareSource = "detected",
    **fields: Any,
) -> Point:
    """A valid open-loop point at 2 requests/s of run r1."""
    known: dict[str, Any] = {
        "point_id": point_id, "run_id": "r1", "load_kind": "open", "offered_rps": 2.0, "achieved_rps": 1.9,
        "in_flight_mean": 3.5, "error_share": 0.0, "window_s": 60.0, "n_requests": 120, "input_tokens_mean": 128.0,
        "output_tokens_mean": 64.0, "input_tps": 243.2, "output_tps": 121.6, "total_tps": 364.8,
        "accelerator_seconds": 70.0, "ttft": Distribution(p90=Estimate(value=0.25, lo=0.2, hi=0.3)),
        "provenance": Provenance(
            evidence=evidence, hardware_source=hardware, source="giq", giq_version="0.1.0", measured_at="2026-11-21"
        ),
    }  # fmt: skip
    return Point(**(known | fields))


def manifest(run_id: str = "r1", **fields: Any) -> RunManifest:
    """What is known of a run that has just begun."""
    known: dict[str, Any] = {
        "run_id": run_id, "created_at": "2026-11-21T12:00:00Z", "giq_version": "0.1.0", "command": ("giq", "profile"),
        "config": CONFIG, "workload": WORKLOAD, "seed": 7, "nonce": 11, "endpoint": "http://localhost:8000",
        "hardware_source": "detected", "accelerator_name": "NVIDIA L4",
        "host": Host(cores=8, python="3.11.9", os="Linux 6.1"),
        "server": Server(name="vllm", version="0.20.0", models=(MODEL,)),
        "workers": (Worker(worker_id=0, host_id="h", boot_id="b", zero_unix_ns=1_700_000_000_000_000_000),),
        "loads": (ClosedLoad(concurrency=1), OpenLoad(rate_rps=2.0)),
    }  # fmt: skip
    return RunManifest(**(known | fields))


def _optional(strategy: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.none() | strategy


INT64 = st.integers(-(2**63), 2**63 - 1)
INT32 = st.integers(-(2**31), 2**31 - 1)
INT16 = st.integers(-(2**15), 2**15 - 1)
TEXT = st.text(st.characters(codec="utf-8"), max_size=20)
FINITE = st.floats(allow_nan=False)

RECORDS = st.builds(
    Record,
    run_id=st.just("r1"), point_id=st.just("p1"), request_id=INT64, worker_id=INT16,
    phase=st.sampled_from(get_args(Phase)), scheduled_ns=INT64, sent_ns=INT64, first_token_ns=_optional(INT64),
    last_token_ns=_optional(INT64), end_ns=_optional(INT64), first_answer_token_ns=_optional(INT64),
    connect_ns=_optional(INT64), connection_reused=st.booleans(), attempts=st.integers(-128, 127),
    http_status=_optional(INT16), outcome=st.sampled_from(OUTCOMES), error_kind=_optional(TEXT),
    finish_reason=_optional(TEXT), requested_input_tokens=INT32, requested_output_tokens=INT32,
    input_tokens=_optional(INT32), cached_tokens=_optional(INT32), output_tokens=_optional(INT32),
    reasoning_tokens=_optional(INT32), token_gaps_ns=_optional(st.lists(INT64, max_size=5)),
    chunk_tokens=_optional(st.lists(st.integers(0, 2**16 - 1), max_size=5)),
    first_token_rule=st.sampled_from(get_args(TokenRule)), session_id=_optional(INT64), turn=_optional(INT16),
    parent_id=_optional(INT64), think_ns=_optional(INT64), prefix_group=_optional(INT32), adapter=_optional(TEXT),
    priority=_optional(TEXT), backend=_optional(TEXT), modality=_optional(TEXT), input_units=_optional(INT32),
    output_units=_optional(INT32), server_queue_s=_optional(FINITE),
)  # fmt: skip

SAMPLES = st.builds(
    Sample,
    run_id=st.just("r1"), point_id=st.just("p1"), ts_ns=INT64, source=TEXT, engine=_optional(TEXT), metric=TEXT,
    labels=st.dictionaries(TEXT, TEXT, max_size=3), value=FINITE,
)  # fmt: skip

ESTIMATES = st.builds(Estimate, value=FINITE, lo=_optional(FINITE), hi=_optional(FINITE))
GRIDS = st.lists(st.floats(width=32, allow_nan=False), min_size=101, max_size=101).map(tuple)


def _distributions(grid: bool) -> st.SearchStrategy[Distribution]:
    statistics = {name: _optional(ESTIMATES) for name in ("mean", "p50", "p90", "p95", "p99")}
    return st.builds(Distribution, quantiles=_optional(GRIDS) if grid else st.none(), **statistics)


PROVENANCES = st.builds(
    Provenance,
    evidence=st.sampled_from(get_args(Evidence)), hardware_source=st.sampled_from(get_args(HardwareSource)),
    source=TEXT, licence=_optional(TEXT), calibration_id=_optional(TEXT), measured_at=_optional(TEXT),
    giq_version=TEXT,
)  # fmt: skip

POINTS = st.builds(
    Point,
    point_id=TEXT, run_id=_optional(TEXT), provenance=PROVENANCES, units_measured=st.integers(1, 9),
    load_kind=st.sampled_from(["open", "closed"]), offered_rps=_optional(FINITE), concurrency=_optional(FINITE),
    achieved_rps=FINITE, in_flight_mean=FINITE, in_flight_slope=_optional(ESTIMATES), error_share=FINITE,
    window_s=FINITE, n_requests=INT64, n_batches=_optional(INT32), input_tokens_mean=FINITE,
    output_tokens_mean=FINITE, input_tokens_p90=_optional(FINITE), output_tokens_p90=_optional(FINITE),
    input_tps=FINITE, output_tps=FINITE, total_tps=FINITE,
    attainment=st.lists(st.builds(Attainment, targets=TEXT, joint=FINITE, goodput_rps=FINITE), max_size=2).map(tuple),
    expected=st.lists(
        st.builds(Expected, target=TEXT, value_s=FINITE, lo_s=FINITE, hi_s=FINITE), max_size=2
    ).map(tuple),
    foreseen=st.lists(st.builds(Foreseen, target=TEXT, rate_rps=FINITE), max_size=2).map(tuple),
    running_mean=_optional(FINITE), waiting_mean=_optional(FINITE), kv_usage_mean=_optional(FINITE),
    kv_usage_max=_optional(FINITE), preemptions=_optional(FINITE), prefix_hit_share=_optional(FINITE),
    work_rps=_optional(ESTIMATES), prompt_share=_optional(FINITE),
    accelerator_seconds=FINITE, rtt_s=_optional(FINITE), client_error_s=_optional(FINITE),
    flags=st.lists(st.sampled_from((*INVALIDATING, *INFORMING)), unique=True, max_size=3).map(tuple),
    **{name: _distributions(name in GRID_METRICS) for name in METRICS},
)  # fmt: skip

NAMES = st.text(st.characters(codec="utf-8", exclude_characters="\x00"), min_size=1, max_size=12)
POSITIVE = st.floats(min_value=1e-6, max_value=1e9) | st.integers(1, 10_000)
ENGINE_VALUES = st.booleans() | st.integers(-(2**53), 2**53) | st.floats(-1e12, 1e12) | TEXT

CONFIGS = st.builds(
    ServingConfiguration,
    components=st.lists(
        st.builds(
            Component,
            role=st.sampled_from(["both", "prefill", "decode"]), replicas=st.integers(1, 4), hosts=st.integers(1, 4),
            model=NAMES, precision=TEXT, kv_dtype=_optional(TEXT), accelerator=NAMES, tp=st.integers(1, 16),
            accelerators_per_host=st.integers(1, 8), fraction=_optional(POSITIVE), machine_type=_optional(TEXT),
            engine_args=st.dictionaries(NAMES, ENGINE_VALUES, max_size=3),
        ), min_size=1, max_size=2,
    ).map(tuple),
    adapters=_optional(st.integers(1, 9)), speculative=_optional(TEXT), router=_optional(TEXT),
)  # fmt: skip

LENGTHS = st.builds(
    Lengths,
    distribution=st.sampled_from(["fixed", "uniform", "normal", "lognormal"]), mean=POSITIVE,
    spread=st.floats(0, 1e6), minimum=st.integers(1, 100), maximum=_optional(st.integers(100, 10_000)),
)  # fmt: skip
WORKLOADS = st.builds(
    Workload,
    use_case=_optional(TEXT), input_tokens=LENGTHS, output_tokens=LENGTHS,
    arrival=st.builds(Arrival, law=st.sampled_from(["poisson", "constant", "gamma"]), shape=POSITIVE),
    sampling=st.builds(Sampling, temperature=st.floats(0, 2), ignore_eos=st.booleans()),
)  # fmt: skip


def phases(count: int, warmup: int) -> np.ndarray[Any, Any]:
    """The first *warmup* of *count* requests are warm-up, the others are measured."""
    return np.array([0] * warmup + [1] * (count - warmup), dtype=np.int8)


@contextmanager
def largest_file(size: int) -> Iterator[None]:
    """No file can grow beyond *size* bytes in the block: what a full disk does, but everywhere and by the byte."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))  # Python ignores SIGXFSZ, so writing raises OSError
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
