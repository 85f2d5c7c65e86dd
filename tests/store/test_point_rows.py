"""Points become rows and come back; identities agree before and after."""

from __future__ import annotations

import pyarrow as pa
import pytest
from hypothesis import given, settings

from giq import documents
from giq.catalog.configuration import Component, ServingConfiguration
from giq.catalog.use_cases import Lengths
from giq.curve.curve import curve_id
from giq.curve.point import Attainment, Distribution, Estimate, Point
from giq.errors import DamagedFileError, NewerFormatError
from giq.store.point_rows import PointRow, points_table, rows_of
from giq.store.schema import POINTS
from giq.workload.workload import Arrival, Workload

from .examples import CONFIG, CONFIGS, WORKLOAD, WORKLOADS, point
from .examples import POINTS as ANY_POINT


def row(found: Point | None = None, config: ServingConfiguration = CONFIG, workload: Workload = WORKLOAD) -> PointRow:
    """A row of the usual point, configuration and workload, where no other is given."""
    return PointRow(config, workload, found or point())


@settings(max_examples=40, deadline=None)
@given(ANY_POINT)
def test_points_survive_the_table_unchanged(found: Point) -> None:
    """A point put in a row and read back is equal to the one put in (quantile grids being 32-bit numbers)."""
    assert [back.point for back in rows_of(points_table([row(found)]), "x")] == [found]


@settings(max_examples=60, deadline=None)
@given(CONFIGS, WORKLOADS)
def test_identities_agree_after_a_round_trip(config: ServingConfiguration, workload: Workload) -> None:
    """The ids in the columns are those of what is read back, whichever numbers were whole."""
    table = points_table([row(config=config, workload=workload)])
    (back,) = rows_of(table, "x")

    assert table["config_id"].to_pylist() == [back.config.config_id]
    assert table["workload_id"].to_pylist() == [back.workload.workload_id]
    assert table["curve_id"].to_pylist() == [curve_id(back.config, back.workload)]
    assert rows_of(points_table([back]), "x") == [back]


def test_whole_numbers_do_not_change_the_identity() -> None:
    """A mean of 128 and one of 128.0 tokens are one workload."""
    whole = documents.replace(WORKLOAD, input_tokens=Lengths(mean=128))
    table = points_table([row(), row(workload=whole)])

    assert len(set(table["curve_id"].to_pylist())) == 1


def test_the_nested_becomes_flat() -> None:
    """A percentile with its interval, a grid, a slope and targets each have their columns."""
    found = point(
        ttft=Distribution(p90=Estimate(value=0.25, lo=0.2, hi=0.3), quantiles=(0.5,) * 101),
        in_flight_slope=Estimate(value=0.1, lo=-0.1, hi=0.3),
        attainment=(Attainment(targets="ttft_p90<0.3", joint=0.95, goodput_rps=1.8),),
        flags=("LENGTHS_DIFFER",),
    )
    (flat,) = points_table([row(found)]).to_pylist()

    assert (flat["ttft_p90_s"], flat["ttft_p90_s_lo"], flat["ttft_p90_s_hi"]) == (0.25, 0.2, 0.3)
    assert flat["ttft_p50_s"] is None
    assert flat["ttft_quantiles"] == [0.5] * 101
    assert (flat["in_flight_slope"], flat["in_flight_slope_lo"], flat["in_flight_slope_hi"]) == (0.1, -0.1, 0.3)
    assert flat["attainment"] == [{"targets": "ttft_p90<0.3", "joint": 0.95, "goodput_rps": 1.8}]
    assert (flat["flags"], flat["valid"]) == (["LENGTHS_DIFFER"], True)


def test_the_common_case_is_copied_flat() -> None:
    """What is served and asked stands in columns of its own beside the JSON."""
    config = ServingConfiguration(
        components=(
            Component(model="m", accelerator="a", accelerators_per_host=4, hosts=2, tp=8, machine_type="big"),
            Component(role="decode", model="m", accelerator="a"),
        )
    )
    workload = Workload(
        use_case="code",
        input_tokens=Lengths(mean=9.0),
        output_tokens=Lengths(mean=9.0),
        arrival=Arrival(law="constant"),
    )
    (flat,) = points_table([row(config=config, workload=workload)]).to_pylist()

    chosen = {name: flat[name] for name in ("model", "accelerator", "hosts", "tp", "machine_type", "precision")}
    assert chosen == {
        "model": "m", "accelerator": "a", "hosts": 2, "tp": 8, "machine_type": "big", "precision": "unknown"
    }  # fmt: skip
    assert flat["accelerators_total"] == 9
    assert (flat["use_case"], flat["arrival"]) == ("code", "constant")


def test_a_point_with_an_invalidating_flag_is_not_valid_in_its_row() -> None:
    """The column valid follows the flags."""
    assert points_table([row(point(flags=("NOT_STEADY",)))])["valid"].to_pylist() == [False]


def changed(**columns: object) -> pa.Table:
    """The table of one usual row, with some values changed."""
    (flat,) = points_table([row()]).to_pylist()
    return pa.Table.from_pylist([{**flat, **columns}], POINTS)


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("config", '{"components":[{"model":"m","colour":"red"}]}'),
        ("workload", "{"),
        ("evidence", "guessed"),
    ],
)
def test_a_row_that_is_not_understood_is_refused(column: str, value: str) -> None:
    """An unknown field, a value outside its set or broken JSON is refused, naming the file."""
    with pytest.raises(DamagedFileError, match=r"p\.parquet"):
        rows_of(changed(**{column: value}), "p.parquet")


def test_a_row_of_a_newer_giq_is_refused() -> None:
    """A row of schema version 2 is refused even where the file itself says nothing."""
    with pytest.raises(NewerFormatError, match=r"p\.parquet"):
        rows_of(changed(schema_version=2).replace_schema_metadata(None), "p.parquet")
