"""The load as the server saw it: the arrivals delivered are those of the schedule, and follow the law named."""

from __future__ import annotations

import asyncio
from time import monotonic_ns

import numpy as np
import pytest
from numpy.typing import NDArray

from giq.load.client import LoadResult
from giq.load.pacing import Alarm
from giq.workload.schedule import Schedule
from tests.load.exact_server import ExactServer
from tests.load.jobs import Heard, closed, measured, on_loop, opened

RATE = 400.0


def delivered(asked: Schedule) -> tuple[NDArray[np.int64], Heard, LoadResult]:
    """When each request arrived at the server (ns from the point's start, sorted)."""

    async def work() -> tuple[NDArray[np.int64], Heard, LoadResult]:
        async with ExactServer() as exact:
            heard, result = await measured(exact, asked)
            times = np.sort(np.array([seen.at_ns for seen in exact.seen])) - result.started_ns
            return times, heard, result

    return on_loop(work)


@pytest.mark.parametrize(("law", "cv"), [("constant", 0.0), ("poisson", 1.0), ("gamma", 2.0)])
def test_delivered_arrivals_follow_the_law(law: str, cv: float) -> None:
    """Rate, variation of gaps and dispersion of counts at the server are those of the law; each arrival is on time."""
    asked = opened(RATE, 240, law, output_tokens=1)
    times, _, result = delivered(asked)
    assert asked.arrival_ns is not None

    late_ms = (times - asked.arrival_ns) / 1e6
    assert np.quantile(late_ms, 0.5) < 2
    assert np.quantile(late_ms, 0.95) < 10
    assert result.lateness.rate_error < 0.05
    span_s = (times[-1] - times[0]) / 1e9
    assert (len(times) - 1) / span_s == pytest.approx(RATE, rel=0.02 if law == "constant" else 0.3)
    gaps = np.diff(times)
    assert np.std(gaps) / np.mean(gaps) == pytest.approx(cv, abs=0.5)
    counts = np.histogram(times, bins=np.arange(0, times[-1], 25_000_000))[0]
    dispersion = np.var(counts) / np.mean(counts)
    assert dispersion < 0.3 if law == "constant" else dispersion > 0.4


def test_the_schedule_is_kept_whatever_the_answers_do() -> None:
    """In open loop what was scheduled is the schedule itself, request by request."""
    asked = opened(200, 100)
    _, heard, result = delivered(asked)
    assert asked.arrival_ns is not None

    scheduled = [record.scheduled_ns - result.started_ns for record in heard.by_id()]
    assert scheduled == asked.arrival_ns.tolist()


def test_one_seed_sends_the_same_again() -> None:
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
