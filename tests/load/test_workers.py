"""Several worker processes: one schedule, each request once, and one worker's death told and survived."""

from __future__ import annotations

import asyncio
import dataclasses
import functools
import multiprocessing
import os
import signal
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from giq.curve.requests import Record
from giq.errors import GiqError, UsageError
from giq.load.client import LoadResult
from giq.load.job import Hooks
from giq.load.tally import Tally, merged
from giq.load.worker import hear, record_share
from giq.load.workers import run_workers
from giq.workload.schedule import Schedule
from tests.load.exact_server import Behaviour, ExactServer
from tests.load.jobs import Heard, closed, job, on_loop, opened
from tests.load.sinks import FileSink


def together(asked: Schedule, folder: Path, workers: int = 2) -> tuple[ExactServer, Heard, LoadResult, list[Record]]:
    """Hold a load with several workers; also their records."""

    async def work() -> tuple[ExactServer, Heard, LoadResult]:
        async with ExactServer(lambda seen, number: Behaviour(first_s=0.005)) as exact:
            heard = Heard()
            result = await run_workers(job(exact, asked), heard.hooks, workers, functools.partial(FileSink, folder))
            return exact, heard, result

    exact, heard, result = on_loop(work)
    return exact, heard, result, FileSink.read(folder)


def test_two_workers_send_the_schedule_once_and_on_time(tmp_path: Path) -> None:
    """The merged records are the schedule, none lost and none twice; the server sees its arrivals, no gap repeated."""
    asked = opened(200, 200)
    exact, heard, result, records = together(asked, tmp_path)
    assert asked.arrival_ns is not None

    assert sorted(record.request_id for record in records) == list(range(200))
    assert {record.worker_id for record in records} == {0, 1}
    assert all(record.worker_id == record.request_id % 2 for record in records)
    times = np.sort(np.array([seen.at_ns for seen in exact.seen])) - result.started_ns
    assert np.quantile(np.abs(times - asked.arrival_ns), 0.9) < 20e6
    assert (result.sent, result.ok, result.output_tokens) == (200, 200, 800)
    assert not heard.told(result), result.reasons
    assert heard.records == [], "workers keep their own records"
    assert heard.progress[-1].planned == 200
    assert len({tuple(seen.body["prompt"]) for seen in exact.seen}) == 200


def test_slots_are_shared_out(tmp_path: Path) -> None:
    """Five slots over two workers are three and two: never more than five in flight."""
    exact, _, result, records = together(closed(5, 60), tmp_path)

    assert exact.most_running == 5
    assert len(records) == result.ok == 60


def test_one_worker_works_here(tmp_path: Path) -> None:
    """A single worker starts no process and writes to the same kind of sink."""
    _, _, result, records = together(closed(2, 10), tmp_path, workers=1)
    assert len(records) == result.ok == 10


def test_a_worker_is_a_function_from_a_slice_to_a_file(tmp_path: Path) -> None:
    """Slices sent one after the other, by nobody's order and without the others, are together the same schedule."""
    asked = closed(4, 30)

    async def work() -> list[Tally]:
        async with ExactServer() as exact:
            slices = [dataclasses.replace(job(exact, asked), worker_id=number, workers=3) for number in (2, 0, 1)]
            return [await record_share(one, functools.partial(FileSink, tmp_path), Hooks()) for one in slices]

    tallies = on_loop(work)
    records = FileSink.read(tmp_path)
    assert sorted(record.request_id for record in records) == list(range(30))
    assert merged(tallies).ok == sum(tally.ok for tally in tallies) == 30
    assert {path.name for path in tmp_path.iterdir()} == {"worker-0", "worker-1", "worker-2"}


def test_a_worker_that_dies_is_told_and_what_was_recorded_is_kept(tmp_path: Path) -> None:
    """Kill -9 of one worker ends the load with an error that names it; the others' records are whole."""

    async def work() -> None:
        async with ExactServer(lambda seen, number: Behaviour(first_s=0.01)) as exact:
            heard = Heard()
            load = asyncio.ensure_future(
                run_workers(job(exact, closed(4, 100_000)), heard.hooks, 2, functools.partial(FileSink, tmp_path))
            )
            while len(exact.seen) < 100:
                await asyncio.sleep(0.01)
            victim = multiprocessing.active_children()[0]
            os.kill(victim.pid or 0, signal.SIGKILL)
            await load

    with pytest.raises(GiqError, match="killed by signal 9"):
        on_loop(work)
    records = FileSink.read(tmp_path)
    assert records
    assert len({record.request_id for record in records}) == len(records)
    assert not multiprocessing.active_children()


def test_stop_reaches_the_workers(tmp_path: Path) -> None:
    """Setting `stop` here drains all workers."""

    async def work() -> LoadResult:
        async with ExactServer(lambda seen, number: Behaviour(first_s=0.01)) as exact:
            heard = Heard()
            load = asyncio.ensure_future(
                run_workers(job(exact, closed(4, 100_000)), heard.hooks, 2, functools.partial(FileSink, tmp_path))
            )
            while len(exact.seen) < 50:
                await asyncio.sleep(0.01)
            heard.hooks.stop.set()
            return await load

    result = on_loop(work)
    assert result.ending == "stopped"
    assert len(FileSink.read(tmp_path)) == result.ok == result.sent < 2000


def test_less_than_one_worker_is_refused(tmp_path: Path) -> None:
    """No workers at all would wait for ever: it is an error."""
    with pytest.raises(UsageError, match="0 workers"):
        together(closed(1, 1), tmp_path, workers=0)


def test_ctrl_c_spares_workers_that_only_start(tmp_path: Path) -> None:
    """A Ctrl-C that hits every process of the terminal in the workers' first moment ends none of them."""

    async def work() -> LoadResult:
        async with ExactServer() as exact:
            load = asyncio.ensure_future(
                run_workers(job(exact, closed(4, 40)), Heard().hooks, 2, functools.partial(FileSink, tmp_path))
            )
            hit: set[object] = set()
            while len(hit) < 2:
                await asyncio.sleep(0)
                for worker in set(multiprocessing.active_children()) - hit:
                    os.kill(worker.pid or 0, signal.SIGINT)
                    hit.add(worker)
            return await load

    assert on_loop(work).ok == 40


def test_a_report_that_comes_in_two_parts_is_heard_whole() -> None:
    """Of a long report the length is written first: one whose rest comes later is waited for, not taken for a death."""
    ours, theirs = multiprocessing.Pipe()
    words = b"x" * 100_000
    heard: list[bytes] = []

    def tell() -> None:
        os.write(theirs.fileno(), len(words).to_bytes(4, "big"))
        time.sleep(0.1)
        os.write(theirs.fileno(), words)

    async def listen() -> None:
        loop = asyncio.get_running_loop()
        done = asyncio.Event()

        def take() -> None:
            heard.append(ours.recv_bytes())
            done.set()

        hear(loop, ours, take)
        teller = threading.Thread(target=tell)
        teller.start()
        await asyncio.wait_for(done.wait(), 10)
        teller.join()
        loop.remove_reader(ours.fileno())

    on_loop(listen)
    assert [len(report) for report in heard] == [len(words)]
