"""The database is any folder of Parquet: read whole, joined only where it may be, and read as it is by others."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import duckdb
import pandas as pd
import pytest

from giq import documents
from giq.catalog.use_cases import Lengths
from giq.curve.curve import Curve
from giq.curve.point import Attainment, Distribution, Estimate, Evidence, HardwareSource, Point
from giq.errors import DamagedFileError, DataError, NewerFormatError
from giq.store.database import read_curves, write_points
from giq.store.frames import read_points
from giq.store.parquet import replace_table
from giq.store.point_rows import PointRow, points_table
from giq.store.run import create_run
from giq.store.schema import POINTS

from .examples import CONFIG, MODEL, WORKLOAD, manifest, point, record, sample


def saved_run(results: Path, run_id: str, *points: Point, **fields: Any) -> Path:
    """The folder of a finished run with *points*, each with a record and a sample."""
    run = create_run(results, manifest(run_id, **fields))
    for found in points:
        mine = documents.replace(found, run_id=run_id)
        run.journal(found.point_id).append([record(0, run_id=run_id, point_id=found.point_id)])
        run.server_journal(found.point_id).append([sample(1, run_id=run_id, point_id=found.point_id)])
        run.finish_point(mine)
    run.finish("done")
    return run.path


def shape(curves: list[Curve]) -> list[tuple[str, str, list[str]]]:
    """Evidence, hardware and points of each curve."""
    return [
        (curve.evidence, curve.points[0].provenance.hardware_source, [found.point_id for found in curve.points])
        for curve in curves
    ]


def test_points_of_several_runs_make_one_curve(tmp_path: Path) -> None:
    """Runs of one configuration and workload are joined, sorted by load, whichever was first."""
    saved_run(tmp_path, "b", point("p1", offered_rps=1.0), point("p3", offered_rps=3.0))
    saved_run(tmp_path, "a", point("p2", offered_rps=2.0))

    assert shape(read_curves(tmp_path)) == [("measured", "detected", ["p1", "p2", "p3"])]
    assert read_curves(tmp_path)[0].config == CONFIG
    assert read_curves(str(tmp_path))[0].workload == WORKLOAD
    assert shape(read_curves(tmp_path / "run=a")) == [("measured", "detected", ["p2"])]
    assert shape(read_curves(tmp_path / "run=a" / "points.parquet")) == [("measured", "detected", ["p2"])]


@pytest.mark.parametrize(
    ("evidence", "hardware"),
    [("estimated", "simulated"), ("measured", "declared"), ("published", "published"), ("estimated", "detected")],
)
def test_other_evidence_or_hardware_makes_another_curve(
    tmp_path: Path, evidence: Evidence, hardware: HardwareSource
) -> None:
    """Points that differ in evidence, or in how the hardware was known, never mix."""
    saved_run(tmp_path, "a", point("p1"), point("p2", evidence, hardware))

    assert sorted(shape(read_curves(tmp_path))) == sorted(
        [("measured", "detected", ["p1"]), (evidence, hardware, ["p2"])]
    )


def test_other_calibrations_workloads_and_configurations_make_other_curves(tmp_path: Path) -> None:
    """Points that rest on another calibration, or of another workload or configuration, never mix."""
    estimated = point("p1", "estimated", "simulated")
    other = documents.replace(
        estimated, provenance=documents.replace(estimated.provenance, calibration_id="c1"), point_id="p2"
    )
    saved_run(tmp_path, "a", estimated, other)
    saved_run(tmp_path, "b", point("p3"))
    saved_run(tmp_path, "c", point("p4"), workload=documents.replace(WORKLOAD, use_case="code"))
    served = documents.replace(CONFIG, components=(documents.replace(CONFIG.main, server_version="0.21.0"),))
    saved_run(tmp_path, "d", point("p5"), config=served)

    assert sorted(name for _, _, [name] in shape(read_curves(tmp_path))) == ["p1", "p2", "p3", "p4", "p5"]


def test_a_point_that_is_found_twice_counts_once(tmp_path: Path) -> None:
    """The same points in a run and in the database's layout are one curve without doubles."""
    saved_run(tmp_path, "a", point("p1"), point("p2", offered_rps=3.0))
    curves = read_curves(tmp_path)
    write_points(tmp_path, curves)

    assert read_curves(tmp_path) == curves


def test_the_order_of_input_does_not_matter(tmp_path: Path) -> None:
    """Curves in any order give the same files, byte for byte, and are read back the same."""
    points = tuple(point(f"p{number}", offered_rps=number % 3 + 1.0) for number in range(9))
    curves = [
        Curve(CONFIG, WORKLOAD, points[:5]),
        Curve(CONFIG, documents.replace(WORKLOAD, use_case=None), points),
        Curve(CONFIG, WORKLOAD, points[5:]),
        Curve(CONFIG, WORKLOAD, (point("e", "estimated", "simulated"),)),
    ]
    first = write_points(tmp_path / "first", curves)
    random.Random(1).shuffle(curves)
    shuffled = [Curve(curve.config, curve.workload, curve.points[::-1]) for curve in curves]
    write_points(tmp_path / "second", shuffled)

    assert len(first) == 3
    for name in first:
        relative = Path(name).relative_to(tmp_path / "first")
        assert (tmp_path / "second" / relative).read_bytes() == Path(name).read_bytes()
    assert read_curves(tmp_path / "first") == read_curves(tmp_path / "second")


def test_the_layout_names_model_accelerator_and_curve(tmp_path: Path) -> None:
    """Folders name the model and the accelerator, with slashes quoted, and the file the curve and its evidence."""
    curve = Curve(CONFIG, WORKLOAD, (point(),))
    (name,) = write_points(tmp_path, [curve])

    assert Path(name).relative_to(tmp_path).parts == (
        "points",
        "model=meta-llama%2FLlama-3.1-8B-Instruct",
        "accelerator=nvidia-l4",
        f"{curve.curve_id}-measured-detected.parquet",
    )
    assert read_curves(tmp_path) == read_curves(name) == [curve]


def test_whole_numbers_name_the_same_file(tmp_path: Path) -> None:
    """A workload made with whole numbers lies where it will be looked for when it is read back."""
    whole = documents.replace(WORKLOAD, input_tokens=Lengths(mean=128))
    (name,) = write_points(tmp_path, [Curve(CONFIG, whole, (point(),))])

    assert Path(name).name.startswith(read_curves(tmp_path)[0].curve_id)


def test_no_points_are_no_curves(tmp_path: Path) -> None:
    """An empty folder, and a curve without points, are nothing to read and nothing to write."""
    assert write_points(tmp_path, [Curve(CONFIG, WORKLOAD, ())]) == []
    assert read_curves(tmp_path) == []


def test_damaged_files_are_told_and_the_others_read(tmp_path: Path) -> None:
    """Below a folder the good files are read and each bad one is told by name; by itself a bad file raises."""
    saved_run(tmp_path, "a", point("p1"))
    truncated = saved_run(tmp_path, "b", point("p2")) / "points.parquet"
    truncated.write_bytes(truncated.read_bytes()[:-9])
    newer = saved_run(tmp_path, "c", point("p3")) / "points.parquet"
    table = points_table([PointRow(CONFIG, WORKLOAD, point("p3"))])
    replace_table(newer, table.schema.with_metadata({**POINTS.metadata, b"giq.schema_version": b"9"}), [table])
    problems: list[DataError] = []

    assert shape(read_curves(tmp_path, problems.append)) == [("measured", "detected", ["p1"])]
    assert [(type(problem), problem.where) for problem in problems] == [
        (DamagedFileError, str(truncated)), (NewerFormatError, str(newer)),
    ]  # fmt: skip
    with pytest.raises(DamagedFileError, match=r"run=b/points\.parquet: not a whole Parquet file"):
        read_curves(tmp_path)
    with pytest.raises(DamagedFileError, match=r"run=b/points\.parquet"):
        read_curves(truncated, problems.append)


def test_other_files_are_passed_over(tmp_path: Path) -> None:
    """Requests, samples, temporary and hidden files are no points."""
    path = saved_run(tmp_path, "a", point("p1"))
    for name in (".points.parquet.1.tmp", "_hidden.parquet", "notes.txt"):
        (path / name).write_text("none")

    assert shape(read_curves(tmp_path)) == [("measured", "detected", ["p1"])]


@pytest.mark.parametrize("location", ["nowhere", "nosuch://bucket/folder"])
def test_a_place_that_is_not_there_is_named(location: str) -> None:
    """A missing folder, or a scheme that cannot be opened, is an error that names it."""
    with pytest.raises(DataError, match=location):
        read_curves(location)


def test_a_uri_is_read_like_a_path(tmp_path: Path) -> None:
    """Any place that pyarrow opens can be read and written."""
    uri = (tmp_path / "data").as_uri()
    write_points(uri, [Curve(CONFIG, WORKLOAD, (point(),))])

    assert read_curves(uri) == read_curves(tmp_path / "data") != []


def rich(name: str) -> Point:
    """A point with lists and structs."""
    return point(
        name,
        ttft=Distribution(p90=Estimate(value=0.25, lo=0.2, hi=0.3), quantiles=tuple(n / 64 for n in range(101))),
        attainment=(Attainment(targets="ttft_p90<0.3", joint=0.95, goodput_rps=1.8),),
        flags=("TOO_FEW", "LENGTHS_DIFFER"),
    )


def queried(statement: str) -> list[Any]:
    """The rows that DuckDB answers."""
    with duckdb.connect() as connection:
        return connection.execute(statement).fetchall()


def test_duckdb_reads_runs_from_the_path_alone(tmp_path: Path) -> None:
    """DuckDB sees points, requests and samples of all runs, lists, maps and the run's name among them."""
    for run_id in ("r1", "r2"):
        saved_run(tmp_path, run_id, rich("p1"))

    points = queried(
        f"select run, ttft_p90_s, ttft_quantiles[101], attainment[1].joint, flags, valid "
        f"from '{tmp_path}/run=*/points.parquet' order by run"
    )
    assert points == [(name, 0.25, 1.5625, 0.95, ["TOO_FEW", "LENGTHS_DIFFER"], False) for name in ("r1", "r2")]
    requests = queried(
        f"select run, sum(list_sum(token_gaps_ns)) from '{tmp_path}/run=*/requests.parquet' group by run order by run"
    )
    assert requests == [("r1", 300), ("r2", 300)]
    labels = queried(f"select labels['engine'] from '{tmp_path}/run=*/server.parquet'")
    assert labels == [("0",), ("0",)]


def test_pandas_reads_runs_from_the_path_alone(tmp_path: Path) -> None:
    """pandas.read_parquet sees points, requests and samples with their lists."""
    path = saved_run(tmp_path, "r1", rich("p1"))

    points = pd.read_parquet(path / "points.parquet")
    assert points["ttft_p90_s"].tolist() == [0.25]
    assert list(points["flags"][0]) == ["TOO_FEW", "LENGTHS_DIFFER"]
    assert pd.read_parquet(path / "requests.parquet")["token_gaps_ns"][0].tolist() == [100, 101, 99]
    assert dict(pd.read_parquet(path / "server.parquet")["labels"][0])["engine"] == "0"


def test_other_programs_read_the_layout_as_one_table(tmp_path: Path) -> None:
    """DuckDB and pandas read the hive-style folder, with the model and the accelerator from the folders' names."""
    write_points(tmp_path, [Curve(CONFIG, WORKLOAD, (rich("p1"), rich("p2")))])

    by_duckdb = queried(f"select model, accelerator, count(*) from '{tmp_path}/points/*/*/*.parquet' group by all")
    assert by_duckdb == [(MODEL, "nvidia-l4", 2)]
    by_pandas = pd.read_parquet(tmp_path / "points")
    assert by_pandas[["model", "accelerator", "point_id"]].values.tolist() == [
        [MODEL, "nvidia-l4", "p1"], [MODEL, "nvidia-l4", "p2"],
    ]  # fmt: skip


def test_the_frame_is_the_same_from_runs_and_from_the_layout(tmp_path: Path) -> None:
    """Whatever lies in folders' names, the frame has all columns of the table, with the same values."""
    saved_run(tmp_path / "results", "r1", rich("p1"), point("p2", offered_rps=3.0))
    write_points(tmp_path / "database", read_curves(tmp_path / "results"))

    of_runs, of_layout = read_points(tmp_path / "results"), read_points(tmp_path / "database")
    assert list(of_runs.columns) == POINTS.names
    pd.testing.assert_frame_equal(of_runs, of_layout)
    assert of_runs["model"].tolist() == [MODEL, MODEL]
