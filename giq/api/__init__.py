"""giq from Python: the same functions as the command line; `import giq` gives all of it."""

from giq.api.answers import check, diff, manifests, plot, predict, recommendation, target, workload_of
from giq.api.measuring import profile
from giq.curve.capacity import Capacity, capacity
from giq.curve.comparison import Comparison, Difference
from giq.curve.curve import Curve
from giq.curve.doubts import Doubt
from giq.curve.operating_point import OperatingPoint, operating_point
from giq.curve.point import Estimate, Point
from giq.curve.saturation import Saturation, saturation
from giq.curve.targets import Target
from giq.store.frames import curves, read_points, read_requests, read_server

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
