"""What each flag of a point means, and what to do about it (SCHEMA.md has the list)."""

from __future__ import annotations

from typing import NamedTuple


class Flag(NamedTuple):
    """Why a point has a flag, and what to do next; both are halves of a sentence."""

    reason: str
    advice: str

    def __str__(self) -> str:
        return f"{self.reason}; {self.advice}"


FLAGS: dict[str, Flag] = {
    "NOT_STEADY": Flag(
        "no steady state: the load is past what the server keeps up with, or the point is too short",
        "past saturation this is the answer; below it hold the load longer",
    ),
    "TOO_FEW": Flag("too few requests for the highest percentile asked for", "hold the load longer"),
    "ERRORS": Flag("more than 1 % of the requests failed", "look at the server's log"),
    "GENERATOR_LATE": Flag("the load generator itself sent late", "give it more cores or workers"),
    "CLIENT_BOUND": Flag("the load generator's own error could change the answer", "give it more cores or workers"),
    "COUNTERS_DISAGREE": Flag(
        "the server counted other requests or tokens than were received",
        "look for a proxy that retries or caches, and measure again",
    ),
    "FOREIGN_TRAFFIC": Flag("others used the server at the same time", "measure it alone"),
    "IMPLAUSIBLE": Flag("faster than the hardware can be", "check what is declared"),
    "COUNTERS_UNAVAILABLE": Flag(
        "the server has no /metrics to check against", "open its metrics, or trust the client's counts alone"
    ),
    "LENGTHS_DIFFER": Flag(
        "the server counted other lengths than were asked for",
        "set ignore_eos, or read the means of the lengths beside the rates",
    ),
    "EXTRAPOLATED": Flag("outside what the calibration rests on", "measure a point there, then `giq calibrate`"),
}
"""Every flag of a point by its name."""
