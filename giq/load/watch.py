"""The client watching itself: how late its event loop is, and a garbage collector that keeps quiet meanwhile."""

from __future__ import annotations

import asyncio
import contextlib
import gc
from array import array
from collections.abc import Iterator
from time import monotonic_ns

from giq.units import NS_PER_S

LAG_TICK_S = 0.010
SHORTEST_SLEEP_S = 0.001


async def note_lags(lags_ns: array[int]) -> None:
    """Note, for every 10 ms and for ever, by how many ns the event loop was late to wake this task.

    Ticks that fall due while the loop does not turn are noted too, each with its own lateness: the figures are what
    bytes that came at any moment would have waited, not what one in each pause did.
    """
    tick_ns = round(LAG_TICK_S * NS_PER_S)
    due = monotonic_ns() + tick_ns
    while True:
        # Not less than the millisecond that the loop's timers keep: it would turn without rest until then.
        await asyncio.sleep(max(SHORTEST_SLEEP_S, (due - monotonic_ns()) / NS_PER_S))
        now = monotonic_ns()
        while due <= now:
            lags_ns.append(now - due)
            due += tick_ns


@contextlib.contextmanager
def quiet_collector() -> Iterator[None]:
    """No automatic garbage collections: a full one stops the client for tens of milliseconds.

    What is measured makes no reference cycles; `collect_garbage` looks through what little else there is.
    """
    was_on = gc.isenabled()
    gc.collect()
    gc.freeze()
    gc.disable()
    try:
        yield
    finally:
        gc.unfreeze()
        if was_on:
            gc.enable()


def collect_garbage() -> None:
    """Collect the cycles among what was made lately."""
    gc.collect(1)
