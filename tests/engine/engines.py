"""A catalog made in code, so that what is tested does not move with the one that ships."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Literal

from giq import documents
from giq.catalog import (
    Accelerator,
    Catalog,
    Component,
    EngineValue,
    Experts,
    Lengths,
    MetricNames,
    Model,
    ModelServer,
    Peaks,
    ServerVersion,
    ServingConfiguration,
    SlidingWindow,
    Source,
    Weights,
)
from giq.catalog.models import LatentAttention
from giq.engine.spec import EngineSpec
from giq.workload.workload import Workload

SOURCE = Source(title="test", date="2026-11-21")

DENSE = Model(
    name="dense-8b",
    title="A dense model of 8 B",
    parameters=8_030_261_248,
    active_parameters=8_030_261_248,
    layers=32,
    hidden_size=4096,
    intermediate_size=14336,
    attention_heads=32,
    kv_heads=8,
    head_dim=128,
    vocab_size=128256,
    max_context=8192,
    weights=(
        Weights(repository="org/Dense-8B", precision="bf16", bytes=16_060_522_496),
        Weights(repository="org/Dense-8B-FP8", precision="fp8", bytes=9_080_934_400),
    ),
    source=SOURCE,
)
LARGE = Model(
    name="dense-70b",
    title="A dense model of 70 B",
    parameters=70_553_706_496,
    active_parameters=70_553_706_496,
    layers=80,
    hidden_size=8192,
    intermediate_size=28672,
    attention_heads=64,
    kv_heads=8,
    head_dim=128,
    vocab_size=128256,
    max_context=131072,
    weights=(Weights(repository="org/Dense-70B-FP8", precision="fp8", bytes=72_655_000_000),),
    source=SOURCE,
)
MIXTURE = Model(
    name="mixture-20b",
    title="A mixture of experts with sliding windows",
    parameters=20_914_757_184,
    active_parameters=4_187_440_704,
    layers=24,
    hidden_size=2880,
    intermediate_size=2880,
    attention_heads=64,
    kv_heads=8,
    head_dim=64,
    vocab_size=201088,
    max_context=131072,
    experts=Experts(count=32, per_token=4, intermediate_size=2880),
    sliding_window=SlidingWindow(tokens=128, layers=12),
    weights=(Weights(repository="org/Mixture-20B", precision="mxfp4", bytes=13_761_264_768),),
    source=SOURCE,
)
LATENT = Model(
    name="latent-16b",
    title="A mixture of experts with latent attention",
    parameters=15_706_484_224,
    active_parameters=2_661_150_208,
    layers=27,
    hidden_size=2048,
    intermediate_size=10944,
    attention_heads=16,
    kv_heads=16,
    head_dim=128,
    vocab_size=102400,
    max_context=163840,
    experts=Experts(count=64, per_token=6, intermediate_size=1408, shared_intermediate_size=2816, dense_layers=1),
    latent_attention=LatentAttention(kv_rank=512, rope_dim=64, query_dim=192, value_dim=128),
    weights=(Weights(repository="org/Latent-16B", precision="bf16", bytes=31_412_968_448),),
    source=SOURCE,
)
MODELS = (DENSE, LARGE, MIXTURE, LATENT)


def chip(
    name: str, kind: Literal["gpu", "tpu", "cpu"], memory: float, bandwidth: float, bf16: float, link: float | None
) -> Accelerator:
    """An accelerator of the test catalog."""
    return Accelerator(
        name=name,
        title=name,
        kind=kind,
        generation=name,
        memory_gb=memory,
        bandwidth_gb_s=bandwidth,
        peak_tflops=Peaks(bf16=bf16, fp8=2 * bf16),
        link_gb_s=link,
        on_gke=True,
        source=SOURCE,
    )


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
    inter_token_latency="vllm:inter_token_latency_seconds",  # noqa: S106 - a metric
)
VERSION = ServerVersion(
    version="0.32.0",
    released="2026-10-20",
    images={},
    command=(),
    flags={},
    defaults={"gpu_memory_utilization": 0.9, "block_size": 16, "max_num_batched_tokens": 2048, "max_num_seqs": 256},
    defaults_by_accelerator={"big": {"max_num_batched_tokens": 8192, "max_num_seqs": 1024}},
    metrics=METRICS,
    source=SOURCE,
)
CATALOG = Catalog(
    models=MODELS,
    accelerators=(
        chip("big", "gpu", 85.02, 3350, 989, 450),
        chip("small", "gpu", 23.65, 300, 121, None),
        chip("tensor", "tpu", 33.55, 1638, 918, 400),
        chip("general", "cpu", 64, 100, 2, None),
    ),
    servers=(ModelServer(name="vllm", title="vLLM", versions=(VERSION,)),),
)


def config(
    model: str = "dense-8b", accelerator: str = "big", tp: int = 1, pp: int = 1, **engine_args: EngineValue
) -> ServingConfiguration:
    """A configuration of one host; engine arguments by keyword."""
    component = Component(
        model=model,
        accelerator=accelerator,
        accelerators_per_host=tp * pp,
        tp=tp,
        pp=pp,
        server="vllm",
        engine_args=engine_args,
    )
    return ServingConfiguration(components=(component,))


def engine(
    model: str = "dense-8b",
    accelerator: str = "big",
    tp: int = 1,
    pp: int = 1,
    kv_blocks: int | None = None,
    **engine_args: EngineValue,
) -> EngineSpec:
    """An engine; `kv_blocks` cuts its KV cache."""
    spec = EngineSpec.of(config(model, accelerator, tp, pp, **engine_args), CATALOG)
    if kv_blocks is None:
        return spec
    context = min(spec.max_model_len, spec.layout.capacity(kv_blocks))
    return replace(spec, memory=replace(spec.memory, kv_blocks=kv_blocks), max_model_len=context)


def unit(
    *, speculative: str | None = None, adapters: int | None = None, router: str | None = None, **fields: Any
) -> EngineSpec:
    """An engine of one component with those fields, and what the unit shares."""
    main = documents.replace(config().main, **fields)
    shared = ServingConfiguration(components=(main,), speculative=speculative, adapters=adapters, router=router)
    return EngineSpec.of(shared, CATALOG)


def split(decode_args: dict[str, EngineValue] | None = None, prefills: int = 1, **fields: Any) -> EngineSpec:
    """Prefill and decoding in pools of their own, of the same components."""
    main = documents.replace(config().main, **fields)
    parts = (
        documents.replace(main, role="prefill", replicas=prefills),
        documents.replace(main, role="decode", engine_args={**main.engine_args, **(decode_args or {})}),
    )
    return EngineSpec.of(ServingConfiguration(components=parts), CATALOG)


def work(prompt: int = 256, output: int = 128) -> Workload:
    """A workload with lengths spread evenly by half around their means."""

    def spread(mean: int) -> Lengths:
        return Lengths(distribution="uniform", mean=mean, minimum=mean // 2, maximum=mean + mean // 2)

    return Workload(input_tokens=spread(prompt), output_tokens=spread(output))
