"""Estimates in few small files: rounded without losing what intervals hold, and always the same bytes."""

from __future__ import annotations

import math
from pathlib import Path

import pyarrow.parquet as pq
from hypothesis import given
from hypothesis import strategies as st

from giq.curve.curve import Curve
from giq.curve.point import STATISTICS, Distribution, Estimate
from giq.documents import replace
from giq.store.compact import BOUND_BITS, VALUE_BITS, compacted, estimates_file, lean, write_estimates
from giq.store.database import read_curves
from giq.store.point_rows import rows_of
from giq.store.schema import POINTS
from tests.curve.measured_curves import config, curve, open_point, provenance, workload

ESTIMATED = provenance("estimated", hardware_source="simulated", engine_id="1a2b")


def estimates() -> list[Curve]:
    """Two curves of one model."""
    return [curve(provenance=ESTIMATED), curve(accelerator="nvidia-h100-80gb", provenance=ESTIMATED)]


@given(
    value=st.floats(1e-6, 1e6), below=st.floats(0.0, 0.9), above=st.floats(0.0, 9.0), endless=st.booleans()
)  # fmt: skip
def test_an_interval_holds_what_it_held(value: float, below: float, above: float, endless: bool) -> None:
    """Values move by 0.05 % at most, bounds only away from them and by 0.8 % at most; endless ones stay."""
    known = Estimate(value=value, lo=value * (1 - below), hi=math.inf if endless else value * (1 + above))
    point = open_point(1.0, ttft=Distribution(p90=known), provenance=ESTIMATED)
    (row,) = rows_of(compacted([Curve(config(), workload(), (point,))]), "here")
    found = row.point.ttft.p90
    assert found is not None
    assert found.lo is not None
    assert found.hi is not None
    assert known.lo is not None
    assert abs(found.value / value - 1) <= 2.0**-VALUE_BITS
    assert found.lo <= known.lo <= found.lo * (1 + 2.0 ** (1 - BOUND_BITS))
    assert found.hi == math.inf if endless else found.hi >= value * (1 + above) * (1 - 1e-12)
    assert endless or found.hi <= value * (1 + above) * (1 + 2.0 ** (1 - BOUND_BITS))


def test_equal_curves_give_equal_bytes_in_one_file(tmp_path: Path) -> None:
    """In any order; the file says which table and version it is, and is read as any other."""
    first = write_estimates(tmp_path / "a", "llama-3-8b", estimates())
    again = write_estimates(tmp_path / "b", "llama-3-8b", reversed(estimates()))
    assert first == estimates_file(tmp_path / "a", "llama-3-8b")
    assert first.read_bytes() == again.read_bytes()
    metadata = pq.read_schema(first).metadata
    assert {key: metadata[key] for key in POINTS.metadata} == POINTS.metadata
    found = read_curves(tmp_path / "a")
    assert {one.curve_id for one in found} == {one.curve_id for one in estimates()}
    assert {point.provenance.engine_id for one in found for point in one.points} == {"1a2b"}


def test_what_other_columns_tell_is_left_out() -> None:
    """From the scheduled moment and quantile grids go; all other statistics stay."""
    grid = tuple(float(place) for place in range(101))
    full = open_point(1.0)
    point = lean(replace(full, ttft=replace(full.ttft, quantiles=grid)))
    assert point.ttft_scheduled == point.latency_scheduled == Distribution()
    assert point.ttft.quantiles is None
    assert all(point.ttft.at(name) == full.ttft.at(name) for name in STATISTICS)


def test_a_part_is_read_by_what_its_columns_begin_with(tmp_path: Path) -> None:
    """By the whole or the beginning of a text; what nothing begins with is nothing."""
    write_estimates(tmp_path, "llama-3-8b", estimates())
    wanted = estimates()[1]
    (found,) = read_curves(tmp_path, only={"curve_id": wanted.curve_id[:8]})
    assert found.curve_id == wanted.curve_id
    (found,) = read_curves(tmp_path, only={"accelerator": "nvidia-h100-80gb", "model": "llama"})
    assert found.curve_id == wanted.curve_id
    assert read_curves(tmp_path, only={"curve_id": "zz"}) == []
