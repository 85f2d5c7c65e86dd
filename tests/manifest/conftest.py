"""A small catalog, and one choice on a GPU and one on a TPU, that the tests of this room share."""

from __future__ import annotations

import pytest

from giq.catalog.accelerators import Accelerator, Shape
from giq.catalog.catalog import Catalog
from giq.catalog.configuration import Component, ServingConfiguration
from giq.catalog.models import Model, Peaks, Source, Weights
from giq.catalog.prices import Price
from giq.catalog.servers import MetricNames, ModelServer, ServerVersion
from giq.curve.point import Estimate
from giq.documents import replace
from giq.manifest.choice import LoadLevel, ServingChoice

SOURCE = Source(title="made for a test", date="2026-11-01")
METRICS = MetricNames(
    running="vllm:num_requests_running",
    waiting="vllm:num_requests_waiting",
    kv_usage="vllm:kv_cache_usage_perc",
    request_success="vllm:request_success",
    prompt_tokens="vllm:prompt_tokens",
    generation_tokens="vllm:generation_tokens",
    preemptions="vllm:num_preemptions",
    prefix_queries="vllm:prefix_cache_queries",
    prefix_hits="vllm:prefix_cache_hits",
    ttft="vllm:time_to_first_token_seconds",
    e2e_latency="vllm:e2e_request_latency_seconds",
    inter_token_latency="vllm:inter_token_latency_seconds",  # noqa: S106 (a metric's name)
)
FLAGS = {
    "model": "--model",
    "served_model_name": "--served-model-name",
    "tensor_parallel_size": "--tensor-parallel-size",
    "max_model_len": "--max-model-len",
    "max_num_seqs": "--max-num-seqs",
    "gpu_memory_utilization": "--gpu-memory-utilization",
    "kv_cache_dtype": "--kv-cache-dtype",
    "enable_prefix_caching": "--enable-prefix-caching",
    "enable_log_requests": "--enable-log-requests",
    "quantization": "--quantization",
    "api_key": "--api-key",
}
NEWER = ServerVersion(
    version="0.32.0",
    released="2026-10-20",
    images={"gpu": "vllm/vllm-openai:v0.32.0", "tpu": "vllm/vllm-tpu:v0.32.0"},
    command=("vllm", "serve"),
    flags=FLAGS | {"shutdown_timeout": "--shutdown-timeout"},
    defaults={"enable_log_requests": False, "enable_prefix_caching": True},
    metrics=METRICS,
    source=SOURCE,
)
OLDER = replace(
    NEWER,
    version="0.10.0",
    images={"gpu": "vllm/vllm-openai:v0.10.0"},
    command=("python3", "-m", "vllm.entrypoints.openai.api_server"),
    flags=FLAGS,
)
L4_SHAPE = Shape(machine_type="g2-standard-12", accelerators=1, vcpus=12, memory_gb=48)
V6E_SHAPE = Shape(machine_type="ct6e-standard-8t", accelerators=8, topology="2x4", vcpus=180, memory_gb=1440)
L4 = Accelerator(
    name="nvidia-l4",
    title="NVIDIA L4",
    aliases=("l4",),
    kind="gpu",
    generation="ada",
    memory_gb=24,
    bandwidth_gb_s=300,
    peak_tflops=Peaks(bf16=121),
    on_gke=True,
    node_labels={"cloud.google.com/gke-accelerator": "nvidia-l4"},
    resource="nvidia.com/gpu",
    shapes=(L4_SHAPE,),
    source=SOURCE,
)
V6E = Accelerator(
    name="tpu-v6e-slice",
    title="TPU v6e",
    aliases=("v6e",),
    kind="tpu",
    generation="v6e",
    memory_gb=32,
    bandwidth_gb_s=1638,
    peak_tflops=Peaks(bf16=918),
    on_gke=True,
    node_labels={"cloud.google.com/gke-tpu-accelerator": "tpu-v6e-slice"},
    topology_label="cloud.google.com/gke-tpu-topology",
    resource="google.com/tpu",
    shapes=(V6E_SHAPE,),
    source=SOURCE,
)
GH200 = replace(L4, name="gh200", title="GH200", aliases=(), on_gke=False, node_labels={}, resource=None, shapes=())
LLAMA = Model(
    name="llama-3-8b",
    title="Llama 3 8B",
    parameters=8_000_000_000,
    active_parameters=8_000_000_000,
    layers=32,
    hidden_size=4096,
    intermediate_size=14336,
    attention_heads=32,
    kv_heads=8,
    head_dim=128,
    vocab_size=128256,
    max_context=8192,
    weights=(
        Weights(repository="meta-llama/Meta-Llama-3-8B-Instruct", precision="bf16", bytes=16_060_522_496),
        Weights(repository="RedHatAI/Meta-Llama-3-8B-Instruct-FP8", precision="fp8", bytes=9_080_934_400),
    ),
    gated=True,
    source=SOURCE,
)


@pytest.fixture(scope="session")
def catalog() -> Catalog:
    """Two accelerators of GKE and one that is not, one model, two versions of vLLM."""
    return Catalog(
        models=(LLAMA,),
        accelerators=(GH200, L4, V6E),
        servers=(ModelServer(name="vllm", title="vLLM", versions=(NEWER, OLDER)),),
    )


@pytest.fixture(scope="session")
def gpu() -> ServingChoice:
    """Llama 3 8B measured on one L4, wanted twice."""
    part = Component(
        model="llama-3-8b",
        precision="bf16",
        server="vllm",
        server_version="0.32.0",
        accelerator="nvidia-l4",
        engine_args={"max_model_len": 8192, "gpu_memory_utilization": 0.92},
    )
    return ServingChoice(
        config=ServingConfiguration(components=(part,)),
        weights_repository="meta-llama/Meta-Llama-3-8B-Instruct",
        weights_bytes=16_060_522_496,
        gated=True,
        shape=L4_SHAPE,
        curve_id="0123456789abcdef",
        evidence="measured",
        hardware_source="detected",
        source="load points a, b",
        measured_at="2026-11-20T10:00:00Z",
        workload="chatbot (108 input, 132 output tokens, poisson arrivals)",
        targets=("p90 TTFT <= 300 ms",),
        capacity=Estimate(value=4.0, lo=3.8, hi=4.2),
        levels=(
            LoadLevel(rate_rps=1.0, running=7.0, waiting=0.0, kv_usage=0.05),
            LoadLevel(rate_rps=2.0, running=15.0, waiting=0.0, kv_usage=0.1),
            LoadLevel(rate_rps=4.0, running=40.0, waiting=1.5, kv_usage=0.3),
        ),
        latency_p99_s=14.2,
        replicas=2,
        price=Price(usd_per_hour=1.0, region="us-central1", pricing_model="on-demand", source=SOURCE),
    )


@pytest.fixture(scope="session")
def tpu() -> ServingChoice:
    """A 70B model predicted on a v6e slice of one host, bought spot, with one level of the curve known."""
    part = Component(
        model="llama-3.3-70b",
        precision="bf16",
        server="vllm",
        server_version="0.32.0",
        accelerator="tpu-v6e-slice",
        accelerators_per_host=8,
        topology="2x4",
        tp=8,
        engine_args={"max_model_len": 16384},
    )
    return ServingChoice(
        config=ServingConfiguration(components=(part,)),
        weights_repository="meta-llama/Llama-3.3-70B-Instruct",
        weights_bytes=141_107_412_992,
        shape=V6E_SHAPE,
        curve_id="fedcba9876543210",
        evidence="estimated",
        hardware_source="simulated",
        calibration_id="prior",
        targets=("p90 TTFT <= 500 ms", "p90 TPOT <= 50 ms"),
        capacity=Estimate(value=12.0),
        levels=(LoadLevel(rate_rps=12.0, running=9.0, waiting=0.2),),
        latency_p99_s=8.0,
        pricing_model="spot",
    )
