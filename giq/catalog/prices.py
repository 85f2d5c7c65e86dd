"""Prices: dated, sourced, by region and pricing model; one not found is absent, never guessed."""

from __future__ import annotations

from typing import Literal

from giq.catalog.models import Source
from giq.documents import Entry, Name, Positive

PricingModel = Literal["on-demand", "spot", "1-year-cud", "3-years-cud", "flex-start"]
PRICING_MODELS: tuple[PricingModel, ...] = ("on-demand", "spot", "1-year-cud", "3-years-cud", "flex-start")


class PriceList(Entry, frozen=True, kw_only=True):
    """One file of prices: USD per hour of one `unit`, by machine type (or accelerator) and pricing model.

    `unit` says whether a row prices a whole machine (key: machine type) or one chip (key: accelerator).
    `name` is by default the file's, without its ending.
    """

    name: Name | None = None
    region: Name
    unit: Literal["machine", "chip"]
    usd_per_hour: dict[str, dict[PricingModel, Positive]]
    source: Source


class Price(Entry, frozen=True, kw_only=True):
    """The price of one deployment unit's machines, in USD per hour, with where and when it was found."""

    usd_per_hour: Positive
    region: Name
    pricing_model: PricingModel
    source: Source
