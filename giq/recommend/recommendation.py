"""The answer: ranked rows, rejected pairs with their reasons, and what both rest on."""

from __future__ import annotations

from giq.catalog.accelerators import Shape
from giq.catalog.configuration import ServingConfiguration
from giq.catalog.prices import Price
from giq.curve.point import Estimate, Evidence, HardwareSource
from giq.documents import Entry, Positive, PositiveInt
from giq.errors import UnmetError
from giq.recommend.levels import Level
from giq.recommend.requirement import Requirement, target_words, workload_words

SCHEMA_VERSION = 1
NEAREST_MISSES = 3


class Row(Entry, frozen=True, kw_only=True):
    """One deployment unit that meets the requirement, with its cost.

    `rank` counts from 1 and is None where there is no price (shown, never ranked). `shape` is the machine
    that was priced, None where GKE has none. `capacity` is in requests/s per unit; `lower_bound` says that
    the targets were still met at the highest load of the curve. `replicas` is None without a request rate;
    `usd_per_hour` is that of all replicas (without a rate: of one unit). Token costs hold at capacity, where
    one unit takes `input_tps` and makes `output_tps` (capacity times the mean lengths); `operating_point` is
    what the curve shows there, `levels` what it has below.
    `tie_with` is the rank above whose cost the intervals cannot tell from this one.
    """

    rank: PositiveInt | None = None
    config: ServingConfiguration
    curve_id: str
    evidence: Evidence
    hardware_source: HardwareSource
    calibration_id: str | None = None
    measured_at: str | None = None
    shape: Shape | None = None
    capacity: Estimate
    lower_bound: bool = False
    limiting: str | None = None
    joint_attainment: float | None = None
    saturation: Estimate | None = None
    input_tps: float
    output_tps: float
    operating_point: Level
    levels: tuple[Level, ...]
    replicas: PositiveInt | None = None
    usd_per_hour: Estimate | None = None
    usd_per_million_output: Estimate | None = None
    usd_per_million_input: Estimate | None = None
    price: Price | None = None
    tie_with: PositiveInt | None = None
    notes: tuple[str, ...] = ()


class Rejection(Entry, frozen=True, kw_only=True):
    """One pair that is no answer: why, and how near it came.

    `config` is None where no configuration could be made. `nearest_miss` is in words with numbers;
    `shortfall` is its relative size (0.5: half above the target).
    """

    accelerator: str
    accelerators: PositiveInt | None = None
    config: ServingConfiguration | None = None
    curve_id: str | None = None
    evidence: Evidence | None = None
    reason: str
    nearest_miss: str | None = None
    shortfall: Positive | None = None

    @property
    def unit(self) -> str:
        """The accelerators of the unit, like `nvidia-l4 ×4`."""
        return self.accelerator if self.accelerators is None else f"{self.accelerator} ×{self.accelerators}"


class Recommendation(Entry, frozen=True, kw_only=True):
    """The ranking under one requirement: `rows` in order of rank, those without a price last."""

    schema_version: int
    requirement: Requirement
    made_at: str
    giq_version: str
    rows: tuple[Row, ...]
    rejected: tuple[Rejection, ...]
    notes: tuple[str, ...] = ()
    defaults: tuple[str, ...] = ()

    def row(self, rank: int) -> Row | None:
        """The row of that rank."""
        return next((row for row in self.rows if row.rank == rank), None)


def nearest_misses(recommendation: Recommendation) -> str:
    """The rejected pairs that came nearest, one a line, or why there was nothing to compare."""
    rejected = recommendation.rejected
    near = sorted((item for item in rejected if item.shortfall is not None), key=lambda item: item.shortfall or 0.0)
    if near:
        return "\n".join(f"{item.unit} ({item.evidence}): {item.nearest_miss}" for item in near[:NEAREST_MISSES])
    if rejected:
        return "\n".join(f"{item.unit}: {item.reason}" for item in rejected[:NEAREST_MISSES])
    return f"there is no curve of {recommendation.requirement.model} for this workload"


def require_any(recommendation: Recommendation) -> None:
    """Refuse a recommendation without a row.

    Raises:
        UnmetError: no row; the message carries the nearest misses.
    """
    if recommendation.rows:
        return
    asked = recommendation.requirement
    raise UnmetError(
        f"nothing serves {asked.model} for {workload_words(asked.workload)} within {target_words(asked)}",
        hint=f"Nearest:\n{nearest_misses(recommendation)}\n"
        "Loosen the target, allow more accelerators, or measure with `giq profile`.",
    )
