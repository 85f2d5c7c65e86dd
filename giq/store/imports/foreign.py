"""What another tool's result file tells, in giq's words, before it is a curve."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from giq.catalog.use_cases import Lengths
from giq.curve.point import Distribution, Estimate
from giq.curve.requests import Record
from giq.errors import DamagedFileError
from giq.units import NS_PER_S
from giq.workload.workload import Arrival, Load

RUN, POINT = "import", "point"
"""Stand in for the ids of a record's run and point: the records of another tool are only summarised, not kept."""


@dataclass(frozen=True, kw_only=True)
class Aggregate:
    """A load point of which the file has only aggregates over all its requests; rates are over `window_s`.

    `metrics` holds by giq's name those that mean the same; `n_requests` counts failed ones too.
    """

    window_s: float
    n_requests: int
    failed: int
    in_flight_mean: float
    input_tokens_mean: float
    output_tokens_mean: float
    metrics: dict[str, Distribution]


@dataclass(frozen=True, kw_only=True)
class ForeignPoint:
    """One load point: its requests where the file has them, else aggregates.

    `load` is None where the file does not tell what was asked. `metrics` holds distributions that the file gives
    beside the requests and that these do not tell.
    """

    load: Load | None
    duration_s: float
    records: tuple[Record, ...] = ()
    aggregate: Aggregate | None = None
    has_schedule: bool = False
    metrics: dict[str, Distribution] = field(default_factory=dict)
    measured_at: str | None = None
    flags: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class ForeignResult:
    """The points of one file or folder of another tool, and what it tells of the server and the workload.

    `arrival` None: only closed loops. `notes` are sentences on what the file lacks or means otherwise.
    """

    tool: str
    where: str
    content_id: str
    model: str | None
    server: str | None
    arrival: Arrival | None
    input_tokens: Lengths | None
    output_tokens: Lengths | None
    points: tuple[ForeignPoint, ...]
    notes: tuple[str, ...]


def number(found: dict[str, Any], name: str, where: str) -> float:
    """A number that the file must have.

    Raises:
        DamagedFileError: it lacks it, or it is none.
    """
    value = found.get(name)
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise DamagedFileError(
            f"has no number {name!r}", where=where, hint="It may be of another version of the tool, or cut off."
        )
    return float(value)


def section(found: dict[str, Any], name: str, where: str) -> dict[str, Any]:
    """A part of the file that must be there.

    Raises:
        DamagedFileError: it is not.
    """
    value = found.get(name)
    if not isinstance(value, dict):
        raise DamagedFileError(
            f"has no part {name!r}", where=where, hint="It may be of another version of the tool, or cut off."
        )
    return value


def distribution(found: dict[str, Any] | None, names: dict[str, str], scale: float) -> Distribution:
    """The statistics that *found* has under *names* (by giq's name), times *scale*; no intervals."""
    known: dict[str, Any] = {
        statistic: Estimate(value=float(value) * scale)
        for statistic, name in names.items()
        if isinstance(value := (found or {}).get(name), int | float) and not isinstance(value, bool)
    }
    return Distribution(**known)


def exact_length(lengths: list[float] | list[int]) -> Lengths | None:
    """The one length that all *lengths* are within 5 %, as tokenizers miss it; None where they really vary."""
    if not lengths:
        return None
    middle = sorted(lengths)[len(lengths) // 2]
    if middle < 1 or max(abs(length - middle) for length in lengths) > 0.05 * middle:
        return None
    return Lengths(mean=float(round(middle)))


def ns(seconds: float) -> int:
    """Seconds as whole nanoseconds."""
    return round(seconds * NS_PER_S)
