"""Where a monotone curve through uncertain points crosses its limit."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from giq.curve.monotone import crossing

LOADS = np.array([1.0, 2.0, 4.0, 8.0])


def test_between_two_points_it_is_the_wait_of_a_queue() -> None:
    """A value of 1 / (1 - rho) with rho = load / 10 crosses 2.5 at 6, where it grows like rho / (1 - rho) = 1.5."""
    found = crossing(LOADS, 1 / (1 - LOADS / 10), np.full(4, 0.01), 2.5)

    assert found.value == pytest.approx(6.0)
    assert found.slope == pytest.approx(1.5)
    assert found.lo < 6.0 < found.hi
    assert not found.below
    assert not found.above


def test_outside_the_range_the_end_is_told() -> None:
    """Below the lowest value nothing meets; above the highest all do."""
    errors = np.full(4, 0.01)

    assert crossing(LOADS, LOADS, errors, 0.5).below
    assert crossing(LOADS, LOADS, errors, 20.0).above


def test_points_at_one_load_are_pooled_by_their_precision() -> None:
    """Of two contradicting points at one load the precise one decides."""
    loads, values = np.array([1.0, 2.0, 2.0, 4.0]), np.array([0.1, 0.9, 1.5, 3.0])
    precise = crossing(loads, values, np.array([0.01, 0.01, 1.0, 0.01]), 1.0)

    assert precise.value > 2.0


@given(st.lists(st.floats(0.1, 100), min_size=3, max_size=10, unique=True), st.floats(0.2, 50), st.floats(1.01, 3))
def test_a_looser_limit_never_gives_a_lower_load(values: list[float], limit: float, looser: float) -> None:
    """However the values jump, the crossing rises with the limit and lies within its interval and the range."""
    loads = np.linspace(1, 5, len(values))
    told, errors = np.array(values), np.full(len(values), 0.05)
    strict, loose = crossing(loads, told, errors, limit), crossing(loads, told, errors, limit * looser)

    assert strict.value <= loose.value * (1 + 1e-9)
    assert strict.lo <= strict.value <= strict.hi
    assert loads[0] * (1 - 1e-9) <= strict.value <= loads[-1] * (1 + 1e-9)


def test_an_interval_reaches_beyond_the_loads_where_the_last_is_uncertain() -> None:
    """A highest load that misses by less than its error leaves open that the limit is crossed above it."""
    found = crossing(LOADS, np.array([0.5, 0.6, 0.8, 1.02]), np.full(4, 0.05), 1.0)

    assert found.value < LOADS[-1] < found.hi


def test_uncertain_neighbours_make_no_step() -> None:
    """Two loads 8 % apart whose errors hide the rise between them tell the crossing no better than both together."""
    loads, values = np.array([5.0, 10.0, 10.8, 20.0]), np.array([0.5, 0.9, 1.1, 2.0])
    found = crossing(loads, values, np.array([0.02, 0.15, 0.15, 0.02]), 1.0)

    assert found.value == pytest.approx(10.4, rel=0.02)
    assert (found.hi - found.lo) / 2 / found.value > 0.1


def test_a_gap_over_a_steep_rise_is_doubted_below() -> None:
    """Where a value of 0.1 at 2 is followed by one of 30 at 2.5, a sudden rise would be crossed much earlier."""
    found = crossing(np.array([2.0, 2.5]), np.array([0.1, 30.0]), np.full(2, 0.05), 2.0)

    assert found.value > 2.45
    assert found.lo < 2.3


def test_a_gap_after_a_flat_stretch_is_doubted_above() -> None:
    """Loads of 0.8 and 0.93 come up to 0.985 of a limit flatly, one of 1.6 misses it by far: it may be met at 0.98."""
    loads, values = np.array([0.8, 0.93, 1.6]), np.array([0.955, 0.985, 3.0])
    found = crossing(loads, values, np.array([0.005, 0.005, 0.15]), 1.0)

    assert found.value < 0.945
    assert found.hi > 0.98


def test_a_gap_before_a_flatter_rise_is_doubted_below() -> None:
    """A value that leaps twentyfold between 0.93 and 1.08 and grows slowly after it may have leapt at once."""
    loads, values = np.array([0.93, 1.08, 1.2]), np.array([0.05, 4.0, 8.0])
    found = crossing(loads, values, np.full(3, 0.05), 2.0)

    assert found.value > 1.06
    assert found.lo < 0.97


def test_a_flat_curve_is_doubted_however_precise_its_points_are() -> None:
    """What all points err by in common moves the crossing of a flat curve farther than that of a steep one."""
    flat, steep = (crossing(LOADS, LOADS**power, np.full(4, 1e-4), 3.0**power) for power in (0.25, 2.0))

    assert flat.shared > 3 * steep.shared
    assert flat.hi / flat.lo > steep.hi / steep.lo > 1
