"""What one load point asks of the load engine, what it tells while it runs, and what it comes to."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

from giq.curve.client_error import LoopLag
from giq.curve.requests import Record, Sample
from giq.documents import Entry, NonNegative
from giq.load.endpoint import Endpoint
from giq.load.identity import ServerIdentity
from giq.workload.schedule import Schedule
from giq.workload.workload import Sampling

Ending = Literal["schedule", "duration", "stopped", "quit", "server_gone"]
"""Why no more was sent: all of it was, the time was over, the user stopped or quit, the server refuses all."""


class Timeouts(Entry, frozen=True, kw_only=True):
    """How long one request may take, in seconds: to connect, to the first byte, between two bytes, in all."""

    connect_s: float = 10.0
    first_byte_s: float | None = None
    idle_s: float = 120.0
    total_s: float = 600.0


@dataclass(frozen=True)
class LoadJob:
    """One load point, or a worker's share of it: request i is sent by worker i mod `workers`.

    `seed` and `nonce` fix what the prompts hold. `zero_ns` is the run's zero on the machine's monotonic
    clock: all times that are recorded count from it.
    """

    endpoint: Endpoint
    identity: ServerIdentity
    schedule: Schedule
    seed: int
    nonce: int
    point_number: int
    point_id: str
    run_id: str
    worker_id: int = 0
    workers: int = 1
    sampling: Sampling = field(default_factory=Sampling)
    timeouts: Timeouts = field(default_factory=Timeouts)
    zero_ns: int = 0


class Progress(Entry, frozen=True, kw_only=True):
    """How a load point stands. Medians are over the latest answers; rates over the latest seconds.

    `planned` is None when only time ends the point.
    """

    elapsed_s: float
    sent: int
    done: int
    failed: int
    in_flight: int
    planned: int | None
    rate_rps: float
    ttft_p50_s: float | None
    tpot_p50_s: float | None
    output_tps: float


def _ignore(_: object) -> None:
    """Nobody listens."""


@dataclass
class Hooks:
    """Who hears of a load point: batches of records and samples, and the progress four times a second.

    `records` is called four times a second at least, with an empty batch where nothing ended, so that whoever
    keeps rows back may write them.
    Setting `stop` sends no more and waits for what is in flight; `quit` cancels that too.
    """

    records: Callable[[list[Record]], None] = _ignore
    samples: Callable[[list[Sample]], None] = _ignore
    progress: Callable[[Progress], None] = _ignore
    stop: asyncio.Event = field(default_factory=asyncio.Event)
    quit: asyncio.Event = field(default_factory=asyncio.Event)


class Lateness(Entry, frozen=True, kw_only=True):
    """How well the client kept its own times, in seconds.

    `schedule_delay` is sent − scheduled without the time that opening a connection took; `rate_error` is how
    far the rate of sending was off the schedule's, as a share; `loop_lag` is how late the event loop called.
    """

    schedule_delay_p50_s: NonNegative
    schedule_delay_p99_s: NonNegative
    schedule_delay_max_s: NonNegative
    rate_error: NonNegative
    loop_lag: LoopLag
    cpu_share: NonNegative


class CounterDeltas(Entry, frozen=True, kw_only=True):
    """What the server's own counters grew by over the point; None where it has no such counter."""

    requests: float | None
    prompt_tokens: float | None
    generation_tokens: float | None


class LoadResult(Entry, frozen=True, kw_only=True):
    """What came of a load point; times in ns since the run's zero.

    `ok` of the `sent` requests succeeded; the server counted `input_tokens` and `output_tokens` for those.
    `flags` are some of curve.point's INVALIDATING and INFORMING, `reasons` says each in words.
    """

    started_ns: int
    ended_ns: int
    sent: int
    ok: int
    input_tokens: int
    output_tokens: int
    ending: Ending
    lateness: Lateness
    counters: CounterDeltas | None
    flags: tuple[str, ...]
    reasons: tuple[str, ...]
