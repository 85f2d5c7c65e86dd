"""Reads the server's /metrics, cheaply: of the hundreds of lines only those that giq keeps are parsed."""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from time import monotonic_ns
from types import TracebackType
from typing import Self

import aiohttp
from prometheus_client.parser import text_string_to_metric_families

from giq.catalog.servers import MetricNames
from giq.curve.requests import Sample
from giq.load.endpoint import Endpoint
from giq.load.http import open_session

PERIOD_S = 1 / 3
TIMEOUT_S = 5.0
MAX_BYTES = 16 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Value:
    """One line of /metrics."""

    metric: str
    labels: Mapping[str, str]
    value: float


@dataclass(frozen=True, slots=True)
class Reading:
    """What /metrics said at one time (ns, this machine's monotonic clock), of the metrics that giq keeps."""

    at_ns: int
    values: tuple[Value, ...]

    def total(self, metric: str, without: Mapping[str, frozenset[str]] | None = None) -> float | None:
        """The sum over all engines of a gauge or a counter (with or without `_total`); None when it is not there.

        Lines whose label has one of the values in *without* are left out.
        """
        found = None
        for value in self.values:
            if value.metric in (metric, metric + "_total"):
                kept = not any(value.labels.get(label) in values for label, values in (without or {}).items())
                found = (found or 0.0) + (value.value if kept else 0.0)
        return found


class Scraper:
    """Reads /metrics of one server; a context manager."""

    def __init__(self, endpoint: Endpoint, names: MetricNames) -> None:
        self._endpoint = endpoint
        self._names = names
        self._levels = lines_of(names, histograms=False)
        self._all = lines_of(names, histograms=True)
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        self._session = open_session(self._endpoint, TIMEOUT_S)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._session is not None:
            await self._session.close()

    async def read(self, histograms: bool = False) -> Reading | None:
        """What it says now; None when it cannot be read. Histograms are many lines: read them once in a while."""
        assert self._session is not None  # noqa: S101 - used as a context manager
        try:
            async with self._session.get(self._endpoint.prefix + "/metrics", allow_redirects=False) as response:
                data = await response.content.read(MAX_BYTES) if response.status == 200 else b""
                while response.status == 200 and (more := await response.content.read(MAX_BYTES)):
                    data += more
        except (aiohttp.ClientError, TimeoutError, OSError):
            return None
        if response.status != 200:
            return None
        return read_metrics(data.decode("utf-8", "replace"), self._all if histograms else self._levels)

    async def idle(self, limit_s: float, given_up: asyncio.Event) -> tuple[Reading | None, bool]:
        """Wait until the server works on nothing: what it says then, and whether it is idle.

        At most *limit_s*, and no longer than until *given_up* is set.
        """
        until = monotonic_ns() + round(limit_s * 1e9)
        while True:
            reading = await self.read(histograms=True)
            busy = None if reading is None else self.busy(reading)
            if not busy:
                return reading, True
            if given_up.is_set() or monotonic_ns() >= until:
                return reading, False
            await asyncio.sleep(0.1)

    def busy(self, reading: Reading) -> float | None:
        """How many requests it works on or has waiting; None when it does not say."""
        running, waiting = reading.total(self._names.running), reading.total(self._names.waiting)
        return None if running is None and waiting is None else (running or 0.0) + (waiting or 0.0)

    async def watch(self, deliver: Callable[[Reading], None]) -> None:
        """Deliver a reading three times a second, for ever; gauges and counters only."""
        due = monotonic_ns() / 1e9
        while True:
            reading = await self.read()
            if reading is not None:
                deliver(reading)
            due = max(due + PERIOD_S, monotonic_ns() / 1e9)
            await asyncio.sleep(due - monotonic_ns() / 1e9)


def read_metrics(text: str, lines: re.Pattern[str]) -> Reading:
    """The values in the *lines* of a Prometheus text; a line that cannot be read is left out."""
    at_ns = monotonic_ns()
    values: list[Value] = []
    for line in lines.findall(text):
        with contextlib.suppress(ValueError, KeyError, IndexError):  # the parser's ways to say: malformed
            values.extend(_values(line))
    return Reading(at_ns, tuple(values))


def _values(line: str) -> Iterator[Value]:
    for family in text_string_to_metric_families(line + "\n"):
        for sample in family.samples:
            yield Value(sample.name, sample.labels, sample.value)


def samples(reading: Reading, endpoint: Endpoint, run_id: str, point_id: str, zero_ns: int) -> list[Sample]:
    """*reading* as rows of the table `server`."""
    rows = []
    for value in reading.values:
        labels = dict(value.labels)
        engine = labels.pop("engine", None)
        rows.append(
            Sample(
                run_id=run_id, point_id=point_id, ts_ns=reading.at_ns - zero_ns, source=endpoint.url, engine=engine,
                metric=value.metric, labels=labels, value=value.value,
            )
        )  # fmt: skip
    return rows


def lines_of(names: MetricNames, histograms: bool) -> re.Pattern[str]:
    """Finds the lines that are kept."""
    gauges = (names.running, names.waiting, names.kv_usage)
    counters = (
        names.request_success, names.prompt_tokens, names.generation_tokens, names.preemptions, names.prefix_queries,
        names.prefix_hits,
    )  # fmt: skip
    spread = (names.ttft, names.e2e_latency, names.inter_token_latency)
    wanted = [re.escape(name) for name in gauges]
    wanted += [re.escape(name) + "(?:_total)?" for name in counters]
    if histograms:
        wanted += [re.escape(name) + "_(?:sum|count|bucket)" for name in spread]
    return re.compile(rf"^(?:{'|'.join(wanted)})[{{ ].*$", re.MULTILINE)
