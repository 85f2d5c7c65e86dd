"""What an answer means: record to point to curve; saturation, capacity, the next load (pure)."""

from giq.curve.capacity import Capacity, Miss, capacity
from giq.curve.curve import Curve, curve_id, join
from giq.curve.holding import Finished, Probe, SearchPlan
from giq.curve.operating_point import OperatingPoint, operating_point
from giq.curve.plausibility import implausible
from giq.curve.point import (
    GRID_METRICS,
    INFORMING,
    INVALIDATING,
    METRICS,
    STATISTICS,
    Attainment,
    Distribution,
    Estimate,
    Evidence,
    HardwareSource,
    Point,
    Provenance,
)
from giq.curve.requests import NULL, OUTCOMES, Outcome, Phase, Record, Requests, Sample, TokenRule
from giq.curve.saturation import Saturation, past_saturation, saturation
from giq.curve.search import next_probe
from giq.curve.server_statistics import ServerStatistics, server_statistics
from giq.curve.summary import PointFacts, summarise
from giq.curve.targets import PERCENTILES, TARGET_METRICS, Target, requests_needed, thresholds
from giq.curve.window import PHASES, Window, choose_window

__all__ = [
    "Attainment",
    "Capacity",
    "Curve",
    "Distribution",
    "Estimate",
    "Evidence",
    "Finished",
    "GRID_METRICS",
    "HardwareSource",
    "INFORMING",
    "INVALIDATING",
    "METRICS",
    "Miss",
    "NULL",
    "OUTCOMES",
    "OperatingPoint",
    "Outcome",
    "PERCENTILES",
    "PHASES",
    "Phase",
    "Point",
    "PointFacts",
    "Probe",
    "Provenance",
    "Record",
    "Requests",
    "STATISTICS",
    "Sample",
    "Saturation",
    "SearchPlan",
    "ServerStatistics",
    "TARGET_METRICS",
    "Target",
    "TokenRule",
    "Window",
    "capacity",
    "choose_window",
    "curve_id",
    "implausible",
    "join",
    "next_probe",
    "operating_point",
    "past_saturation",
    "requests_needed",
    "saturation",
    "server_statistics",
    "summarise",
    "thresholds",
]
