"""What is simulated: one deployment unit, with every number that memory and step time follow from."""

from __future__ import annotations

from dataclasses import dataclass, replace

from giq.catalog.accelerators import Accelerator
from giq.catalog.catalog import Catalog
from giq.catalog.configuration import UNKNOWN, Component, EngineValue, ServingConfiguration
from giq.catalog.models import BYTES_PER_VALUE, Model
from giq.catalog.servers import MetricNames
from giq.engine.calibration import Calibration, prior
from giq.engine.hardware import Hardware, hardware
from giq.engine.memory import (
    MIN_CONTEXT,
    DoesNotFitError,
    Footprint,
    KvLayout,
    MemoryBudget,
    kv_layout,
    memory_budget,
    weights_bytes,
)
from giq.errors import UsageError

FITTING = ("auto", "-1", -1)
"""Values of `max_model_len` that leave it to the server to serve what fits."""

LIMIT_HINT = "Use more or larger accelerators, a smaller precision, or fewer max_num_seqs."


@dataclass(frozen=True)
class EngineSpec:
    """A serving configuration resolved against the catalog.

    `max_model_len` is the one asked for, else the model's own, cut to what the KV cache holds.
    """

    config: ServingConfiguration
    model: Model
    accelerator: Accelerator
    hardware: Hardware
    precision: str
    tp: int
    pp: int
    weights_bytes: float
    layout: KvLayout
    memory: MemoryBudget
    max_num_batched_tokens: int
    max_num_seqs: int
    max_model_len: int
    server_version: str
    metrics: MetricNames
    calibration: Calibration

    @classmethod
    def of(cls, config: ServingConfiguration, catalog: Catalog, calibration: Calibration | None = None) -> EngineSpec:
        """Resolve *config*; without *calibration* the physics prior of its kind of accelerator.

        Raises:
            DoesNotFitError: the weights leave too little memory for the KV cache; tells the arithmetic.
            UnknownNameError: a name that is not in the catalog.
            UsageError: a CPU, or a configuration that the engine cannot simulate.
        """
        main = _simulable(config)
        model, accelerator = catalog.model(main.model), catalog.accelerator(main.accelerator)
        _refuse_shape(main, model, accelerator)
        version = catalog.server_version(
            "vllm" if main.server == UNKNOWN else main.server,
            None if main.server_version == UNKNOWN else main.server_version,
        )
        precision = model.weights[0].precision if main.precision == UNKNOWN else main.precision
        chip = hardware(accelerator, main, precision)
        arguments = _arguments(main, version.defaults_on(accelerator.name))
        value_bytes = _kv_value_bytes(main, arguments)
        layout = kv_layout(model, arguments.block_size, value_bytes, main.tp, main.pp)
        weights = weights_bytes(model, precision)
        budget = memory_budget(model, _footprint(main, chip, weights, arguments), layout)
        return cls(
            config=config,
            model=model,
            accelerator=accelerator,
            hardware=chip,
            precision=precision,
            tp=main.tp,
            pp=main.pp,
            weights_bytes=weights,
            layout=layout,
            memory=budget,
            max_num_batched_tokens=arguments.max_num_batched_tokens,
            max_num_seqs=arguments.max_num_seqs,
            max_model_len=_max_model_len(config, model, budget, arguments),
            server_version=version.version if main.server_version == UNKNOWN else main.server_version,
            metrics=version.metrics,
            calibration=calibration or prior(accelerator),
        )

    def shifted(self, deviations: float) -> EngineSpec:
        """The same engine, slower by so many standard deviations of its calibration (negative: faster)."""
        return replace(self, calibration=self.calibration.shifted(deviations))


@dataclass(frozen=True)
class _Arguments:
    """The engine arguments that the simulation depends on, as they take effect."""

    max_num_batched_tokens: int
    max_num_seqs: int
    block_size: int
    gpu_memory_utilization: float
    max_model_len: int | None
    kv_cache_dtype: str
    enforce_eager: bool


def _arguments(main: Component, defaults: dict[str, EngineValue]) -> _Arguments:
    """What is given, over the defaults of the server's version on this accelerator."""
    effective = {**defaults, **main.engine_args}
    context = effective.get("max_model_len", "auto")
    found = _Arguments(
        max_num_batched_tokens=_whole("max_num_batched_tokens", effective.get("max_num_batched_tokens", 2048)),
        max_num_seqs=_whole("max_num_seqs", effective.get("max_num_seqs", 256)),
        block_size=_whole("block_size", effective.get("block_size", 16)),
        gpu_memory_utilization=_number(
            "gpu_memory_utilization", effective.get("gpu_memory_utilization", 0.9), "a share of 1"
        ),
        max_model_len=None if context in FITTING else _whole("max_model_len", context),
        kv_cache_dtype=main.kv_dtype or str(effective.get("kv_cache_dtype", "auto")),
        enforce_eager=effective.get("enforce_eager") in (True, "true", "True"),
    )
    if found.gpu_memory_utilization > 1:
        raise UsageError(f"gpu_memory_utilization = {found.gpu_memory_utilization:g} is no share of 1")
    if found.max_num_batched_tokens < found.max_num_seqs:
        raise UsageError(
            f"max_num_batched_tokens = {found.max_num_batched_tokens} is below max_num_seqs = {found.max_num_seqs}",
            hint="vLLM refuses to start so: raise the first or lower the second.",
        )
    return found


def _number(name: str, value: EngineValue, what: str) -> float:
    try:
        number = float(value)
    except ValueError:
        number = -1.0
    if not 0 < number < float("inf"):
        raise UsageError(f"engine argument {name} = {value!r} is not {what}", hint="Give a number above zero.")
    return number


def _whole(name: str, value: EngineValue) -> int:
    number = _number(name, value, "a whole number")
    if number != int(number):
        raise UsageError(f"engine argument {name} = {value!r} is not a whole number")
    return int(number)


def _simulable(config: ServingConfiguration) -> Component:
    """The one component of *config*.

    Raises:
        UsageError: something in it that the engine does not model; it would be predicted wrongly in silence.
    """
    main = config.main
    unmodelled = {
        "several components": len(config.components) > 1,
        "data parallelism": main.dp > 1,
        "replicas": main.replicas > 1,
        "expert parallelism other than over the tensor-parallel ranks": main.ep not in (1, main.tp),
        "adapters": bool(config.adapters),
        "speculative decoding": config.speculative is not None,
        "KV offloading": config.kv_offload is not None,
    }
    for what, present in unmodelled.items():
        if present:
            raise UsageError(
                f"the simulated engine does not model {what}", hint="Measure it: giq profile --endpoint URL."
            )
    return main


def _refuse_shape(main: Component, model: Model, accelerator: Accelerator) -> None:
    if accelerator.kind == "cpu":
        raise UsageError(
            f"{accelerator.title} is a CPU: the simulated engine knows GPUs and TPUs only",
            hint="Measure it: giq profile --endpoint URL.",
        )
    if main.tp * main.pp > main.accelerators_total:
        raise UsageError(
            f"tensor parallel {main.tp} x pipeline parallel {main.pp} needs {main.tp * main.pp} accelerators,"
            f" the configuration has {main.accelerators_total}"
        )
    if model.attention_heads % main.tp:
        raise UsageError(
            f"{model.attention_heads} attention heads of {model.name} cannot be split over {main.tp} ranks",
            hint="Choose a tensor-parallel size that divides them.",
        )


def _kv_value_bytes(main: Component, arguments: _Arguments) -> float:
    kind = arguments.kv_cache_dtype
    if kind == "auto":
        return 2.0
    found = BYTES_PER_VALUE.get("fp8" if kind.startswith("fp8") else kind.replace("bfloat16", "bf16"))
    if found is None:
        raise UsageError(f"unknown kv_cache_dtype {kind!r}", hint="Known: auto, bfloat16, fp8.")
    return found


def _footprint(main: Component, chip: Hardware, weights: float, arguments: _Arguments) -> Footprint:
    return Footprint(
        memory_bytes=chip.memory_bytes,
        utilization=arguments.gpu_memory_utilization,
        weights_bytes=weights / (main.tp * main.pp),
        max_num_batched_tokens=arguments.max_num_batched_tokens,
        max_num_seqs=arguments.max_num_seqs,
        tp=main.tp,
        accelerators=main.tp * main.pp,
        graphs=chip.kind == "gpu" and not arguments.enforce_eager,
    )


def _max_model_len(config: ServingConfiguration, model: Model, budget: MemoryBudget, arguments: _Arguments) -> int:
    """The context that is served.

    Raises:
        DoesNotFitError: the KV cache holds less than what is asked for, or than is of any use.
    """
    wanted = arguments.max_model_len
    needed = MIN_CONTEXT if wanted is None else wanted
    if budget.kv_tokens < min(needed, model.max_context):
        main = config.main
        asked = "" if wanted is None else f" with a context of {wanted:,} tokens"
        raise DoesNotFitError(
            f"{model.name} ({main.precision}) does not fit {main.accelerators_total} x {main.accelerator}{asked}: "
            f"{budget.arithmetic()}",
            hint=LIMIT_HINT,
        )
    return min(wanted or model.max_context, budget.kv_tokens)
