"""Rests between the turns of the event loop: only under a dense load, and never where work waits."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

import pytest

from giq.load.coalescing import ENOUGH, RATE_SPAN_NS, REST_NS, Coalescing

SPAN_S = 6 * RATE_SPAN_NS / 1e9


@pytest.fixture
def rests(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The rests taken, in seconds; each is taken as it is asked for."""
    taken: list[float] = []
    sleep = time.sleep

    def rest(seconds: float) -> None:
        taken.append(seconds)
        sleep(seconds)

    monkeypatch.setattr("giq.load.coalescing.time.sleep", rest)
    return taken


def turn(chunks: int, every_s: float = 0.0, busy: Callable[[], bool] | None = lambda: False) -> int:
    """Let every turn of an event loop bring so many chunks, for a while; the turns there were."""

    async def work() -> int:
        coalescing, turns, until = Coalescing(busy), 0, time.monotonic() + SPAN_S
        while time.monotonic() < until:
            for _ in range(chunks):
                coalescing.chunks += 1
                if not coalescing.awake:
                    coalescing.wake()
            turns += 1
            await asyncio.sleep(every_s)
        return turns

    return asyncio.run(work())


def test_a_dense_load_is_taken_in_fewer_turns(rests: list[float]) -> None:
    """Turns that bring a few chunks each and follow at once are held apart by rests of a fixed length."""
    turns = turn(4)

    assert rests
    assert set(rests) == {REST_NS / 1e9}
    assert len(rests) <= turns


@pytest.mark.parametrize(
    ("chunks", "every_s", "busy"),
    [(1, 0.002, lambda: False), (ENOUGH, 0.0, lambda: False), (4, 0.0, lambda: True), (4, 0.0, None)],
    ids=["sparse", "full turns", "other work waits", "not asked for"],
)
def test_there_is_no_rest_else(
    rests: list[float], chunks: int, every_s: float, busy: Callable[[], bool] | None
) -> None:
    """A sparse load, turns that bring many chunks, and a client with other work never rest."""
    assert turn(chunks, every_s, busy) > 1
    assert rests == []
