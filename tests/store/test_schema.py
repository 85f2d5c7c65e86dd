"""The tables are those of SCHEMA.md, whose columns stand here a second time, by hand."""

from __future__ import annotations

import pyarrow as pa
import pytest

from giq.curve.requests import Record, Sample
from giq.errors import DamagedFileError, NewerFormatError
from giq.store.schema import HIVE_POINTS, POINTS, REQUESTS, SERVER, aligned, check_file

WORDS_OF_REQUESTS = """
    run_id string; point_id string; request_id int64; worker_id int16; phase string; scheduled_ns int64;
    sent_ns int64; first_token_ns int64?; last_token_ns int64?; end_ns int64?; first_answer_token_ns int64?;
    connect_ns int64?; connection_reused bool; attempts int8; http_status int16?; outcome string;
    error_kind string?; finish_reason string?; requested_input_tokens int32; requested_output_tokens int32;
    input_tokens int32?; cached_tokens int32?; output_tokens int32?; reasoning_tokens int32?;
    token_gaps_ns list<int64>?; chunk_tokens list<uint16>?; first_token_rule string; session_id int64?;
    turn int16?; parent_id int64?; think_ns int64?; prefix_group int32?; adapter string?; priority string?;
    backend string?; modality string?; input_units int32?; output_units int32?; server_queue_s double?
"""
WORDS_OF_SERVER = """
    run_id string; point_id string; ts_ns int64; source string; engine string?; metric string;
    labels map<string, string>; value double
"""
WORDS_OF_POINTS = """
    schema_version int32; curve_id string; config_id string; workload_id string; id_version int32; run_id string?;
    point_id string; evidence string; hardware_source string; source string; licence string?;
    calibration_id string?; measured_at string?; giq_version string; engine_id string?; model string; precision string;
    server string; server_version string; accelerator string; accelerators_total int32; machine_type string?;
    topology string?; hosts int32; tp int32; pp int32; dp int32; ep int32; units_measured int32; config string;
    workload string; use_case string?; input_tokens_mean double; output_tokens_mean double;
    input_tokens_p90 double?; output_tokens_p90 double?; arrival string; load_kind string; offered_rps double?;
    concurrency double?; achieved_rps double; in_flight_mean double; in_flight_slope double?;
    in_flight_slope_lo double?; in_flight_slope_hi double?; error_share double; window_s double;
    n_requests int64; n_batches int32?; input_tps double; output_tps double; total_tps double; LATENCIES;
    ttft_quantiles list<float>?; itl_quantiles list<float>?; tpot_quantiles list<float>?;
    ntpot_quantiles list<float>?; latency_quantiles list<float>?;
    attainment list<struct<targets: string, joint: double, goodput_rps: double>>?;
    expected list<struct<target: string, value_s: double, lo_s: double, hi_s: double>>?;
    foreseen list<struct<target: string, rate_rps: double>>?; running_mean double?; waiting_mean double?;
    kv_usage_mean double?; kv_usage_max double?; preemptions double?;
    prefix_hit_share double?; work_rps double?; work_rps_lo double?; work_rps_hi double?; prompt_share double?;
    accelerator_seconds double; rtt_s double?; client_error_s double?;
    flags list<string>; valid bool
"""
METRICS = ("ttft", "ttft_scheduled", "itl", "tpot", "ntpot", "latency", "latency_scheduled", "schedule_delay")
LATENCIES = "; ".join(
    f"{metric}_{statistic}_s{bound} double?"
    for metric in METRICS
    for statistic in ("mean", "p50", "p90", "p95", "p99")
    for bound in ("", "_lo", "_hi")
)


def columns(words: str) -> list[tuple[str, str]]:
    """Names and types, `?` for nullable."""
    pairs = " ".join(words.split()).replace("LATENCIES", LATENCIES).split("; ")
    return [(pair.partition(" ")[0], pair.partition(" ")[2]) for pair in pairs]


def found(schema: pa.Schema) -> list[tuple[str, str]]:
    """The same, of an Arrow schema."""
    kinds = [str(field.type).replace("element: ", "").replace("item: ", "") for field in schema]
    return [(field.name, kind + "?" * field.nullable) for field, kind in zip(schema, kinds, strict=True)]


@pytest.mark.parametrize(
    ("schema", "words"),
    [(REQUESTS, WORDS_OF_REQUESTS), (SERVER, WORDS_OF_SERVER), (POINTS, WORDS_OF_POINTS)],
    ids=["requests", "server", "points"],
)
def test_a_table_has_the_columns_that_are_promised(schema: pa.Schema, words: str) -> None:
    """Names, types, nullability and order of columns are those of SCHEMA.md."""
    assert found(schema) == columns(words)


def test_rows_have_the_fields_of_their_tables() -> None:
    """Records and samples have one field for each column, under its name and in its order."""
    assert list(Record.__struct_fields__) == REQUESTS.names
    assert list(Sample.__struct_fields__) == SERVER.names


def test_the_layout_in_folders_leaves_out_what_the_folders_say() -> None:
    """Files of the hive-style layout lack just the two columns that stand in the folders' names."""
    assert set(POINTS.names) - set(HIVE_POINTS.names) == {"model", "accelerator"}


def test_a_newer_version_is_refused() -> None:
    """A file that says it is of schema version 2 is refused by its name, with the version that is understood."""
    newer = SERVER.with_metadata({**SERVER.metadata, b"giq.schema_version": b"2"})

    with pytest.raises(NewerFormatError, match=r"x\.parquet.*2.*\(1\)"):
        check_file(newer, SERVER, "x.parquet")


@pytest.mark.parametrize(
    ("metadata", "problem"),
    [({b"giq.table": b"requests"}, "holds the table 'requests'"), ({b"giq.schema_version": b"one"}, "not a number")],
)
def test_another_table_is_refused(metadata: dict[bytes, bytes], problem: str) -> None:
    """A file of another table, or with a version that is none, is refused by its name."""
    with pytest.raises(DamagedFileError, match=f"x.parquet: .*{problem}"):
        check_file(SERVER.with_metadata(metadata), SERVER, "x.parquet")


def test_a_column_that_is_not_there_is_null_if_it_may_be() -> None:
    """A table of an earlier giq, without a nullable column, is read with nulls, and columns unknown here go."""
    table = SERVER.empty_table().drop_columns("engine").append_column("later", pa.array([], pa.int8()))

    assert aligned(table, SERVER, "x").schema == SERVER


@pytest.mark.parametrize(
    ("table", "problem"),
    [
        (pa.table({"value": [1.0]}), "column run_id is missing"),
        (pa.table({"run_id": pa.array([None], pa.string())}), "column run_id has empty values"),
        (pa.table({"run_id": [[1]]}), "column run_id is list"),
    ],
    ids=["missing", "empty", "another type"],
)
def test_a_table_that_is_not_whole_is_refused(table: pa.Table, problem: str) -> None:
    """A column that must be there is refused when it is missing, has nulls or is of another type."""
    with pytest.raises(DamagedFileError, match=f"x.parquet: {problem}"):
        aligned(table, SERVER, "x.parquet")
