"""Result files of other tools: each metric keeps its meaning, what is lacking is null, what is broken is refused."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from giq.catalog.configuration import Component, ServingConfiguration
from giq.catalog.use_cases import Lengths
from giq.curve.curve import Curve
from giq.curve.point import Point
from giq.curve.requests import Requests
from giq.curve.window import choose_window
from giq.errors import DamagedFileError, DataError, UsageError
from giq.store.imports.conversion import Declared, imported_curve, lacking
from giq.store.imports.formats import read_result
from giq.workload.workload import Arrival, ClosedLoad, OpenLoad, Workload
from tests.store import foreign_samples as samples
from tests.store.foreign_samples import Sent, requests

CONFIG = ServingConfiguration(components=(Component(model="llama-3-8b", accelerator="nvidia-l4"),))
SENT = requests()
FAILED = [replace(item, failed=True) if place in (90, 100, 110) else item for place, item in enumerate(SENT)]
Writer = Callable[[Path, Sequence[Sent], bool], Path]


def written(path: Path, found: dict[str, Any]) -> Path:
    """*found* as JSON at *path*."""
    path.write_text(json.dumps(found))
    return path


def vllm(folder: Path, sent: Sequence[Sent], listed: bool) -> Path:
    """Vllm bench's file."""
    return written(folder / "vllm.json", samples.vllm_bench(sent, detailed=listed))


def guidellm(folder: Path, sent: Sequence[Sent], listed: bool) -> Path:
    """GuideLLM's file, with Poisson arrivals."""
    return written(folder / "guidellm.json", samples.guidellm(sent, "poisson", listed))


def inference_perf(folder: Path, sent: Sequence[Sent], listed: bool) -> Path:
    """A folder of inference-perf with one stage."""
    return samples.inference_perf(folder / "ip", [sent], listed)


def aiperf(folder: Path, sent: Sequence[Sent], listed: bool) -> Path:
    """A folder of AIPerf."""
    return samples.aiperf(folder / "ap", sent, listed)


WRITERS = (vllm, guidellm, inference_perf, aiperf)


def imported(path: Path, **declared: Any) -> Curve:
    """The curve of the result at *path*, on one L4."""
    asked = Workload(input_tokens=Lengths(mean=64.0), output_tokens=Lengths(mean=8.0))
    return imported_curve(read_result(path), Declared(**({"config": CONFIG, "workload": asked} | declared)))


def value(point: Point, metric: str, statistic: str = "p90") -> float | None:
    """One statistic of a point in seconds, None where it is unknown."""
    found = point.metric(metric).at(statistic)
    return None if found is None else found.value


def order_statistic(values: Sequence[float], percent: int = 90) -> float:
    """The percentile as giq defines it."""
    return float(np.percentile(values, percent, method="inverted_cdf"))


def in_window(path: Path, sent: Sequence[Sent], stage: int = 0) -> list[Sent]:
    """Those of *sent* that the window of the point holds, which giq chooses for its own points too."""
    found = read_result(path).points[stage]
    records = Requests.of(found.records)
    assert found.load is not None
    window = choose_window(records, found.load)
    return [sent[place] for place in np.flatnonzero(window.holds(window.times(records))).tolist()]


@pytest.mark.parametrize("write", WRITERS)
def test_requests_are_summarised_as_giqs_own(write: Writer, tmp_path: Path) -> None:
    """TTFT, TPOT, NTPOT and latency are the order statistics of the very requests, with intervals."""
    path = write(tmp_path, SENT, True)
    (point,) = imported(path).points

    measured = in_window(path, SENT)
    assert len(measured) == point.n_requests >= 100
    assert value(point, "ttft") == pytest.approx(order_statistic([item.ttft for item in measured]), abs=2e-7)
    assert value(point, "latency") == pytest.approx(order_statistic([item.latency for item in measured]), abs=2e-7)
    tpots = [sum(item.gaps) / len(item.gaps) for item in measured]
    assert value(point, "tpot") == pytest.approx(order_statistic(tpots), abs=2e-7)
    assert value(point, "ntpot") == pytest.approx(order_statistic([item.latency / 8 for item in measured]), abs=2e-7)
    ttft = point.ttft.p90
    assert ttft is not None
    assert ttft.lo is not None
    assert ttft.lo < ttft.value < (ttft.hi or 0)
    assert point.valid
    assert (point.load_kind, point.offered_rps) == ("open", 4.0)
    assert (point.input_tokens_mean, point.output_tokens_mean) == (64, 8)


@pytest.mark.parametrize("write", WRITERS)
def test_what_is_imported_is_never_called_measured(write: Writer, tmp_path: Path) -> None:
    """Evidence is published, hardware declared, and the source names the tool, the file and its content."""
    curve = imported(write(tmp_path, SENT, True))

    origin = curve.points[0].provenance
    assert (curve.evidence, origin.hardware_source) == ("published", "declared")
    assert "imported from" in origin.source
    assert str(tmp_path) not in origin.source
    assert curve.points[0].run_id == f"import-{read_result(write(_fresh(tmp_path), SENT, True)).content_id}"


def _fresh(folder: Path) -> Path:
    (folder / "again").mkdir()
    return folder / "again"


@pytest.mark.parametrize(
    ("write", "known", "unknown"),
    [
        (vllm, {"ttft", "tpot", "itl", "latency"}, {"ntpot", "ttft_scheduled", "schedule_delay"}),
        (guidellm, {"ttft", "tpot", "ntpot", "latency", "latency_scheduled", "schedule_delay"}, {"itl"}),
        (inference_perf, {"ttft", "latency", "schedule_delay"}, {"tpot", "ntpot", "itl", "ttft_scheduled"}),
        (aiperf, {"ttft", "latency", "itl"}, {"tpot", "ntpot", "ttft_scheduled", "schedule_delay"}),
    ],
)
def test_aggregates_fill_only_what_they_mean(write: Writer, known: set[str], unknown: set[str], tmp_path: Path) -> None:
    """Without requests the columns that mean the same are filled, without intervals; all others are null."""
    curve = imported(write(tmp_path, SENT, False))
    (point,) = curve.points

    assert {name for name in known if value(point, name) is None} == set()
    assert {name for name in unknown if value(point, name) is not None} == set()
    assert value(point, "ttft") == pytest.approx(np.percentile([item.ttft for item in SENT], 90))
    assert value(point, "latency", "mean") == pytest.approx(np.mean([item.latency for item in SENT]))
    assert all(found.lo is None for name in known if (found := point.metric(name).p90))
    assert point.n_requests == len(SENT)
    assert point.output_tps == pytest.approx(8 * point.achieved_rps)
    assert "no intervals" in lacking(curve)


def test_tokens_that_both_sides_count_alike_keep_what_is_per_token(tmp_path: Path) -> None:
    """Where inference-perf's and AIPerf's own tokenizer agrees with the server, TPOT is theirs."""
    tpot = np.percentile([sum(item.gaps) / len(item.gaps) for item in SENT], 90)

    (first,) = imported(samples.inference_perf(tmp_path / "ip", [SENT], False, miscounted=False)).points
    (second,) = imported(samples.aiperf(tmp_path / "ap", SENT, False, miscounted=False)).points

    assert value(first, "tpot") == pytest.approx(tpot)
    assert value(first, "ntpot") is not None
    assert value(second, "tpot") == pytest.approx(tpot)


def test_gaps_between_tokens_are_pooled_and_guidellms_means_are_not_taken_for_them(tmp_path: Path) -> None:
    """ITL is the percentile over all gaps of vllm bench, and unknown from GuideLLM, requests or not."""
    path = vllm(tmp_path, SENT, True)
    (point,) = imported(path).points
    (means,) = imported(guidellm(tmp_path, SENT, True)).points

    gaps = [gap for item in in_window(path, SENT) for gap in item.gaps]
    assert value(point, "itl") == pytest.approx(order_statistic(gaps), abs=2e-7)
    assert value(means, "itl") is None


def test_the_schedule_is_kept_where_there_is_one_and_null_elsewhere(tmp_path: Path) -> None:
    """GuideLLM tells when a request was due: 2 ms before it was sent; vllm bench does not."""
    (told,) = imported(guidellm(tmp_path, SENT, True)).points
    (untold,) = imported(vllm(tmp_path, SENT, True)).points

    assert value(told, "schedule_delay", "p50") == pytest.approx(0.002, abs=1e-6)
    assert value(told, "ttft_scheduled") == pytest.approx((value(told, "ttft") or 0) + 0.002, abs=1e-6)
    assert value(untold, "ttft_scheduled") is None
    assert value(untold, "schedule_delay") is None


@pytest.mark.parametrize("write", WRITERS)
def test_failed_requests_are_infinitely_slow(write: Writer, tmp_path: Path) -> None:
    """With requests they stand at the end of the percentiles; with aggregates percentiles are left out, means kept."""
    (detailed,) = imported(write(tmp_path, FAILED, True)).points
    (bare,) = imported(write(_fresh(tmp_path), FAILED, False)).points

    assert value(detailed, "ttft", "p99") == float("inf")
    assert "ERRORS" in detailed.flags
    assert bare.error_share == pytest.approx(3 / 160)
    assert value(bare, "ttft") is None
    assert value(bare, "ttft", "mean") == pytest.approx(np.mean([item.ttft for item in FAILED if not item.failed]))


def test_stages_of_inference_perf_become_points_each_with_its_requests(tmp_path: Path) -> None:
    """Two stages are two points; its constant arrivals are kept as what they are, Poisson."""
    fast = requests(rate=8.0, seed=2)
    path = samples.inference_perf(tmp_path / "ip", [SENT, fast])
    curve = imported(path, workload=None)

    assert [point.offered_rps for point in curve.points] == [4.0, 8.0]
    assert curve.workload == Workload(input_tokens=Lengths(mean=64.0), output_tokens=Lengths(mean=8.0))
    measured = in_window(path, fast, stage=1)
    assert value(curve.points[1], "ttft") == pytest.approx(order_statistic([i.ttft for i in measured]), abs=2e-7)


def test_from_the_first_request_that_was_cut_off_nothing_is_taken(tmp_path: Path) -> None:
    """What GuideLLM left open at its end is no failure; later requests, of which the slow ones lack, are not used."""
    path = written(tmp_path / "g.json", samples.guidellm(SENT, "poisson", incomplete=4))

    (point,) = imported(path).points

    assert point.error_share == 0
    assert len(read_result(path).points[0].records) == len(SENT) - 4
    measured = in_window(path, SENT)
    assert value(point, "ttft") == pytest.approx(order_statistic([item.ttft for item in measured]), abs=2e-7)


@pytest.mark.parametrize(
    ("fields", "load", "flag"),
    [
        ({"request_rate": "inf", "max_concurrency": 8}, ClosedLoad(concurrency=8), None),
        ({"request_rate": "inf"}, ClosedLoad(concurrency=160), "NOT_STEADY"),
        ({"request_rate": 4.0, "max_concurrency": 8}, OpenLoad(rate_rps=4.0), "GENERATOR_LATE"),
    ],
)
def test_loads_of_vllm_bench(fields: dict[str, Any], load: Any, flag: str | None, tmp_path: Path) -> None:
    """Its infinite rate is a closed loop, or a burst that is no steady load; a limit on an open loop makes it late."""
    path = written(tmp_path / "v.json", samples.vllm_bench(SENT, detailed=False, **fields))

    result = read_result(path)
    (point,) = imported(path).points

    assert result.points[0].load == load
    assert flag is None or flag in point.flags


def test_arrival_laws_are_those_of_the_tools(tmp_path: Path) -> None:
    """Burstiness is the shape of gamma gaps; constant is constant; a closed loop has none."""
    bursty = read_result(written(tmp_path / "v.json", samples.vllm_bench(SENT, burstiness=0.5)))
    constant = read_result(written(tmp_path / "g.json", samples.guidellm(SENT, "constant")))
    closed = read_result(written(tmp_path / "c.json", samples.guidellm(SENT, "concurrent")))

    assert bursty.arrival == Arrival(law="gamma", shape=0.5)
    assert constant.arrival == Arrival(law="constant")
    assert closed.arrival is None
    assert closed.points[0].load == ClosedLoad(concurrency=8)


def test_the_csv_of_aiperf_says_what_its_json_says(tmp_path: Path) -> None:
    """The same aggregates; load, model and lengths must be declared."""
    folder = samples.aiperf(tmp_path / "ap", SENT, listed=False)
    csv = folder / "profile_export_aiperf.csv"

    with pytest.raises(UsageError, match="which load"):
        imported(csv)
    (point,) = imported(csv, load=OpenLoad(rate_rps=4.0)).points
    (other,) = imported(folder).points

    assert point.ttft == other.ttft
    assert point.latency == other.latency
    assert value(point, "tpot") is None


def test_lengths_that_a_file_does_not_tell_must_be_declared(tmp_path: Path) -> None:
    """Vllm bench without details tells no lengths; with details only lengths that are one are taken."""
    path = vllm(tmp_path, SENT, False)

    with pytest.raises(UsageError, match="which input lengths"):
        imported(path, workload=None)
    mixed = [Sent(i.due, i.start, i.ttft, i.gaps, input_tokens=64 + place) for place, i in enumerate(SENT)]
    assert read_result(written(tmp_path / "m.json", samples.vllm_bench(mixed))).input_tokens is None
    assert read_result(vllm(tmp_path, SENT, True)).input_tokens == Lengths(mean=64.0)


@pytest.mark.parametrize("write", [vllm, guidellm])
def test_a_file_that_is_cut_off_or_changed_is_damaged(write: Writer, tmp_path: Path) -> None:
    """Half a file, or one without a field that every version writes, is one clear error."""
    path = write(tmp_path, SENT, True)
    text = path.read_text()
    path.write_text(text[: len(text) // 2])
    with pytest.raises(DamagedFileError, match="not valid JSON"):
        read_result(path)

    path.write_text(text.replace('"duration"', '"length"'))
    with pytest.raises(DamagedFileError, match="duration"):
        read_result(path)


def test_what_no_known_tool_wrote_is_refused(tmp_path: Path) -> None:
    """Another JSON, a picture, an empty folder, a missing file: an error that names what is known."""
    (tmp_path / "other.json").write_text('{"a": 1}')
    (tmp_path / "picture.png").write_bytes(b"\x89PNG\xff\xfe")
    (tmp_path / "empty").mkdir()
    for name in ("other.json", "picture.png", "empty"):
        with pytest.raises(DataError, match=r"no known tool[\s\S]*GuideLLM"):
            read_result(tmp_path / name)
    with pytest.raises(DataError, match="cannot be read"):
        read_result(tmp_path / "missing.json")


def test_requests_that_do_not_belong_to_the_stages_are_refused(tmp_path: Path) -> None:
    """A folder of inference-perf whose requests are of another run is damaged."""
    folder = samples.inference_perf(tmp_path / "ip", [SENT])
    path = folder / "per_request_lifecycle_metrics.json"
    path.write_text(json.dumps(json.loads(path.read_text())[:-1]))

    with pytest.raises(DamagedFileError, match="holds 159 requests, the stages 160"):
        read_result(folder)


def test_the_same_content_has_the_same_id_wherever_it_lies(tmp_path: Path) -> None:
    """Importing a file twice gives the same points."""
    first, second = vllm(tmp_path, SENT, True), vllm(_fresh(tmp_path), SENT, True)

    assert imported(first).points == imported(second).points
