"""What is known of the client before a run: its error at the loads to come, measured now or remembered for a day."""

from __future__ import annotations

import hashlib
import math
import platform
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

from giq import __version__
from giq.catalog.shipped import user_home
from giq.curve.client_error import ClientCalibration, ClientError
from giq.documents import Entry, PositiveInt, decode_json, encode_json
from giq.errors import DataError, ServerError, StorageError
from giq.profiling.client_calibration import Cores, Rung, calibrate, disturbed, usable_cores
from giq.store.parquet import write_bytes
from giq.workload.workload import ClosedLoad, Load

FILE_NAME = "client-calibrations.json"
LASTS_S = 24 * 3600.0
BUDGET_S = 3.0
"""No further load is calibrated once so much time was spent: with the one under way it stays below 5 s."""

SHORT_REPLIES = Rung(streams=64, output_tokens=8, first_s=0.02, gap_s=0.001, turns=12)
FIRST_S, GAP_S, CROWDED_GAP_S = 0.02, 0.005, 0.01
"""A fast server, where nothing is known yet: what a load comes to is guessed with it."""

CROWDED_TOKENS = 20_000
"""From so many tokens a second on a server is not as fast to each."""

FASTEST_TOKENS = 90_000
"""Tokens a second that the exact server, one process of Python, can send on time."""

LADDER = tuple(Rung(streams=2**power, gap_s=max(0.009, 2**power / FASTEST_TOKENS)) for power in range(4, 14))
"""From 16 to 8192 streams, each at 100 tokens a second as long as the exact server can."""

SEARCHED = (LADDER[2], SHORT_REPLIES, LADDER[4], Rung(streams=1024, output_tokens=20, gap_s=0.02))
"""What a search may come to: 64 and 256 streams, many short replies, and a thousand streams of a large model."""

COMFORTABLE_SHARE = 0.6
"""The share of its core above which a worker gets help."""


@dataclass(frozen=True)
class Expected:
    """What a load will come to, roughly: requests in flight, output tokens and requests a second."""

    streams: float
    tokens_per_s: float
    requests_per_s: float

    @classmethod
    def of(cls, load: Load, output_tokens: float) -> Expected:
        """Of *load* on a fast server."""
        if isinstance(load, ClosedLoad):
            streams = float(load.concurrency)
            tokens_per_s = max(streams / CROWDED_GAP_S, min(streams / GAP_S, CROWDED_TOKENS))
            return cls(streams, tokens_per_s, streams / (FIRST_S + output_tokens * GAP_S))
        streams = load.rate_rps * (FIRST_S + output_tokens * CROWDED_GAP_S)
        return cls(streams, load.rate_rps * output_tokens, load.rate_rps)


def rungs_for(loads: Sequence[Load], output_tokens: float) -> tuple[Rung, ...]:
    """The loads to calibrate at: for each of *loads* the next higher one; without any what a search may come to."""
    if not loads:
        return SEARCHED
    return tuple(dict.fromkeys(sorted((_rung(Expected.of(load, output_tokens)) for load in loads), key=_size)))


def _rung(load: Expected) -> Rung:
    for rung in sorted((*LADDER, SHORT_REPLIES), key=_size):
        if (
            load.streams <= rung.streams
            and load.tokens_per_s <= rung.tokens_per_s
            and load.requests_per_s <= rung.requests_per_s
        ):
            return rung
    return next((rung for rung in LADDER if load.streams <= rung.streams and rung.streams >= 1024), LADDER[-1])


def _size(rung: Rung) -> float:
    return rung.tokens_per_s


def workers_for(load: Load, output_tokens: float, client: ClientCalibration | None, cores: int, local: bool) -> int:
    """How many workers *load* needs by what one of them was calibrated at, at most one per core.

    A *local* server keeps a core. One that was not calibrated is not known to need help.
    """
    errors = client.errors if client is not None and client.workers == 1 else ()
    if not errors:
        return 1
    expected, top = Expected.of(load, output_tokens), max(errors, key=lambda error: error.tokens_per_s)
    busiest = max(errors, key=lambda error: error.requests_per_s)
    share = max(
        top.cpu_share * expected.tokens_per_s / top.tokens_per_s,
        busiest.cpu_share * expected.requests_per_s / busiest.requests_per_s,
    )
    return max(1, min(cores - local, math.ceil(share / COMFORTABLE_SHARE)))


class Remembered(Entry, frozen=True, kw_only=True):
    """The client's error at one rung, with what it depends on and when it was found (Unix seconds)."""

    machine: str
    workers: PositiveInt
    own_core: bool
    rung: Rung
    at_unix_s: float
    error: ClientError

    def serves(self, other: Remembered) -> bool:
        """Whether it is of the same thing as *other*."""
        return (self.machine, self.workers, self.own_core, self.rung) == (
            other.machine, other.workers, other.own_core, other.rung,
        )  # fmt: skip


@dataclass(frozen=True)
class Memory:
    """Calibrations of up to a day ago, in `HOME/client-calibrations.json` (default `$GIQ_HOME`).

    *clock* gives Unix seconds. A file that cannot be read is as if it were not there: everything is measured anew.
    """

    home: Path | None = None
    clock: Callable[[], float] = time.time

    @property
    def path(self) -> Path:
        """The file."""
        return (self.home or user_home()) / FILE_NAME

    def all(self) -> list[Remembered]:
        """Those that still hold."""
        try:
            known = decode_json(self.path.read_bytes(), list[Remembered], str(self.path))
        except (OSError, DataError):
            return []
        now = self.clock()
        return [one for one in known if 0 <= now - one.at_unix_s < LASTS_S]

    def add(self, new: Sequence[Remembered]) -> None:
        """Remember *new*, instead of what was known of the same; where that cannot be written it is measured again."""
        kept = [one for one in self.all() if not any(one.serves(other) for other in new)]
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            write_bytes(self.path, encode_json([*kept, *new], indent=1) + b"\n")
        except (OSError, StorageError):
            return


async def known_client(
    rungs: Sequence[Rung], workers: int, memory: Memory, begins: Callable[[], None] = lambda: None
) -> ClientCalibration:
    """The client's error at each of *rungs*, from *memory* or measured now and remembered (unless disturbed).

    *begins* is called before anything is measured.

    Raises:
        GiqError: it could not be measured.
    """
    cores, machine = Cores.here(workers), machine_id()

    def remembered(rung: Rung, error: ClientError) -> Remembered:
        return Remembered(
            machine=machine, workers=workers, own_core=cores.server is not None, rung=rung,
            at_unix_s=memory.clock(), error=error,
        )  # fmt: skip

    wanted = {(machine, workers, cores.server is not None, rung) for rung in rungs}
    old = {one.rung: one.error for one in memory.all() if (one.machine, one.workers, one.own_core, one.rung) in wanted}
    new: list[Remembered] = []
    began = time.monotonic()
    missing = [rung for rung in rungs if rung not in old]
    if missing:
        begins()
        try:
            async for rung, error in calibrate(missing, workers, cores, lambda: time.monotonic() - began < BUDGET_S):
                new.append(remembered(rung, error))
        except OSError as problem:  # no room for its records, no more processes
            raise ServerError(f"the client cannot be calibrated: {problem.strerror}") from None
        shared = cores.server is None  # and so late whatever else the machine does
        memory.add([one for one in new if shared or not disturbed(one.rung, one.error)])
    found = old | {one.rung: one.error for one in new}
    return ClientCalibration(
        errors=tuple(found[rung] for rung in rungs if rung in found),
        workers=workers,
        cores=usable_cores(),
        cached=not missing,
        upper_bound=None if cores.server is not None else "the exact server had no core of its own",
    )


def machine_id() -> str:
    """A name for what the client's speed depends on (cores, CPU, Python, uvloop, giq), without the host's own."""
    parts = (usable_cores(), _cpu(), platform.machine(), platform.python_version(), version("uvloop"), __version__)
    return hashlib.sha256("|".join(map(str, parts)).encode()).hexdigest()[:16]


def _cpu() -> str:
    """The CPU's own name, where the system tells."""
    try:
        lines = Path("/proc/cpuinfo").read_text(errors="replace").splitlines()
    except OSError:
        return platform.processor()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())
