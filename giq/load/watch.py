"""The client watching itself: how late its event loop is, and a garbage collector that keeps quiet meanwhile."""

from __future__ import annotations

import asyncio
import contextlib
import gc
from array import array
from collections.abc import Iterator
from time import monotonic_ns

LAG_TICK_S = 0.010


async def note_lags(lags_ns: array[int]) -> None:
    """Note, every 10 ms and for ever, by how many ns the event loop was late to wake this task."""
    tick_ns = round(LAG_TICK_S * 1e9)
    while True:
        due = monotonic_ns() + tick_ns
        await asyncio.sleep(LAG_TICK_S)
        lags_ns.append(max(0, monotonic_ns() - due))


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
