"""What is to be deployed: one row of a recommendation, with what is known of it."""

from __future__ import annotations

from giq.catalog.accelerators import Shape
from giq.catalog.configuration import ServingConfiguration
from giq.catalog.prices import Price, PricingModel
from giq.curve.point import Estimate, Evidence, HardwareSource
from giq.documents import Entry, Name, NonNegative, Positive, PositiveInt


class LoadLevel(Entry, frozen=True, kw_only=True):
    """What the server's own metrics showed on the curve at one rate (requests/s per unit); None where unknown."""

    rate_rps: Positive
    running: NonNegative | None = None
    waiting: NonNegative | None = None
    kv_usage: NonNegative | None = None


class ServingChoice(Entry, frozen=True, kw_only=True):
    """One deployment unit on one machine, the curve it was chosen by, and how many are wanted.

    `weights_bytes` is None for a model outside the catalog. `capacity` is requests/s per unit within
    `targets` (words), None where they cannot be met, with `unmet_reason` then. `levels` are in order of
    rate, the last at capacity. `latency_p99_s` is at capacity. `source`, `workload` are words.
    """

    config: ServingConfiguration
    weights_repository: Name
    weights_bytes: PositiveInt | None = None
    gated: bool = False
    shape: Shape
    curve_id: str
    evidence: Evidence
    hardware_source: HardwareSource
    calibration_id: str | None = None
    source: str | None = None
    measured_at: str | None = None
    workload: str | None = None
    targets: tuple[str, ...] = ()
    capacity: Estimate | None = None
    unmet_reason: str | None = None
    levels: tuple[LoadLevel, ...] = ()
    latency_p99_s: float | None = None
    replicas: PositiveInt = 1
    pricing_model: PricingModel = "on-demand"
    price: Price | None = None
