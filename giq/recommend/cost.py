"""What a deployment unit costs: whole replicas for a rate, and GIQ's price of a token (pure)."""

from __future__ import annotations

import math
from dataclasses import dataclass

from giq.curve.point import Estimate
from giq.errors import UsageError
from giq.units import SECONDS_PER_HOUR

TOKENS_PER_MILLION = 1_000_000
DEFAULT_RATIO = 4.0
"""GIQ's default price of an output token over that of an input token."""

_SLACK = 1e-9
"""Relative slack in dividing rates: a capacity that fits the rate exactly needs no further replica."""


@dataclass(frozen=True)
class TokenCost:
    """USD per million output tokens and per million input tokens."""

    output: float
    input: float


def token_cost(usd_per_hour: float, input_tps: float, output_tps: float, ratio: float = DEFAULT_RATIO) -> TokenCost:
    """GIQ's price of a token on a unit of *usd_per_hour* that takes and makes so many tokens a second.

    One output token costs `(USD/s) / (input_tps / ratio + output_tps)`, one input token that over *ratio*
    (FetchProfiles' cost with `outputInputCostRatio`). It is an equivalent price for comparison; what is
    billed is the machine.

    Raises:
        UsageError: no tokens, a negative rate, or a price or ratio that is not above zero.
    """
    if usd_per_hour <= 0 or ratio <= 0 or min(input_tps, output_tps) < 0 or input_tps + output_tps <= 0:
        raise UsageError(
            f"no price of a token follows from {usd_per_hour:g} USD/h, {input_tps:g} input and {output_tps:g} output "
            f"tokens/s at ratio {ratio:g}",
            hint="The price and the ratio must be above zero, and so must one of the token rates.",
        )
    per_token = usd_per_hour / SECONDS_PER_HOUR / (input_tps / ratio + output_tps)
    return TokenCost(output=per_token * TOKENS_PER_MILLION, input=per_token * TOKENS_PER_MILLION / ratio)


def replicas_for(rate_rps: float, capacity_rps: float, spare: int = 0) -> int:
    """The whole deployment units that carry *rate_rps*, plus *spare* ones.

    Raises:
        UsageError: the capacity is not above zero, or *spare* is below zero.
    """
    if capacity_rps <= 0 or spare < 0:
        raise UsageError(
            f"no number of replicas follows from a capacity of {capacity_rps:g} req/s and {spare} spare replicas",
            hint="The capacity must be above zero, spare replicas zero or more.",
        )
    return max(1, math.ceil(rate_rps / capacity_rps * (1 - _SLACK))) + spare


def over_capacity(value: float, capacity: Estimate) -> Estimate:
    """*value*, which holds at the capacity, with the interval of what falls as the capacity rises (1 / capacity).

    A bound that the capacity lacks, or that is not finite (capacity down to zero), is None.
    """
    return Estimate(
        value=value,
        lo=None if capacity.hi is None else value * min(1.0, capacity.value / capacity.hi),
        hi=None if not capacity.lo or capacity.lo <= 0 else value * max(1.0, capacity.value / capacity.lo),
    )


def replica_hours(usd_per_hour: float, rate_rps: float, capacity: Estimate, spare: int = 0) -> Estimate:
    """USD per hour of the whole units that carry *rate_rps*; the interval is that of their number."""

    def bill(capacity_rps: float | None) -> float | None:
        carries = capacity_rps is not None and capacity_rps > 0
        return replicas_for(rate_rps, capacity_rps or 0.0, spare) * usd_per_hour if carries else None

    value = replicas_for(rate_rps, capacity.value, spare) * usd_per_hour
    return Estimate(value=value, lo=bill(capacity.hi), hi=bill(capacity.lo))
