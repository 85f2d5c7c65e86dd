"""Published load points in CSV: each row as an observation of a configuration, or the reason why it is none."""

from __future__ import annotations

import csv
import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from giq.catalog.accelerators import Accelerator
from giq.catalog.catalog import Catalog
from giq.catalog.configuration import UNKNOWN, Component, EngineValue, ServingConfiguration
from giq.catalog.models import BYTES_PER_VALUE, Model
from giq.catalog.names import normal
from giq.catalog.use_cases import Lengths
from giq.engine.observation import Means, Observation
from giq.errors import DamagedFileError, DataError, UnknownNameError
from giq.workload.workload import ClosedLoad, Workload

COLUMNS = (
    "id", "model", "precision", "accelerator", "tp", "engine", "engine_version", "input_len", "output_len",
    "dataset", "load_type", "load_value", "ttft_mean_ms", "tpot_mean_ms", "scored",
)  # fmt: skip
"""Those that must be there."""

SAID = ("source", "licence", "measured_date")
"""Those that are read where they are there; others are not."""

TURNS = 10
"""Requests for each slot of a closed loop where the source does not say how many: what InferenceX sends."""

INFERENCE_X: dict[str, EngineValue] = {"max_num_batched_tokens": 8192, "gpu_memory_utilization": 0.9}
"""Engine arguments of InferenceX's vLLM servers on NVIDIA GPUs, which also set `max_num_seqs` to the concurrency,
and on Blackwell an fp8 KV cache (SemiAnalysisAI/InferenceX, benchmarks/single_node/gptoss_fp4_*.sh, and the table of
server commands in its first README for Llama-3.1-70B)."""

FORM_FACTORS = frozenset({"sxm", "hbm", "nvidia", "gpu"})
SAME_PRECISION = {"fp8_block": "fp8", "fp8-block": "fp8", "nvfp4": "mxfp4", "fp4": "mxfp4", "bfloat16": "bf16"}
"""Labels of sources for what the catalog calls otherwise: both four-bit floats, if the model has only one of them."""


@dataclass(frozen=True)
class Group:
    """The rows that share one engine: model, precision, accelerator, tensor parallelism, engine and version."""

    model: str
    precision: str
    accelerator: str
    tp: int
    engine: str
    engine_version: str

    def __str__(self) -> str:
        version = "" if self.engine_version in ("", "unrecorded") else f" {self.engine_version}"
        model = self.model.rpartition("/")[2]
        return f"{model} {self.precision} on {self.tp} x {self.accelerator}, {self.engine}{version}"


@dataclass(frozen=True)
class PublishedRow:
    """One row: its group, its load in numbers, and the observation or the reason why there is none.

    `source` (what is before a `#` in it: the rest names the row there), `licence` and `measured_date` are as the row
    says, empty where it does not.
    """

    name: str
    group: Group
    scored: bool
    concurrency: int
    input_len: float
    output_len: float
    observation: Observation | None
    reason: str
    source: str = ""
    licence: str = ""
    measured_date: str = ""


class _UnusableError(Exception):
    """Why a row is no observation."""


def read_published(path: Path, catalog: Catalog) -> list[PublishedRow]:
    """All rows of the CSV file at *path*, in its order.

    Raises:
        DamagedFileError: it cannot be read, or is not text.
        DataError: a column is missing.
    """
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file)
            missing = [name for name in COLUMNS if name not in (reader.fieldnames or ())]
            if missing:
                raise DataError(
                    f"no column {', '.join(missing)}", where=str(path), hint=f"Needed are {', '.join(COLUMNS)}."
                )
            return list(_rows(reader, catalog))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DamagedFileError(f"cannot be read: {error}", where=str(path)) from None


def _rows(reader: csv.DictReader[str], catalog: Catalog) -> Iterator[PublishedRow]:
    for number, cells in enumerate(reader, 1):
        row = {key: (cells.get(key) or "").strip() for key in (*COLUMNS, *SAID)}
        group = Group(
            row["model"],
            row["precision"],
            row["accelerator"],
            max(1, round(_number(row["tp"], 1.0))),
            row["engine"],
            row["engine_version"],
        )
        name = row["id"] or f"row {number}"
        concurrency = round(_number(row["load_value"], 0.0))
        found: Observation | None = None
        reason = ""
        try:
            found = _observation(name, row, group, catalog)
        except (_UnusableError, UnknownNameError) as error:
            reason = str(error).partition("\n")[0]
        yield PublishedRow(
            name=name,
            group=group,
            scored=row["scored"].casefold() in ("yes", "true", "1"),
            concurrency=concurrency,
            input_len=_number(row["input_len"], 0.0),
            output_len=_number(row["output_len"], 0.0),
            observation=found,
            reason=reason,
            source=row["source"].partition("#")[0],
            licence=row["licence"],
            measured_date=row["measured_date"],
        )


def _number(text: str, otherwise: float) -> float:
    try:
        number = float(text)
    except ValueError:
        return otherwise
    return number if math.isfinite(number) else otherwise


def _observation(name: str, row: dict[str, str], group: Group, catalog: Catalog) -> Observation:
    if group.engine.casefold() not in ("vllm", "vllm-tpu"):
        raise _UnusableError(f"the engine is {group.engine or 'not said'}, only vLLM is simulated")
    if "closed" not in row["load_type"].casefold():
        raise _UnusableError(f"load type {row['load_type'] or 'not said'!r}: only closed loops can be repeated")
    concurrency = _number(row["load_value"], 0.0)
    if concurrency < 1 or concurrency != int(concurrency):
        raise _UnusableError(f"the concurrency {row['load_value']!r} is no whole number above zero")
    workload = _workload(row)
    ttft, tpot = (_number(row[column], float("nan")) / 1e3 for column in ("ttft_mean_ms", "tpot_mean_ms"))
    if not (ttft > 0 or tpot > 0):
        raise _UnusableError("neither a mean TTFT nor a mean TPOT")
    output = workload.output_tokens.mean
    return Observation(
        name=name,
        config=_configuration(row, group, int(concurrency), catalog),
        workload=workload,
        load=ClosedLoad(concurrency=int(concurrency)),
        requests=TURNS * int(concurrency),
        whole=True,
        observed=Means(ttft_s=ttft, tpot_s=tpot, latency_s=ttft + tpot * (output - 1)),
    )


def _workload(row: dict[str, str]) -> Workload:
    sides = [_number(row[column], 0.0) for column in ("input_len", "output_len")]
    if min(sides) < 1:
        raise _UnusableError("no input or output length")
    spread = re.search(r"(0?\.\d+)\s*-\s*1(?:\.0*)?x", row["dataset"]) or re.search(
        r"range-ratio\s+(0?\.\d+)", row["dataset"]
    )
    return Workload(
        input_tokens=_lengths(sides[0], float(spread[1]) if spread else 1.0),
        output_tokens=_lengths(sides[1], float(spread[1]) if spread else 1.0),
    )


def _lengths(longest: float, smallest_share: float) -> Lengths:
    if smallest_share >= 1:
        return Lengths(mean=longest)
    low, high = max(1, int(longest * smallest_share)), int(longest)
    return Lengths(distribution="uniform", mean=(low + high) / 2, minimum=low, maximum=high)


def _configuration(row: dict[str, str], group: Group, concurrency: int, catalog: Catalog) -> ServingConfiguration:
    model, accelerator = catalog.model(group.model), published_accelerator(group.accelerator, catalog)
    arguments: dict[str, EngineValue] = {}
    if "inferencex" in row["dataset"].casefold():
        arguments = {**INFERENCE_X, "max_num_seqs": concurrency}
        if accelerator.generation == "blackwell":
            arguments["kv_cache_dtype"] = "fp8"
    version = group.engine_version
    try:
        catalog.server_version("vllm", version)
    except UnknownNameError:
        version = UNKNOWN
    main = Component(
        model=model.name,
        precision=_precision(group.precision, model),
        server="vllm",
        server_version=version,
        accelerator=accelerator.name,
        accelerators_per_host=group.tp,
        tp=group.tp,
        engine_args=arguments,
    )
    return ServingConfiguration(components=(main,))


def _precision(label: str, model: Model) -> str:
    wanted = label.casefold().partition(" ")[0]
    if wanted not in BYTES_PER_VALUE or (model.weights_for(wanted) is None and wanted in SAME_PRECISION):
        wanted = SAME_PRECISION.get(wanted, wanted)
    if wanted not in BYTES_PER_VALUE:
        raise _UnusableError(f"the precision {label!r} is not known")
    return wanted


def published_accelerator(label: str, catalog: Catalog) -> Accelerator:
    """The accelerator that a source calls *label*, like `H100-SXM-80GB`: its chip, and its memory where given.

    Raises:
        UnknownNameError: none is, or the memory is another's.
    """
    exact = catalog.accelerator_detected_as(label)
    if exact is not None:
        return exact
    words = [word for word in re.split(r"[\s_-]+", label.casefold()) if not _form_factor(word)]
    sizes = [int(size[1]) for word in words if (size := re.fullmatch(r"(\d+)gb", word))]
    chip = " ".join(word for word in words if not re.fullmatch(r"\d+gb", word))
    for accelerator in catalog.accelerators:
        names = (accelerator.name, *accelerator.aliases)
        plain = {re.sub(r" \d+ gb$", "", normal(name).removeprefix("nvidia ")) for name in names}
        fits = all(0.85 <= size / accelerator.memory_gb <= 1.05 for size in sizes)
        if chip and normal(chip) in plain and fits:
            return accelerator
    raise UnknownNameError("accelerator", label, (item.name for item in catalog.accelerators))


def _form_factor(word: str) -> bool:
    return re.sub(r"\d+e?$", "", word) in FORM_FACTORS
