"""Fewer wake-ups under a dense load, as a network card coalesces its interrupts.

Waking for each chunk by itself costs about as much as reading it. Once chunks come fast, the event loop rests for a
moment after each turn that brought few, and the next turn finds several at once. A load that fills the core rests
never, nor does one that leaves it idle: there every chunk is stamped as it comes.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from time import monotonic_ns

REST_NS = 300_000
"""A rest; no chunk is stamped later than by this for it."""

WORTH = 2.0
"""A rest should bring at least so many chunks."""

ENOUGH = 16
"""A turn that brought so many needs no rest: what waking costs is shared among them."""

RATE_SPAN_NS = 10_000_000
"""The rate of chunks is counted over this time, so that one burst does not look like a dense load."""


class Coalescing:
    """Counts the chunks of a worker's connections, and rests between turns of its event loop.

    Whoever receives a chunk adds one to `chunks` and calls `wake` unless `awake`. While *busy* says that other work is
    waiting there is no rest, and without it there never is one.
    """

    __slots__ = ("_busy", "_counted", "_dense", "_since_ns", "_turn", "awake", "chunks")

    def __init__(self, busy: Callable[[], bool] | None = None) -> None:
        self._busy = busy or _always
        self._since_ns = monotonic_ns()
        self._counted = 0
        self._turn = 0
        self._dense = False
        self.chunks = 0
        self.awake = busy is None

    def wake(self) -> None:
        """The first chunk of a turn has come: rest after it, if that is worth it."""
        self.awake = True
        asyncio.get_running_loop().call_soon(self._rest)

    def _rest(self) -> None:
        self.awake = False
        brought, self._turn = self.chunks - self._turn, self.chunks
        elapsed_ns = monotonic_ns() - self._since_ns
        if elapsed_ns >= RATE_SPAN_NS:
            self._dense = (self.chunks - self._counted) * REST_NS >= WORTH * elapsed_ns
            self._since_ns += elapsed_ns
            self._counted = self.chunks
        if self._dense and brought < ENOUGH and not self._busy():
            time.sleep(REST_NS / 1e9)


def _always() -> bool:
    return True
