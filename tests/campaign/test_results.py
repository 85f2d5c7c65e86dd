"""What becomes of a campaign's results: packed and unpacked, put into the database, scored, told."""

from __future__ import annotations

import random
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from giq.catalog import load_catalog
from giq.catalog.configuration import Component, ServingConfiguration
from giq.catalog.use_cases import Lengths
from giq.curve.curve import Curve
from giq.curve.latencies import latencies
from giq.curve.point import Distribution, Estimate, Point
from giq.curve.window import choose_window
from giq.documents import replace as changed
from giq.engine.calibration import prior
from giq.engine.simulation import simulate
from giq.engine.spec import EngineSpec
from giq.errors import DamagedFileError, StorageError
from giq.store.database import read_curves
from giq.store.run import create_run
from giq.workload.schedule import make_schedule
from giq.workload.workload import ClosedLoad, OpenLoad, Stop, Workload
from tests.campaign.bundle import MIB, NAME, pack, unpack
from tests.campaign.campaign import Campaign, Profile, Serve
from tests.campaign.loading import add_to_database, measured_curves, runs_in
from tests.campaign.progress import missing
from tests.campaign.report import page
from tests.campaign.scoring import Seen, replayed, score
from tests.store.examples import CONFIG, WORKLOAD, manifest, point

SHORT = Workload(input_tokens=Lengths(mean=64), output_tokens=Lengths(mean=16))


@pytest.fixture
def results(tmp_path: Path) -> Path:
    """Two runs with files of 1 and 3 MiB, and what does not belong into a bundle."""
    folder = tmp_path / "results"
    for number, size in (("a", 1), ("b", 3)):
        run = folder / "step" / number / f"run={number}"
        run.mkdir(parents=True)
        (run / "run.json").write_text('{"state": "done"}')
        (run / "requests.parquet").write_bytes(random.Random(size).randbytes(size * MIB))
    (folder / ".cache").mkdir()
    (folder / ".cache" / "compiled").write_bytes(b"x" * MIB)
    return folder


def files(folder: Path) -> dict[str, bytes]:
    """All files below *folder*, but hidden ones."""
    found = {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    return {name: data for name, data in found.items() if not name.startswith(".")}


def test_a_bundle_gives_the_results_back(results: Path, tmp_path: Path) -> None:
    """Parts are no larger than allowed, `cat` joins them, and what is unpacked is what was packed, once."""
    made = pack(results, tmp_path / "bundle", part=MIB)
    written = unpack(tmp_path / "bundle", tmp_path / "back")

    assert files(tmp_path / "back") == files(results)
    assert sorted(written) == sorted(files(results))
    assert all(path.parent == tmp_path / "bundle" and path.stat().st_size <= MIB for path in made.files)
    assert made.left_behind == ()
    assert unpack(tmp_path / "bundle", tmp_path / "back") == []


def test_records_that_have_no_room_stay_behind_and_are_named(results: Path, tmp_path: Path) -> None:
    """The limit holds, and everything small is packed all the same."""
    made = pack(results, tmp_path / "bundle", limit=4 * MIB, part=MIB)
    unpack(tmp_path / "bundle", tmp_path / "back")

    assert made.size <= 4 * MIB
    assert [name.split(" ")[0] for name in made.left_behind] == ["step/b/run=b/requests.parquet"]
    assert set(files(tmp_path / "back")) == set(files(results)) - {"step/b/run=b/requests.parquet"}


def test_a_damaged_bundle_is_refused_and_a_finished_run_is_never_written_over(results: Path, tmp_path: Path) -> None:
    """One byte more in a part is noticed; a run that is there with other contents stays as it is."""
    pack(results, tmp_path / "bundle")
    unpack(tmp_path / "bundle", tmp_path / "back")
    mine = tmp_path / "back" / "step" / "a" / "run=a" / "requests.parquet"
    mine.write_bytes(b"mine")
    with pytest.raises(StorageError):
        unpack(tmp_path / "bundle", tmp_path / "back")
    assert mine.read_bytes() == b"mine"

    part = tmp_path / "bundle" / f"{NAME}.00"
    part.write_bytes(part.read_bytes() + b"x")
    with pytest.raises(DamagedFileError):
        unpack(tmp_path / "bundle", tmp_path / "elsewhere")


def test_a_later_bundle_completes_what_an_earlier_one_had_begun(results: Path, tmp_path: Path) -> None:
    """A run that was interrupted when it was packed first is replaced when it is done."""
    run = results / "step" / "a" / "run=a"
    (run / "run.json").write_text('{"state": "interrupted"}')
    pack(results, tmp_path / "bundle")
    unpack(tmp_path / "bundle", tmp_path / "back")
    (run / "run.json").write_text('{"state": "done"}')
    (run / "requests.parquet").write_bytes(b"more")
    pack(results, tmp_path / "bundle")

    assert sorted(unpack(tmp_path / "bundle", tmp_path / "back")) == [
        "step/a/run=a/requests.parquet",
        "step/a/run=a/run.json",
    ]
    assert files(tmp_path / "back") == files(results)


def saved_run(folder: Path, name: str, *points: Point) -> None:
    """A finished run with *points* in the folder of an item."""
    server = ("/opt/python", "-m", "vllm.entrypoints.openai.api_server", "--load-format", "dummy")
    known = manifest(name, command=("giq", "profile", "--budget", "90s"), server_command=server)
    run = create_run(folder, changed(known, versions={"vllm": "0.24.0"}))
    for one in points:
        run.finish_point(changed(one, run_id=name))
    run.finish("done", "it is a test")


def test_points_go_into_the_database_with_the_command_that_made_them(tmp_path: Path) -> None:
    """Measured ones on detected hardware alone; loading again changes nothing, and what was there stays."""
    benchmarks = tmp_path / "benchmarks"
    estimate = Curve(CONFIG, WORKLOAD, (point("e1", "estimated", "simulated"),))
    add_to_database(benchmarks, [estimate])
    saved_run(tmp_path / "results" / "one" / "chatbot", "r7", point("p1"), point("p2", offered_rps=4.0))
    saved_run(tmp_path / "results" / "one" / "other", "r8", point("p1", hardware="declared"))
    saved_run(tmp_path / "results" / "one" / "third", "r9", point("p1", "estimated", "simulated"))

    curves = measured_curves(runs_in(tmp_path / "results"))
    first = {name: Path(name).read_bytes() for name in add_to_database(benchmarks, curves)}
    again = {name: Path(name).read_bytes() for name in add_to_database(benchmarks, curves)}
    found = {curve.evidence: curve for curve in read_curves(benchmarks)}

    assert first == again
    assert [(one.run_id, one.point_id) for one in found["measured"].points] == [("r7", "p1"), ("r7", "p2")]
    assert [one.point_id for one in found["estimated"].points] == ["e1"]
    source = found["measured"].points[0].provenance.source
    for words in (
        "giq profile --budget 90s",
        "python -m vllm",
        "--load-format dummy",
        "NVIDIA L4",
        "vllm 0.24.0",
        "r7",
    ):
        assert words in source
    assert "/opt" not in source


def seen_of(spec: EngineSpec, load: ClosedLoad) -> Seen:
    """A point that *spec* would give if it were a real engine, with its records."""
    requests = simulate(spec, make_schedule(SHORT, load, Stop(requests=60 + 20 * load.concurrency), 1)).requests
    of_requests, window = latencies(requests), choose_window(requests, load, SHORT.arrival)
    chosen = window.holds(window.times(requests))
    ttft, tpot, latency = (
        Distribution(mean=Estimate(value=float(np.nanmean(values[chosen]))))
        for values in (of_requests.ttft, of_requests.tpot, of_requests.latency)
    )
    made = point(
        load_kind="closed", concurrency=load.concurrency, offered_rps=None, n_requests=int(chosen.sum()),
        ttft=ttft, tpot=tpot, latency=latency,
    )  # fmt: skip
    found = Seen.of(Curve(spec.config, SHORT, (made,)), made, requests)
    assert found is not None
    return found


def test_the_score_judges_points_that_the_calibration_did_not_see() -> None:
    """On points of an engine 10 % slower than the prior, four make up most of it, and no fitted point is judged."""
    catalog = load_catalog()
    main = Component(
        model="llama-3.1-8b", precision="bf16", server="vllm", server_version="0.24.0", accelerator="nvidia-h100-80gb"
    )
    config = ServingConfiguration(components=(main,))
    spec = EngineSpec.of(config, catalog, prior(catalog.accelerator(main.accelerator)))
    slower = replace(spec, calibration=spec.calibration.shifted(0.1 / spec.calibration.decode_sigma))
    seen = [seen_of(slower, ClosedLoad(concurrency=slots)) for slots in (1, 2, 4, 8, 16, 32)]

    (found,) = score(seen, catalog)

    assert (len(found.fitted_on), len(found.judged)) == (4, 2)
    assert not {point.load for point in found.judged} & {name.rpartition(", ")[2] for name in found.fitted_on}
    assert found.median_error("TPOT mean") < 0.05
    assert found.median_error("output tokens/s") < 0.05
    assert found.coverage[0] >= found.coverage[1] - 1


def test_the_engine_is_asked_exactly_what_the_server_was() -> None:
    """What is replayed gives the records again, when the same engine serves it."""
    catalog = load_catalog()
    chip = catalog.accelerator("nvidia-h100-80gb")
    main = Component(model="llama-3.1-8b", precision="bf16", server="vllm", accelerator=chip.name)
    spec = EngineSpec.of(ServingConfiguration(components=(main,)), catalog, prior(chip))
    load = OpenLoad(rate_rps=20.0)
    first = simulate(spec, make_schedule(SHORT, load, Stop(requests=60), 1)).requests
    again = simulate(spec, replayed(first, load)).requests

    due = first.scheduled_ns.min()
    assert np.array_equal(first.end_ns - due, again.end_ns)
    assert np.array_equal(first.output_tokens, again.output_tokens)


def test_the_page_tells_what_is_there_and_what_is_missing(tmp_path: Path) -> None:
    """A finished run stands with its machine, versions and commands, an item without one among the missing."""
    items = (
        Profile(name="chatbot", use_case="chatbot", budget="90s"),
        Profile(name="generation", use_case="text-generation", budget="90s"),
    )
    campaign = Campaign(title="A title", about="For a test.", steps=(Serve(name="one", model="m", items=items),))
    saved_run(tmp_path / "one" / "chatbot", "r7", point("p1", output_tps=1234.0))
    (tmp_path / "one" / "generation").mkdir()
    (tmp_path / "one" / "generation" / "failed.txt").write_text("the server ended with code 1\nand more")

    told = page(campaign, tmp_path, [])

    for words in (
        "# A title",
        "NVIDIA L4",
        "vllm 0.24.0",
        "| one/chatbot | done | r7 | 1 (1) | 1,234 |",
        "--budget 90s",
    ):
        assert words in told
    assert "- one/generation (missing): the server ended with code 1\n" in told
    assert missing(campaign, tmp_path) == ["one/generation (missing): the server ended with code 1"]
