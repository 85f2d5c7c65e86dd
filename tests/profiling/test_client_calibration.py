"""The client's own error, measured against a real exact server; a late server is no error of the client."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Awaitable, Callable

import numpy as np
import pytest

from giq.curve.client_error import ClientError, LoopLag
from giq.curve.requests import Record, Requests
from giq.load.client import run
from giq.load.exact_process import ServerLateness, Truth, Written
from giq.load.job import Lateness, LoadResult
from giq.profiling.client_calibration import ALPHABET, INPUT_TOKENS, Cores, Rung, calibrate, client_error, disturbed
from giq.workload.prompts import prompt_token_ids

MS = 1_000_000
TINY = Rung(streams=4, output_tokens=20, first_s=0.02, gap_s=0.005, turns=3)


def calibrated(rung: Rung, beside: Callable[[], Awaitable[None]] | None = None, workers: int = 1) -> ClientError:
    """What one calibration finds, while something else runs in the client's loop."""

    async def work() -> ClientError:
        other = asyncio.ensure_future(beside()) if beside else None
        found = [error async for _, error in calibrate([rung], workers, Cores(frozenset(), None), lambda: False)]
        if other is not None:
            other.cancel()
        return found[0]

    return run(work())


async def blocking() -> None:
    """A client that does 40 ms of something else in its event loop, over and over."""
    while True:
        await asyncio.sleep(0.01)
        time.sleep(0.04)


def test_a_slow_client_is_found() -> None:
    """A loop blocked for 40 ms of every 50 stamps late by that much, and its slots are filled late."""
    found = calibrated(TINY, blocking)
    assert found.ttft.p99 > 0.02
    assert found.itl.p99 > 0.02
    assert found.latency.p99 > 0.02
    assert found.shortfall > 0.05
    assert found.worst_s >= found.itl.p99
    assert found.loop_lag_p99_s > 0.02


@pytest.mark.parametrize("workers", [1, 2])
def test_every_request_and_token_is_compared(workers: int) -> None:
    """The rates are those of what was asked for, with one worker and with two, and no error is below zero."""
    found = calibrated(TINY, workers=workers)
    assert (found.streams, found.output_tokens, found.requests) == (4, 20, 12)
    assert found.tokens_per_s / found.requests_per_s == pytest.approx(20)
    assert 0 < found.tokens_per_s <= TINY.tokens_per_s
    assert 0 <= found.ttft.p50 <= found.ttft.p90 <= found.ttft.p99 <= found.worst_s
    assert 0 <= found.shortfall < 1


def record(request_id: int, sent: int, stamps: list[int]) -> Record:
    """An answer stamped at these times (ns)."""
    return Record(
        run_id="r", point_id="p", request_id=request_id, worker_id=0, scheduled_ns=sent, sent_ns=sent,
        first_token_ns=stamps[0], last_token_ns=stamps[-1], end_ns=stamps[-1], connection_reused=True, attempts=1,
        outcome="ok", requested_input_tokens=INPUT_TOKENS, requested_output_tokens=len(stamps),
        token_gaps_ns=np.diff(stamps).tolist(), first_token_rule="usage",  # noqa: S106 - no password
    )  # fmt: skip


def compared(sent_early: int, stamps_late: list[int], server_late: list[int]) -> ClientError:
    """Two requests of three tokens, due 50, 60 and 70 ms after they came, written and stamped so much later (ns)."""
    records, answers = [], []
    for request_id in (0, 1):
        arrived = 1000 * MS * (request_id + 1)
        written = [arrived + (50 + 10 * token) * MS + server_late[token] for token in range(3)]
        key = prompt_token_ids(ALPHABET, 0, 0, 0, request_id, INPUT_TOKENS)[:8].tolist()
        answers.append(Written(key=tuple(key), arrived_ns=arrived, written_ns=tuple(written)))
        stamps = [at + late for at, late in zip(written, stamps_late, strict=True)]
        records.append(record(request_id, arrived - sent_early, stamps))
    late = ServerLateness(tokens=6, late_p50_s=0.0, late_p99_s=max(server_late) / 1e9, late_max_s=0.0)
    lag = LoopLag(mean=0.0, p50=0.0, p90=0.0, p99=0.0)
    lateness = Lateness(
        schedule_delay_p50_s=0.0, schedule_delay_p99_s=0.0, schedule_delay_max_s=0.0, rate_error=0.0, loop_lag=lag,
        cpu_share=0.1,
    )  # fmt: skip
    result = LoadResult(
        started_ns=0, ended_ns=0, sent=2, ok=2, input_tokens=0, output_tokens=6, ending="schedule",
        lateness=lateness, counters=None, flags=(), reasons=(),
    )  # fmt: skip
    truth = Truth(requests=tuple(reversed(answers)), lateness=late)
    return client_error(Rung(streams=1, output_tokens=3), Requests.of(records), truth, result)


def test_errors_are_what_the_client_added() -> None:
    """Sent 1 ms before it came and stamped 2, 2 and 5 ms late: 3 ms of TTFT, 6 of latency, 1.5 of TPOT, 3 of a gap."""
    found = compared(1 * MS, [2 * MS, 2 * MS, 5 * MS], [0, 0, 0])
    assert found.ttft.p50 == pytest.approx(0.003)
    assert found.latency.p99 == pytest.approx(0.006)
    assert found.tpot.p90 == pytest.approx(0.0015)
    assert found.itl.p50 == pytest.approx(0.0015)
    assert found.itl.p99 == pytest.approx(0.003)


def test_a_late_server_is_no_error_of_the_client() -> None:
    """Tokens that the server itself wrote late are stamped late by an exact client, too; its lateness is told."""
    found = compared(0, [0, 0, 0], [30 * MS, 0, 5 * MS])
    assert found.worst_s == 0.0
    assert found.tpot.p99 == 0.0
    assert found.server_late_p99_s == 0.03


def test_a_machine_that_is_busy_otherwise_is_noticed() -> None:
    """The server late at a load that is easy for it tells so; at a load that is too much for it that tells nothing."""
    late = compared(0, [0, 0, 0], [30 * MS, 0, 0])
    assert disturbed(TINY, late)
    assert not disturbed(TINY, compared(0, [5 * MS, 5 * MS, 5 * MS], [0, 0, 0]))
    assert not disturbed(Rung(streams=1024), late)


def test_the_server_has_a_core_of_its_own_where_every_worker_has_one() -> None:
    """The last usable core is the server's if that leaves one per worker; held to one, it gets another."""
    every = os.sched_getaffinity(0)
    assert Cores.here(0).server == max(every)
    assert Cores.here(len(every)).server not in every
    os.sched_setaffinity(0, {min(every)})
    try:
        held = Cores.here(1)
        assert os.sched_getaffinity(0) == held.client == {min(every)}
    finally:
        os.sched_setaffinity(0, every)
    assert (held.server is None) == (len(every) == 1)
