"""What is simulated: one deployment unit, with every number that memory and step time follow from."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

from giq.catalog.accelerators import Accelerator
from giq.catalog.catalog import Catalog
from giq.catalog.configuration import UNKNOWN, Component, ServingConfiguration
from giq.catalog.models import Model
from giq.catalog.servers import MetricNames
from giq.engine.arguments import Arguments, effective_arguments, kv_value_bytes
from giq.engine.calibration import Calibration, prior
from giq.engine.hardware import NETWORK_BYTES_S, Hardware, hardware
from giq.engine.memory import (
    MIN_CONTEXT,
    DoesNotFitError,
    Footprint,
    KvLayout,
    MemoryBudget,
    expert_bytes,
    kv_layout,
    memory_budget,
    weights_bytes,
)
from giq.engine.speculation import Speculation, parse_speculation
from giq.errors import UsageError

Router = Literal["round-robin", "least-loaded"]
"""Who of several cores gets a request: the next in turn, or the one with the least to do."""

LIMIT_HINT = "Use more or larger accelerators, a smaller precision, or fewer max_num_seqs."
MEASURE_HINT = "Measure it: giq profile --endpoint URL."


@dataclass(frozen=True)
class EngineSpec:
    """A serving configuration resolved against the catalog; sizes are those of one engine core.

    `max_model_len` is the one asked for, else the model's own, cut to what the KV cache holds. There are `cores`
    cores of this kind: `dp` in each replica. Where prompts are computed apart from decoding, this is the pool that
    computes them, `decode_pool` the other, and one token's KV takes `transfer_token_s` from one to the other.
    """

    config: ServingConfiguration
    model: Model
    accelerator: Accelerator
    hardware: Hardware
    precision: str
    tp: int
    pp: int
    dp: int
    ep: int
    cores: int
    router: Router
    weights_bytes: float
    layout: KvLayout
    memory: MemoryBudget
    max_num_batched_tokens: int
    max_num_seqs: int
    max_model_len: int
    prefix_caching: bool
    speculation: Speculation | None
    adapters: int
    server_version: str
    metrics: MetricNames
    calibration: Calibration
    decode_pool: EngineSpec | None = None
    transfer_token_s: float = 0.0

    @classmethod
    def of(cls, config: ServingConfiguration, catalog: Catalog, calibration: Calibration | None = None) -> EngineSpec:
        """Resolve *config*; without *calibration* the physics prior of its kind of accelerator.

        Raises:
            DoesNotFitError: the weights leave too little memory for the KV cache; tells the arithmetic.
            UnknownNameError: a name that is not in the catalog.
            UsageError: a CPU without calibration, or a configuration that the engine cannot simulate.
        """
        parts = _simulable(config)
        pools = [_pool(config, part, catalog, calibration) for part in parts]
        if len(pools) == 1:
            return pools[0]
        prefill, decode = pools
        context = min(prefill.max_model_len, decode.max_model_len)
        return replace(
            prefill,
            max_model_len=context,
            speculation=None,
            decode_pool=replace(decode, max_model_len=context),
            transfer_token_s=_transfer_token_s(prefill, decode, parts[1], catalog),
        )

    def shifted(self, deviations: float) -> EngineSpec:
        """The same engine, slower by so many standard deviations of its calibration (negative: faster)."""
        pool = self.decode_pool
        return replace(
            self,
            calibration=self.calibration.shifted(deviations),
            decode_pool=None if pool is None else pool.shifted(deviations),
        )


def _pool(
    config: ServingConfiguration, part: Component, catalog: Catalog, calibration: Calibration | None
) -> EngineSpec:
    """The engine cores of one component."""
    model, accelerator = catalog.model(part.model), catalog.accelerator(part.accelerator)
    _refuse_shape(part, model, accelerator, calibration)
    version = catalog.server_version(
        "vllm" if part.server == UNKNOWN else part.server,
        None if part.server_version == UNKNOWN else part.server_version,
    )
    precision = model.weights[0].precision if part.precision == UNKNOWN else part.precision
    chip = hardware(accelerator, part, precision)
    arguments = effective_arguments(part, version.defaults_on(accelerator.name))
    speculation = None if config.speculative is None else parse_speculation(config.speculative)
    layout = kv_layout(model, arguments.block_size, kv_value_bytes(arguments), part.tp, part.pp)
    weights = weights_bytes(model, precision)
    on_one = (weights - expert_bytes(model, precision) * (1 - 1 / part.dp)) / (part.tp * part.pp)
    budget = memory_budget(model, _footprint(part, chip, on_one, arguments), layout)
    return EngineSpec(
        config=config,
        model=model,
        accelerator=accelerator,
        hardware=chip,
        precision=precision,
        tp=part.tp,
        pp=part.pp,
        dp=part.dp,
        ep=part.ep,
        cores=part.dp * part.replicas,
        router=_router(config, part),
        weights_bytes=weights,
        layout=layout,
        memory=budget,
        max_num_batched_tokens=arguments.max_num_batched_tokens,
        max_num_seqs=_most_sequences(arguments, speculation),
        max_model_len=_max_model_len(part, model, budget, arguments),
        prefix_caching=arguments.prefix_caching,
        speculation=speculation,
        adapters=config.adapters or 0,
        server_version=version.version if part.server_version == UNKNOWN else part.server_version,
        metrics=version.metrics,
        calibration=calibration or prior(accelerator),
    )


def _simulable(config: ServingConfiguration) -> tuple[Component, ...]:
    """The one component of *config*, or those of prefill and of decoding in that order.

    Raises:
        UsageError: something in it that the engine does not model; it would be predicted wrongly in silence.
    """
    roles = {part.role: part for part in config.components}
    parts = config.components
    if len(parts) == 2 and set(roles) == {"prefill", "decode"}:
        parts = (roles["prefill"], roles["decode"])
    elif len(parts) > 1 or parts[0].role != "both":
        told = ", ".join(part.role for part in parts)
        raise UsageError(
            f"the simulated engine does not model components with the roles {told}",
            hint=f"One component for both, or one for prefill and one for decode. {MEASURE_HINT}",
        )
    if len({part.model for part in parts}) > 1:
        raise UsageError("prefill and decode serve different models")
    if config.kv_offload is not None:
        raise UsageError("the simulated engine does not model KV offloading", hint=MEASURE_HINT)
    return parts


def _refuse_shape(part: Component, model: Model, accelerator: Accelerator, calibration: Calibration | None) -> None:
    if accelerator.kind == "cpu" and calibration is None:
        raise UsageError(
            f"{accelerator.title} is a CPU: the simulated engine knows nothing of it without a calibration",
            hint=MEASURE_HINT,
        )
    ranks, there = part.tp * part.pp * part.dp, part.accelerators_per_host * part.hosts
    if ranks > there:
        data = f" x data parallel {part.dp}" if part.dp > 1 else ""
        raise UsageError(
            f"tensor parallel {part.tp} x pipeline parallel {part.pp}{data} needs {ranks} accelerators,"
            f" the configuration has {there}"
        )
    if model.attention_heads % part.tp:
        raise UsageError(
            f"{model.attention_heads} attention heads of {model.name} cannot be split over {part.tp} ranks",
            hint="Choose a tensor-parallel size that divides them.",
        )
    if part.pp > model.layers:
        raise UsageError(f"{model.layers} layers of {model.name} cannot be split into {part.pp} pipeline stages")
    if part.ep not in (1, part.tp, part.tp * part.dp):
        raise UsageError(
            f"expert parallel {part.ep} is neither the {part.tp} tensor-parallel ranks nor those of all data-parallel "
            f"ones ({part.tp * part.dp})",
            hint="vLLM spreads experts over all ranks of a replica, or not at all.",
        )
    if part.ep > 1 and model.experts is None:
        raise UsageError(f"expert parallel {part.ep}, and {model.name} has no experts")


def _router(config: ServingConfiguration, part: Component) -> Router:
    """As the configuration says; else vLLM's own balancing inside a replica, and a Service's turns between them."""
    if config.router is None:
        return "round-robin" if part.dp == 1 else "least-loaded"
    if config.router == "round-robin":
        return "round-robin"
    if config.router == "least-loaded":
        return "least-loaded"
    raise UsageError(
        f"the simulated engine does not model the router {config.router!r}", hint="Known: round-robin, least-loaded."
    )


def _most_sequences(arguments: Arguments, speculation: Speculation | None) -> int:
    """Sequences that a step has tokens for: each takes one, and one for every token drafted."""
    width = 1 if speculation is None else speculation.tokens + 1
    return max(1, min(arguments.max_num_seqs, arguments.max_num_batched_tokens // width))


def _transfer_token_s(prefill: EngineSpec, decode: EngineSpec, part: Component, catalog: Catalog) -> float:
    """Seconds that the KV of one token takes from one pool to the other.

    Each accelerator of the smaller side has its own link: the network between hosts, or what the decode component
    says in `kv_transfer_gb_s` (10^9 bytes a second for one request's KV in all).
    """
    layout = prefill.layout
    token_bytes = layout.unit_bytes * (layout.full_units + layout.local_units) / layout.block_size
    token_bytes *= prefill.tp * prefill.pp
    version = catalog.server_version("vllm", decode.server_version)
    stated = effective_arguments(part, version.defaults_on(decode.accelerator.name)).kv_transfer_gb_s
    links = min(prefill.tp * prefill.pp, decode.tp * decode.pp)
    return token_bytes / (stated * 1e9 if stated else NETWORK_BYTES_S * links)


def _footprint(part: Component, chip: Hardware, weights: float, arguments: Arguments) -> Footprint:
    """What decides the memory of one accelerator, whose share of the weights is *weights* bytes."""
    return Footprint(
        memory_bytes=chip.memory_bytes,
        utilization=arguments.gpu_memory_utilization,
        weights_bytes=weights,
        max_num_batched_tokens=arguments.max_num_batched_tokens,
        max_num_seqs=arguments.max_num_seqs,
        tp=part.tp,
        accelerators=part.tp * part.pp * part.dp,
        graphs=chip.kind == "gpu" and not arguments.enforce_eager,
        kv_blocks=arguments.kv_blocks,
    )


def _max_model_len(part: Component, model: Model, budget: MemoryBudget, arguments: Arguments) -> int:
    """The context that is served.

    Raises:
        DoesNotFitError: the KV cache holds less than what is asked for, or than is of any use.
    """
    wanted = arguments.max_model_len
    needed = MIN_CONTEXT if wanted is None else wanted
    if budget.kv_tokens < min(needed, model.max_context):
        asked = "" if wanted is None else f" with a context of {wanted:,} tokens"
        raise DoesNotFitError(
            f"{model.name} ({part.precision}) does not fit {_size(part)} x {part.accelerator}{asked}: "
            f"{budget.arithmetic()}",
            hint=LIMIT_HINT,
        )
    return min(wanted or model.max_context, budget.kv_tokens)


def _size(part: Component) -> str:
    """The accelerators of one replica."""
    return str(part.accelerators_per_host * part.hosts)
