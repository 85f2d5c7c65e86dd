"""Calibrations that were fitted: kept in files, and the nearest one to a serving configuration."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from giq.catalog.catalog import Catalog
from giq.catalog.configuration import Component, ServingConfiguration
from giq.catalog.layers import layers
from giq.documents import Entry, Name, PositiveInt, dump_yaml, read, replace
from giq.engine.calibration import Z90, Calibration, prior
from giq.engine.spec import EngineSpec

FOLDER = "calibrations"


class FittedPoint(Entry, frozen=True, kw_only=True):
    """One load point that a calibration was fitted to; residuals are observed / predicted - 1, absent if unknown."""

    name: Name
    load: Name
    input_tokens: float
    output_tokens: float
    ttft_residual: float | None = None
    tpot_residual: float | None = None


class CalibrationRecord(Entry, frozen=True, kw_only=True):
    """A calibration, of which engine it is, and what it was fitted on."""

    calibration: Calibration
    model: Name
    precision: Name
    accelerator: Name
    tp: PositiveInt
    pp: PositiveInt = 1
    server_version: Name
    evidence: Name
    source: Name
    licence: str | None = None
    points: tuple[FittedPoint, ...]


@dataclass(frozen=True)
class Kept:
    """A record with the file it came from; `rank` grows with the layer: the user's is above what ships."""

    record: CalibrationRecord
    file: Path
    rank: int


NEARNESS: tuple[tuple[str, float], ...] = (
    ("", 0.0),
    ("other tensor parallelism or precision", 0.05),
    ("another accelerator of its generation", 0.06),
    ("another model", 0.08),
)
"""How a calibration may lie to what is predicted, nearest first, and the sigma (logarithm) that is added to its own.

The second and third: published H100 points of Llama-3.1-70B and gpt-oss-120b predict H200's TPOT with a mean error of
3 to 5 %, and those of one tensor parallelism another's with about as much.
"""


def kept_calibrations(home: Path | None = None) -> list[Kept]:
    """All calibrations that ship, then the user's under *home* (default `$GIQ_HOME`).

    Raises:
        CatalogError: a field is wrong.
        DamagedFileError: a file is not YAML, or cannot be read.
    """
    found = []
    for rank, layer in enumerate(layers(home)):
        for file in sorted((layer.folder / FOLDER).glob("*.yaml")):
            found.append(Kept(read(file, CalibrationRecord), file, rank))
    return found


def keep(record: CalibrationRecord, folder: Path) -> Path:
    """Write *record* under *folder* (a profiles folder), in place of an earlier one of the same engine; its file."""
    place = folder / FOLDER
    place.mkdir(parents=True, exist_ok=True)
    parallel = f"tp{record.tp}" + (f"-pp{record.pp}" if record.pp > 1 else "")
    file = place / f"{record.model}-{record.precision}-{record.accelerator}-{parallel}.yaml"
    part = file.with_suffix(".part")
    part.write_text(dump_yaml(record), encoding="utf-8")
    part.replace(file)
    return file


def nearest(config: ServingConfiguration, catalog: Catalog, kept: Sequence[Kept]) -> Calibration:
    """The calibration that predictions of *config* rest on; the prior of its accelerator where none is near.

    Nearest is the same model, precision, accelerator and parallelism; then the same model on the same accelerator;
    then on another of its generation; then another model of the same kind (dense, or mixture of experts) on the same
    accelerator. Among equals the nearer tensor parallelism counts, then the user's own. Each step away adds to the
    doubt, and `rests_on` says so.
    """
    main = config.main
    found = [(level, one) for one in kept if (level := _distance(main, one.record, catalog)) is not None]
    if not found:
        return prior(catalog.accelerator(main.accelerator))
    level, best = min(found, key=lambda pair: (pair[0], *_preference(main, pair[1])))
    return _carried(best.record, level)


def basis(calibration: Calibration) -> str:
    """What predictions with *calibration* rest on, by its id, and how far they are to be trusted."""
    tpot, ttft = (100 * math.expm1(Z90 * sigma) for sigma in (calibration.decode_sigma, calibration.prefill_sigma))
    return (
        f"{calibration.rests_on} ({calibration.calibration_id}; 90 % interval of a mean about ±{tpot:.0f} % for TPOT,"
        f" ±{ttft:.0f} % for TTFT)"
    )


def predicting(config: ServingConfiguration, catalog: Catalog, kept: Sequence[Kept]) -> EngineSpec:
    """The engine of *config* with the calibration that is nearest to it.

    Raises:
        DoesNotFitError: the weights leave too little memory for the KV cache.
        UnknownNameError: a name that is not in the catalog.
        UsageError: a configuration that the engine cannot simulate.
    """
    found = nearest(config, catalog, kept)
    unfitted = found == prior(catalog.accelerator(config.main.accelerator))
    return EngineSpec.of(config, catalog, None if unfitted else found)


def _distance(main: Component, record: CalibrationRecord, catalog: Catalog) -> int | None:
    """The step of `NEARNESS` at which *record* lies; None where it says nothing."""
    same_model = record.model == main.model
    same_chip = record.accelerator == main.accelerator
    same_shape = (record.precision, record.tp, record.pp) == (main.precision, main.tp, main.pp)
    if same_model and same_chip:
        return 0 if same_shape else 1
    ours, theirs = catalog.accelerator(main.accelerator), catalog.accelerator(record.accelerator)
    if same_model and ours.kind == theirs.kind and ours.generation == theirs.generation:
        return 2
    mixtures = [catalog.model(name).experts is not None for name in (main.model, record.model)]
    return 3 if same_chip and mixtures[0] == mixtures[1] else None


def _preference(main: Component, one: Kept) -> tuple[float, int, str]:
    """Nearer parallelism first, then the later layer, then the name."""
    record = one.record
    apart = abs(math.log2(record.tp / main.tp)) + abs(math.log2(record.pp / main.pp))
    return apart, -one.rank, record.calibration.calibration_id


def _carried(record: CalibrationRecord, level: int) -> Calibration:
    words, sigma = NEARNESS[level]
    calibration = record.calibration
    if not level:
        return calibration
    return replace(
        calibration,
        rests_on=f"{calibration.rests_on}; carried over from {words}",
        decode_sigma=math.hypot(calibration.decode_sigma, sigma),
        prefill_sigma=math.hypot(calibration.prefill_sigma, 2 * sigma),
    )
