"""Measures the client itself: the load engine of a real point against the exact server, and what it added."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from giq.catalog.use_cases import Lengths
from giq.curve.client_error import ClientError, Spread
from giq.curve.requests import Requests
from giq.documents import Entry, Positive, PositiveInt
from giq.errors import ServerError
from giq.load.endpoint import Endpoint
from giq.load.exact_process import ExactProcess, Truth, exact_process
from giq.load.identity import ServerIdentity
from giq.load.job import Hooks, LoadJob, LoadResult
from giq.load.workers import run_workers
from giq.store.columns import requests_of
from giq.store.journal import Journal
from giq.store.run_tables import REQUEST_TABLE, journal_path, rows
from giq.units import NS_PER_S
from giq.workload.prompts import prompt_token_ids
from giq.workload.schedule import Schedule, make_schedule
from giq.workload.workload import ClosedLoad, Stop, Workload

INPUT_TOKENS = 64
KEY_TOKENS = 8
ALPHABET = np.arange(300, 1300, dtype=np.int32)
POINT_ID = "calibration"
EASY_TOKENS, DISTURBED_S = 30_000, 0.002
"""The exact server keeps so many tokens a second on time by some tenths of a millisecond, unless it is disturbed."""


class Rung(Entry, frozen=True, kw_only=True):
    """A load that the client is calibrated at: so many streams, at a pace, each so many answers long."""

    streams: PositiveInt
    output_tokens: PositiveInt = 40
    first_s: Positive = 0.05
    gap_s: Positive = 0.009
    turns: PositiveInt = 2

    @property
    def cycle_s(self) -> float:
        """How long one answer takes."""
        return self.first_s + (self.output_tokens - 1) * self.gap_s

    @property
    def tokens_per_s(self) -> float:
        """Tokens a second of a client without any delay."""
        return self.streams * self.output_tokens / self.cycle_s

    @property
    def requests_per_s(self) -> float:
        """Requests a second of a client without any delay."""
        return self.streams / self.cycle_s


def usable_cores() -> int:
    """How many cores this process may use."""
    return len(_usable()) or os.cpu_count() or 1


def _usable() -> list[int]:
    """Their numbers, none where the system does not tell."""
    return sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []


def _may_run_on(core: int) -> bool:
    """Whether the system lets processes of ours run on *core*, which is none of ours now."""
    before = os.sched_getaffinity(0)
    try:
        os.sched_setaffinity(0, {core})
    except OSError:
        return False
    os.sched_setaffinity(0, before)
    return True


@dataclass(frozen=True)
class Cores:
    """Where the calibration runs: the client's cores, and the server's own (None: it has to share)."""

    client: frozenset[int]
    server: int | None

    @classmethod
    def here(cls, workers: int) -> Cores:
        """The last of the cores that this process may use is the server's, if that leaves one for each worker.

        A process that is held to fewer (taskset) leaves the server one of the others, if it may be there.
        """
        usable = _usable()
        if len(usable) <= workers:
            others = [core for core in range(os.cpu_count() or 1) if usable and core not in usable]
            return cls(frozenset(usable), next(filter(_may_run_on, others), None))
        return cls(frozenset(usable[:-1]), usable[-1])

    @contextlib.contextmanager
    def held(self) -> Iterator[None]:
        """The client off the server's core while this lasts."""
        if self.server is None:
            yield
            return
        before = os.sched_getaffinity(0)
        os.sched_setaffinity(0, self.client)
        try:
            yield
        finally:
            os.sched_setaffinity(0, before)


async def calibrate(
    rungs: Sequence[Rung], workers: int, cores: Cores, go_on: Callable[[], bool] = lambda: True
) -> AsyncIterator[tuple[Rung, ClientError]]:
    """The client's error at each of *rungs*, with so many workers, as it is found, as long as it shall *go_on*.

    What was `disturbed` is measured once more.

    Raises:
        ServerError: the exact server does not start, or not every request was answered.
        GiqError: a worker failed.
    """
    with cores.held():
        async with exact_process(cores.server) as server:
            for number, rung in enumerate(rungs):
                if number and not go_on():
                    return
                found = await _measured(rung, workers, server)
                if cores.server is not None and disturbed(rung, found) and go_on():
                    again = await _measured(rung, workers, server)
                    found = min(found, again, key=lambda error: error.server_late_p99_s)
                yield rung, found


def disturbed(rung: Rung, error: ClientError) -> bool:
    """Whether the machine was busy with other things: even the server was late, at a load that is easy for it."""
    return rung.tokens_per_s <= EASY_TOKENS and error.server_late_p99_s > DISTURBED_S


async def _measured(rung: Rung, workers: int, server: ExactProcess) -> ClientError:
    schedule = _schedule(rung)
    job = LoadJob(
        endpoint=Endpoint(f"{server.url}/{rung.first_s * 1e3:g}ms/{rung.gap_s * 1e3:g}ms"), identity=_IDENTITY,
        schedule=schedule, seed=0, nonce=0, point_number=0, point_id=POINT_ID, run_id=POINT_ID,
    )  # fmt: skip
    with tempfile.TemporaryDirectory(prefix="giq-calibration-") as folder:
        result = await run_workers(job, Hooks(), workers, partial(_journal, Path(folder)))
        requests = requests_of(rows(Path(folder), REQUEST_TABLE, POINT_ID), folder)
    truth = await server.truth()
    if result.ok < len(schedule) or len(truth.requests) != len(schedule):
        raise ServerError(f"{len(schedule) - result.ok} of {len(schedule)} requests to the exact server failed")
    return client_error(rung, requests, truth, result)


def _schedule(rung: Rung) -> Schedule:
    workload = Workload(input_tokens=Lengths(mean=INPUT_TOKENS), output_tokens=Lengths(mean=rung.output_tokens))
    load = ClosedLoad(concurrency=rung.streams)
    return make_schedule(workload, load, Stop(requests=rung.streams * rung.turns), seed=0)


_IDENTITY = ServerIdentity(
    server="unknown", version=None, models=("giq-exact",), model="giq-exact", max_model_len=None, simulated=None,
    metrics=False, rtt_s=0.0, alphabet=ALPHABET, accepts_token_ids=True, busy=None,
)  # fmt: skip


def _journal(folder: Path, worker_id: int) -> Journal:
    """Where a worker's records go: the same kind of file as in a run."""
    path = journal_path(folder, REQUEST_TABLE, POINT_ID, worker_id)
    path.parent.mkdir(exist_ok=True)
    return Journal(path)


def client_error(rung: Rung, requests: Requests, truth: Truth, result: LoadResult) -> ClientError:
    """What the client's records hold beyond what the server did, request by request.

    The truth of a request is in the server's own stamps: from when it came in to when each token was written.
    """
    written, arrived = _in_order(requests, truth)
    sent, first, last = requests.sent_ns, requests.first_token_ns, requests.last_token_ns
    gaps = requests.gaps_ns.reshape(len(requests), -1) - np.diff(written, axis=1)
    steps = max(1, rung.output_tokens - 1)
    elapsed_s = float(requests.end_ns.max() - sent.min()) / NS_PER_S
    true_cycle_s = float((written[:, -1] - arrived).mean()) / NS_PER_S
    return ClientError(
        streams=rung.streams,
        output_tokens=rung.output_tokens,
        requests=len(requests),
        tokens_per_s=written.size / elapsed_s,
        requests_per_s=len(requests) / elapsed_s,
        ttft=_spread(first - sent - (written[:, 0] - arrived)),
        itl=_spread(gaps.ravel()),
        tpot=_spread(np.abs(last - first - (written[:, -1] - written[:, 0])) / steps),
        latency=_spread(last - sent - (written[:, -1] - arrived)),
        shortfall=max(0.0, 1 - len(requests) / rung.streams * true_cycle_s / elapsed_s),
        cpu_share=result.lateness.cpu_share,
        loop_lag_p99_s=result.lateness.loop_lag.p99,
        server_late_p50_s=truth.lateness.late_p50_s,
        server_late_p99_s=truth.lateness.late_p99_s,
        measured_at=datetime.now(UTC).isoformat(timespec="seconds"),
    )


def _in_order(requests: Requests, truth: Truth) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """When the server wrote each token (a row per request) and each request had come in, in the order of *requests*."""
    found = {answer.key: answer for answer in truth.requests}
    answers = [
        found[tuple(prompt_token_ids(ALPHABET, 0, 0, 0, request_id, INPUT_TOKENS)[:KEY_TOKENS].tolist())]
        for request_id in requests.request_id.tolist()
    ]
    written = np.array([answer.written_ns for answer in answers], dtype=np.int64)
    return written, np.array([answer.arrived_ns for answer in answers], dtype=np.int64)


def _spread(errors_ns: NDArray[Any]) -> Spread:
    """The percentiles of errors; one below zero (a gap after a late stamp) is none."""
    p50, p90, p99 = np.maximum(0.0, np.quantile(errors_ns, [0.5, 0.9, 0.99])) / NS_PER_S
    return Spread(p50=float(p50), p90=float(p90), p99=float(p99))
