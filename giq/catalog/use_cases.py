"""Use cases: named workloads with their token lengths."""

from __future__ import annotations

from typing import Literal

from giq.catalog.models import Source
from giq.documents import Entry, Name, NonNegative, Positive, PositiveInt


class Lengths(Entry, frozen=True, kw_only=True):
    """A distribution of token counts per request.

    `fixed` is always `mean`. `uniform` is even over [minimum, maximum]. `normal` has `mean` and standard
    deviation `spread`; `lognormal` has the arithmetic mean `mean` and `spread` = sigma of the logarithm.
    Every draw is rounded and clipped to [minimum, maximum].
    """

    distribution: Literal["fixed", "uniform", "normal", "lognormal"] = "fixed"
    mean: Positive
    spread: NonNegative = 0.0
    minimum: PositiveInt = 1
    maximum: PositiveInt | None = None


class UseCase(Entry, frozen=True, kw_only=True):
    """What users do with a model, as input and output lengths in tokens."""

    name: Name
    title: Name
    aliases: tuple[Name, ...] = ()
    input_tokens: Lengths
    output_tokens: Lengths
    source: Source
