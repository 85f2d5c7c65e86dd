"""The load as the server saw it: the arrivals delivered are those of the schedule, and follow the law named."""

from __future__ import annotations

import asyncio
import functools
from itertools import pairwise
from pathlib import Path
from time import monotonic_ns

import numpy as np
import pytest

from giq.catalog.use_cases import Lengths
from giq.curve.requests import Record
from giq.load.client import LoadResult
from giq.load.pacing import Alarm
from giq.load.workers import run_workers
from giq.workload import Arrival, OpenLoad, Stop, Workload, make_schedule, parse_arrival, read_trace
from giq.workload.schedule import Schedule
from tests.load.exact_server import ExactServer, Seen
from tests.load.jobs import Heard, closed, identity, job, measured, on_loop, opened
from tests.load.laws import NAMED, POISSON, Named, Rate, Times, complaints
from tests.load.sinks import FileSink

LENGTHS = Lengths(distribution="uniform", mean=12, minimum=4, maximum=20)
TRACE_RPS = 10.0


class Delivered:
    """One point as its server saw it: `times` of arrival (s from the point's start, sorted), and what was asked."""

    def __init__(self, asked: Schedule, seen: list[Seen], heard: Heard, result: LoadResult) -> None:
        self.asked, self.seen, self.heard = asked, seen, heard
        self.times: Times = np.sort(np.array([one.at_ns for one in seen]) - _zero(asked, heard)) / 1e9
        self.result = result


def _zero(asked: Schedule, heard: Heard) -> int:
    """When the point began, told by its first request."""
    assert asked.arrival_ns is not None
    return heard.by_id()[0].scheduled_ns - int(asked.arrival_ns[0])


async def sent(asked: Schedule, nonce: int = 11) -> Delivered:
    """Hold the load against a server of its own."""
    async with ExactServer(with_metrics=False) as exact:
        heard, result = await measured(exact, asked, identity=identity(metrics=False), nonce=nonce)
        return Delivered(asked, list(exact.seen), heard, result)


def recorded(folder: Path) -> Path:
    """A trace: bursts and pauses, with lengths of its own."""
    rng = np.random.default_rng(3)
    times = np.cumsum(rng.gamma(0.5, 2 / TRACE_RPS, 60))
    rows = zip(times - times[0], rng.integers(4, 30, 60), rng.integers(1, 6, 60), strict=True)
    path = folder / "trace.csv"
    path.write_text("arrival_s,input_tokens,output_tokens\n" + "".join(f"{a},{i},{o}\n" for a, i, o in rows))
    return path


@pytest.fixture(scope="module")
def points(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[Delivered]]:
    """Points of every law, each to its own server, all at one time."""
    trace = read_trace(recorded(tmp_path_factory.mktemp("trace")))
    asked = {named.words: [_asked(named, seed) for seed in range(named.points)] for named in NAMED}
    replayed = Workload(
        input_tokens=LENGTHS, output_tokens=LENGTHS, arrival=Arrival(law="trace", trace_id=trace.trace_id)
    )
    asked["trace"] = [make_schedule(replayed, OpenLoad(rate_rps=trace.rate_rps), Stop(requests=99), 0, trace)]

    async def work() -> list[Delivered]:
        return list(await asyncio.gather(*(sent(one) for all_of in asked.values() for one in all_of)))

    found = iter(on_loop(work))
    return {words: [next(found) for _ in all_of] for words, all_of in asked.items()}


def _asked(named: Named, seed: int) -> Schedule:
    workload = Workload(input_tokens=LENGTHS, output_tokens=LENGTHS, arrival=parse_arrival(named.words))
    return make_schedule(workload, OpenLoad(rate_rps=10), Stop(duration_s=named.rate.span_s), seed)


@pytest.mark.parametrize("named", NAMED, ids=lambda named: named.words)
def test_delivered_arrivals_follow_the_law(named: Named, points: dict[str, list[Delivered]]) -> None:
    """Rate, gaps, their variation and independence, and dispersion of counts at the server are those of the law."""
    assert not complaints([point.times for point in points[named.words]], named.rate, named.law)


def test_delivered_arrivals_are_the_schedule(points: dict[str, list[Delivered]]) -> None:
    """Every law and the trace: as many arrivals as scheduled, none early, and hardly any late."""
    for delivered in (one for all_of in points.values() for one in all_of):
        scheduled = delivered.asked.arrival_ns
        assert scheduled is not None
        assert len(delivered.times) == len(scheduled)
        late = delivered.times - scheduled / 1e9
        assert late.min() > 0
        assert np.quantile(late, 0.5) < 0.02
        relative = [record.scheduled_ns for record in delivered.heard.by_id()]
        assert np.array_equal(np.diff(relative), np.diff(scheduled)), "what is scheduled never depends on answers"


def test_no_gap_is_scheduled_twice(points: dict[str, list[Delivered]]) -> None:
    """Of random laws no two gaps are equal, within a point and between points of other seeds."""
    for words in ("poisson", "gamma:0.5", "ramp:0-20"):
        gaps = [gap for point in points[words] for gap in _gaps(point.heard.by_id())]
        assert len(set(gaps)) == len(gaps)


def _gaps(records: list[Record]) -> list[int]:
    return [later.scheduled_ns - earlier.scheduled_ns for earlier, later in pairwise(records)]


def test_lengths_are_those_asked_for(points: dict[str, list[Delivered]]) -> None:
    """Request by request, the server counts the input and output tokens of the schedule; a trace's are its own."""
    for delivered in (one for all_of in points.values() for one in all_of):
        records = delivered.heard.by_id()
        assert [record.input_tokens for record in records] == delivered.asked.input_tokens.tolist()
        assert [record.output_tokens for record in records] == delivered.asked.output_tokens.tolist()
        counted = sorted((seen.input_tokens, int(seen.body["max_tokens"])) for seen in delivered.seen)
        asked = zip(delivered.asked.input_tokens.tolist(), delivered.asked.output_tokens.tolist(), strict=True)
        assert counted == sorted(asked)


def test_one_seed_sends_at_the_same_times_again() -> None:
    """Two runs with one seed: the same times, lengths and order to the nanosecond, whatever the nonce."""

    async def work() -> list[Delivered]:
        return [await sent(opened(200, 60), nonce) for nonce in (1, 2)]

    one, other = on_loop(work)
    assert _gaps(one.heard.by_id()) == _gaps(other.heard.by_id())
    for name in ("requested_input_tokens", "requested_output_tokens", "request_id"):
        values = [[getattr(record, name) for record in run.heard.by_id()] for run in (one, other)]
        assert values[0] == values[1]
    assert np.quantile(np.abs(one.times - other.times), 0.5) < 0.02


def test_workers_are_independent(tmp_path: Path) -> None:
    """Two workers send one Poisson process between them: no worker repeats the other's gaps."""
    slower, span_s = 4, 4  # the checks are made for 10 requests/s
    asked = make_schedule(
        Workload(input_tokens=LENGTHS, output_tokens=LENGTHS),
        OpenLoad(rate_rps=10 * slower),
        Stop(duration_s=span_s),
        4,
    )

    async def work() -> list[int]:
        async with ExactServer() as exact:
            await run_workers(job(exact, asked), Heard().hooks, 2, functools.partial(FileSink, tmp_path))
            return [seen.at_ns for seen in exact.seen]

    seen = np.sort(np.array(on_loop(work)))
    records = sorted(FileSink.read(tmp_path), key=lambda record: record.request_id)
    assert asked.arrival_ns is not None
    zero = records[0].scheduled_ns - int(asked.arrival_ns[0])
    assert not complaints([(seen - zero) / 1e9 * slower], Rate(10, 10, span_s * slower), POISSON)
    assert {record.worker_id for record in records} == {0, 1}
    gaps = [_gaps([record for record in records if record.worker_id == worker]) for worker in (0, 1)]
    assert not set(gaps[0]) & set(gaps[1])


def test_one_seed_and_nonce_send_the_same_prompts_again() -> None:
    """Two runs with one seed and nonce send the same prompts; another nonce sends others at the same times."""

    async def work() -> list[list[object]]:
        prompts = []
        for nonce in (1, 1, 2):
            async with ExactServer() as exact:
                await measured(exact, closed(1, 5), nonce=nonce)
                prompts.append([seen.body["prompt"] for seen in exact.seen])
        return prompts

    first, again, other = on_loop(work)
    assert first == again
    assert all(one != another for one, another in zip(first, other, strict=True))


def test_the_alarm_rings_on_time_and_not_before() -> None:
    """Set 200 times, the alarm rings after its time each time, and by less than a millisecond in the median."""

    async def work() -> list[int]:
        late: list[int] = []
        done = asyncio.Event()
        due = monotonic_ns() + 2_000_000

        def ring() -> None:
            nonlocal due
            late.append(monotonic_ns() - due)
            if len(late) == 200:
                done.set()
                return
            due = monotonic_ns() + 700_000
            alarm.set(due)

        alarm = Alarm(ring)
        alarm.set(due)
        await done.wait()
        alarm.close()
        alarm.set(0)
        await asyncio.sleep(0.01)
        return late

    late = on_loop(work)
    assert len(late) == 200, "a closed alarm does not ring"
    assert min(late) >= 0
    assert sorted(late)[100] < 1_000_000
