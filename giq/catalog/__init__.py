"""What exists: models, accelerators and machines, prices, use cases, model servers by version."""

from giq.catalog.accelerators import Accelerator, Shape
from giq.catalog.catalog import Catalog, load_catalog
from giq.catalog.configuration import ID_VERSION, UNKNOWN, Component, EngineValue, ServingConfiguration
from giq.catalog.layers import Kind
from giq.catalog.models import BYTES_PER_VALUE, Experts, Model, Peaks, Precision, SlidingWindow, Source, Weights
from giq.catalog.prices import PRICING_MODELS, Price, PriceList, PricingModel
from giq.catalog.servers import MetricNames, ModelServer, ServerVersion, version_number
from giq.catalog.shipped import shipped, user_home
from giq.catalog.use_cases import Lengths, UseCase

__all__ = [
    "Accelerator",
    "BYTES_PER_VALUE",
    "Catalog",
    "Component",
    "EngineValue",
    "Experts",
    "ID_VERSION",
    "Kind",
    "Lengths",
    "MetricNames",
    "Model",
    "ModelServer",
    "PRICING_MODELS",
    "Peaks",
    "Precision",
    "Price",
    "PriceList",
    "PricingModel",
    "ServerVersion",
    "ServingConfiguration",
    "Shape",
    "SlidingWindow",
    "Source",
    "UNKNOWN",
    "UseCase",
    "Weights",
    "load_catalog",
    "shipped",
    "user_home",
    "version_number",
]
