"""Drift: a trend of latency within a point, told from a queue's ordinary ups and downs."""

from __future__ import annotations

import numpy as np

from giq.curve.drift import drift
from giq.curve.requests import Requests
from giq.curve.window import Window
from tests.curve.conftest import columns


def requests(growth: float, n: int = 400, seed: int = 3) -> Requests:
    """Requests at 10 a second whose latency grows by *growth* of its mean over all, with 20 % noise."""
    rng = np.random.default_rng(seed)
    sent = (np.arange(n) * 1e8).astype(np.int64)
    latency = (1 + growth * (np.arange(n) / n - 0.5)) * rng.normal(1.0, 0.2, n)
    ends = sent + np.rint(latency * 1e9).astype(np.int64)
    return columns(sent, sent + 50_000_000, ends, 4)


def window(found: Requests) -> Window:
    """All of it."""
    return Window(0, int(found.sent_ns.max()) + 1, True, "all")


def test_a_rise_is_found_with_its_size() -> None:
    """Latency that grows by half is found to, within its interval."""
    records = requests(0.5)

    found = drift(records, window(records))

    assert found is not None
    assert found.lo is not None
    assert found.hi is not None
    assert 0 < found.lo < 0.5 < found.hi < 0.8


def test_steady_latency_has_no_drift_most_of_the_time() -> None:
    """Of 60 steady points the 90 % interval excludes 0 in at most a quarter (binomial, beyond 3 sigma)."""
    wrong = 0
    for seed in range(60):
        records = requests(0.0, seed=seed)
        found = drift(records, window(records))
        assert found is not None
        assert found.lo is not None
        assert found.hi is not None
        wrong += not found.lo <= 0 <= found.hi

    assert wrong <= 15


def test_few_requests_tell_nothing() -> None:
    """Below five requests for each of 20 batches there is no drift to speak of."""
    records = requests(0.5, n=80)

    assert drift(records, window(records)) is None
