"""The engine arguments that the simulation depends on, as they take effect."""

from __future__ import annotations

from dataclasses import dataclass

from giq.catalog.configuration import Component, EngineValue
from giq.catalog.models import BYTES_PER_VALUE
from giq.errors import UsageError

FITTING = ("auto", "-1", -1)
"""Values of `max_model_len` that leave it to the server to serve what fits."""

TRUE = (True, "true", "True")

NOT_ARGUMENTS = {
    "tensor_parallel_size": "tp",
    "pipeline_parallel_size": "pp",
    "data_parallel_size": "dp",
}
"""Engine arguments that a component says in fields of its own."""


@dataclass(frozen=True)
class Arguments:
    """Their values; `kv_blocks` is None where memory decides."""

    max_num_batched_tokens: int
    max_num_seqs: int
    block_size: int
    gpu_memory_utilization: float
    max_model_len: int | None
    kv_cache_dtype: str
    enforce_eager: bool
    prefix_caching: bool
    kv_blocks: int | None
    kv_transfer_gb_s: float | None


def effective_arguments(main: Component, defaults: dict[str, EngineValue]) -> Arguments:
    """What is given, over the defaults of the server's version on this accelerator.

    Raises:
        UsageError: a value is out of range, or contradicts a field of *main*.
    """
    effective = {**defaults, **main.engine_args}
    for name, field in NOT_ARGUMENTS.items():
        said = main.engine_args.get(name)
        if said is not None and said != getattr(main, field):
            raise UsageError(
                f"engine argument {name} = {said} contradicts the configuration's {field} = {getattr(main, field)}"
            )
    context = effective.get("max_model_len", "auto")
    found = Arguments(
        max_num_batched_tokens=_whole("max_num_batched_tokens", effective.get("max_num_batched_tokens", 2048)),
        max_num_seqs=_whole("max_num_seqs", effective.get("max_num_seqs", 256)),
        block_size=_whole("block_size", effective.get("block_size", 16)),
        gpu_memory_utilization=_number(
            "gpu_memory_utilization", effective.get("gpu_memory_utilization", 0.9), "a share of 1"
        ),
        max_model_len=None if context in FITTING else _whole("max_model_len", context),
        kv_cache_dtype=main.kv_dtype or str(effective.get("kv_cache_dtype", "auto")),
        enforce_eager=effective.get("enforce_eager") in TRUE,
        prefix_caching=effective.get("enable_prefix_caching", True) in TRUE,
        kv_blocks=_optional_whole("num_gpu_blocks_override", effective),
        kv_transfer_gb_s=_optional_number("kv_transfer_gb_s", effective, "a rate in 10^9 bytes/s"),
    )
    if found.gpu_memory_utilization > 1:
        raise UsageError(f"gpu_memory_utilization = {found.gpu_memory_utilization:g} is no share of 1")
    if found.max_num_batched_tokens < found.max_num_seqs:
        raise UsageError(
            f"max_num_batched_tokens = {found.max_num_batched_tokens} is below max_num_seqs = {found.max_num_seqs}",
            hint="vLLM refuses to start so: raise the first or lower the second.",
        )
    return found


def _optional_whole(name: str, effective: dict[str, EngineValue]) -> int | None:
    return _whole(name, effective[name]) if name in effective else None


def _optional_number(name: str, effective: dict[str, EngineValue], what: str) -> float | None:
    return _number(name, effective[name], what) if name in effective else None


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


def kv_value_bytes(arguments: Arguments) -> float:
    """Bytes of one value in the KV cache.

    Raises:
        UsageError: the type is not known.
    """
    kind = arguments.kv_cache_dtype
    if kind == "auto":
        return 2.0
    found = BYTES_PER_VALUE.get("fp8" if kind.startswith("fp8") else kind.replace("bfloat16", "bf16"))
    if found is None:
        raise UsageError(f"unknown kv_cache_dtype {kind!r}", hint="Known: auto, bfloat16, fp8.")
    return found
