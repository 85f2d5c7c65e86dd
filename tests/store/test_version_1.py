"""Files are readable for ever: those in version_1/ were written by the first giq, and never change."""

from __future__ import annotations

from pathlib import Path

from giq.curve.curve import curve_id
from giq.store.database import read_curves
from giq.store.run import open_run

from .examples import CONFIG, WORKLOAD, manifest, point, record, sample

WRITTEN = Path(__file__).parent / "version_1"
CONFIG_ID = "f3f173cc04a08a2b"
WORKLOAD_ID = "d809cbb96dbd9ec5"


def test_what_the_first_version_wrote_is_read_the_same() -> None:
    """The run's manifest, its point, records and samples mean what they meant when they were written."""
    run = open_run(WRITTEN / "run=r1")

    assert run.manifest == manifest(state="done", stopped="the knee is known")
    assert run.points() == [point("p1")]
    assert run.records("p1") == [
        record(0, phase="warmup"),
        record(1, outcome="timeout", first_token_ns=None, token_gaps_ns=None, chunk_tokens=None),
    ]
    assert run.samples("p1") == [sample(1)]


def test_identities_stay_what_they_were() -> None:
    """The ids of a configuration and a workload are those that the first version gave them."""
    assert (CONFIG.config_id, WORKLOAD.workload_id) == (CONFIG_ID, WORKLOAD_ID)
    assert [found.curve_id for found in read_curves(WRITTEN)] == [curve_id(CONFIG, WORKLOAD)]
