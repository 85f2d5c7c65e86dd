"""Exports: the tables for other tools, and points back from them with the same values."""

from __future__ import annotations

import csv
import io
import json
import tempfile
from pathlib import Path
from typing import get_args

import pandas as pd
import pyarrow.parquet as pq
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from giq.curve.curve import Curve
from giq.curve.requests import Sample
from giq.errors import DamagedFileError
from giq.store.columns import record_batch, sample_batch
from giq.store.export import ExportForm, is_export, points_of, read_export, write_export
from giq.store.frames import read_points
from tests.store.examples import CONFIGS, POINTS, RECORDS, SAMPLES, WORKLOADS

QUICK = (Phase.explicit, Phase.reuse, Phase.generate)
"""Without shrinking: a row has 200 columns, and which one differs is seen as it is."""

FORMS: tuple[ExportForm, ...] = get_args(ExportForm)
CURVES = st.builds(
    lambda config, workload, point: Curve(config, workload, (point,)), CONFIGS, WORKLOADS, POINTS
)  # fmt: skip


def exported(curves: list[Curve], form: ExportForm) -> bytes:
    """The table `points` of *curves* in that form."""
    sink = io.BytesIO()
    write_export(points_of(curves), "points", form, sink)
    return sink.getvalue()


@pytest.mark.parametrize("form", FORMS)
@given(one=CURVES)
@settings(max_examples=10, deadline=None, phases=QUICK)
def test_points_come_back_with_the_same_values(form: ExportForm, one: Curve) -> None:
    """Every value of a point survives CSV, JSON and Parquet: infinities, empty texts and nulls too."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"points.{form}"
        path.write_bytes(exported([one], form))

        assert is_export(path)
        (back,) = read_export(path)

    assert back.points == one.points
    assert (back.config.config_id, back.workload.workload_id) == (one.config.config_id, one.workload.workload_id)


@given(record=RECORDS, sample=SAMPLES)
@settings(max_examples=15, deadline=None, phases=QUICK)
def test_records_and_samples_are_exported_whole(record: object, sample: Sample) -> None:
    """Requests and server metrics keep their integers, lists and labels in JSON, and their columns in CSV."""
    import pyarrow as pa

    requests = pa.Table.from_batches([record_batch([record])])  # type: ignore[list-item]
    server = pa.Table.from_batches([sample_batch([sample])])
    sinks = [io.BytesIO() for _ in range(3)]
    write_export(requests, "requests", "json", sinks[0])
    write_export(server, "server", "json", sinks[1])
    write_export(requests, "requests", "csv", sinks[2])

    (row,) = json.loads(sinks[0].getvalue())
    expected = requests.to_pylist()[0]
    assert row["sent_ns"] == expected["sent_ns"]
    assert row["token_gaps_ns"] == expected["token_gaps_ns"]
    assert json.loads(sinks[1].getvalue())[0]["labels"] == sample.labels
    (cells,) = csv.DictReader(io.StringIO(sinks[2].getvalue().decode(), newline=""))
    assert list(cells) == requests.schema.names
    assert int(cells["scheduled_ns"]) == expected["scheduled_ns"]


def test_columns_carry_their_units_and_read_in_pandas(tmp_path: Path) -> None:
    """The CSV and the Parquet file are tables that pandas and pyarrow open, with units in the names."""
    from tests.curve.measured_curves import curve

    one = curve()
    (tmp_path / "p.csv").write_bytes(exported([one], "csv"))
    (tmp_path / "p.parquet").write_bytes(exported([one], "parquet"))

    text, table = pd.read_csv(tmp_path / "p.csv"), pq.read_table(tmp_path / "p.parquet").to_pandas()

    assert list(text.columns) == list(table.columns)
    assert {"ttft_p90_s", "output_tps", "offered_rps", "window_s"} <= set(text.columns)
    assert text.ttft_p90_s.tolist() == table.ttft_p90_s.tolist() == read_points(one).ttft_p90_s.tolist()


@pytest.mark.parametrize("form", FORMS)
def test_half_an_export_is_damaged(form: ExportForm, tmp_path: Path) -> None:
    """A file that was cut off is refused, and says which."""
    from tests.curve.measured_curves import curve

    data = exported([curve()], form)
    path = tmp_path / f"p.{form}"
    path.write_bytes(data[: len(data) // 2 - 7])

    with pytest.raises(DamagedFileError, match="p\\."):
        read_export(path)
