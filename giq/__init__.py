"""giq: an open GKE Inference Quickstart.

What the command line does, from Python: curves as pandas DataFrames, and questions to them.

    import giq

    curve = giq.predict("llama-3-8b", "nvidia-l4")
    giq.capacity(curve, [giq.target("ttft", "300ms")])
    giq.read_points(curve)

Everything is loaded when it is first used, so that `import giq` is instant.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from giq.api import (
        Capacity,
        Comparison,
        Curve,
        Difference,
        Doubt,
        Estimate,
        OperatingPoint,
        Point,
        Saturation,
        Target,
        capacity,
        check,
        curves,
        diff,
        manifests,
        operating_point,
        plot,
        predict,
        profile,
        read_points,
        read_requests,
        read_server,
        recommendation,
        saturation,
        target,
        workload_of,
    )

__version__ = "0.1.0"

__all__ = [
    "Capacity",
    "Comparison",
    "Curve",
    "Difference",
    "Doubt",
    "Estimate",
    "OperatingPoint",
    "Point",
    "Saturation",
    "Target",
    "__version__",
    "capacity",
    "check",
    "curves",
    "diff",
    "manifests",
    "operating_point",
    "plot",
    "predict",
    "profile",
    "read_points",
    "read_requests",
    "read_server",
    "recommendation",
    "saturation",
    "target",
    "workload_of",
]


def __getattr__(name: str) -> Any:
    """What `giq.api` has under *name*, loaded now."""
    if name not in __all__:
        raise AttributeError(f"module 'giq' has no attribute {name!r}")
    import importlib

    return getattr(importlib.import_module("giq.api"), name)


def __dir__() -> list[str]:
    return __all__
