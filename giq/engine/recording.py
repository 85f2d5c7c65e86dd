"""What a simulation notes while it runs, and how requests and server statistics are read off it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from giq.curve.requests import NULL, OUTCOMES, Requests
from giq.curve.server_statistics import ServerStatistics
from giq.engine.sequence import Segment
from giq.units import NS_PER_S
from giq.workload.schedule import Schedule

Run = tuple[float, int, float, float, int, int]
"""A run of equal steps: when it began, steps, seconds of the first, growth a step, free blocks at start and end."""


StayTimes = tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64], NDArray[np.bool_]]
"""When each stay was queued, admitted and ended, and whether it follows a preemption."""

Sent = tuple[int, float, bool]
"""A request that was sent: its number, when, and whether it was accepted."""


class CoreRecording:
    """Runs of steps of one core, and stays of requests in its batch; seconds on the virtual clock."""

    def __init__(self, kv_blocks: int, prefix_caching: bool) -> None:
        self.runs: list[Run] = []
        self.segments: list[Segment] = []
        self.kv_blocks = kv_blocks
        self.prefix_caching = prefix_caching

    @cached_property
    def _columns(self) -> NDArray[np.float64]:
        """The runs, when there are no more to come: a row for each of what `Run` has."""
        return np.array(self.runs, dtype=np.float64).reshape(-1, 6).T.copy()

    @cached_property
    def stay_times(self) -> StayTimes:
        """The same of the stays: see `StayTimes`."""
        times = [(stay.queued_at, stay.admitted_at, stay.ended_at, stay.number) for stay in self.segments]
        rows = np.array(times, dtype=np.float64).reshape(-1, 4)
        _, firsts = np.unique(rows[:, 3], return_index=True)
        again = np.ones(len(rows), dtype=bool)
        again[firsts] = False
        return rows[:, 0], rows[:, 1], rows[:, 2], again

    def step_ns(self) -> NDArray[np.int64]:
        """When each step of the core ended, in ns."""
        if not self.runs:
            return np.zeros(0, np.int64)
        began, counts, first, growth, _, _ = self._columns
        steps = counts.astype(np.int64)
        ends = np.cumsum(steps)
        place = np.arange(1, ends[-1] + 1, dtype=np.float64) - np.repeat(ends - steps, steps)
        linear, square = np.repeat(first - growth / 2, steps), np.repeat(growth / 2, steps)
        times: NDArray[np.float64] = np.repeat(began, steps) + place * (linear + square * place)
        return np.rint(times * NS_PER_S).astype(np.int64)

    def usage(self, start_s: float, end_s: float) -> tuple[float, float]:
        """The share of KV blocks in use between two times: its mean over time, and the highest."""
        began, steps, first, growth, free_first, free_last = self._columns
        length = steps * (first + growth * (steps - 1) / 2)
        inside = np.clip(np.minimum(began + length, end_s) - np.maximum(began, start_s), 0.0, None)
        used_first, used_last = 1 - free_first / self.kv_blocks, 1 - free_last / self.kv_blocks
        touched = inside > 0
        mean = float(np.sum(inside * (used_first + used_last) / 2) / (end_s - start_s))
        return mean, float(used_last[touched].max()) if touched.any() else 0.0


def all_step_ns(recordings: Sequence[CoreRecording]) -> NDArray[np.int64]:
    """When each step of each core ended, in ns, core after core."""
    return np.concatenate([recording.step_ns() for recording in recordings])


def requests_of(
    recordings: Sequence[CoreRecording], sent: Sequence[Sent], schedule: Schedule, step_ns: NDArray[np.int64]
) -> Requests:
    """The records of all requests that were *sent*, by number, with every token's time in *step_ns*."""
    rows = sorted(sent)
    numbers = np.array([number for number, _, _ in rows], dtype=np.int64)
    sent_ns = np.rint(np.array([when for _, when, _ in rows]) * NS_PER_S).astype(np.int64)
    accepted = np.array([ok for _, _, ok in rows], dtype=bool)
    count = len(rows)
    stays = _Stays.of(recordings, numbers)
    chunks, tokens = stays.chunks(count), stays.tokens(count)
    first_ns, last_ns = np.full(count, NULL, np.int64), np.full(count, NULL, np.int64)
    first_ns[stays.row[::-1]] = step_ns[stays.first_step[::-1]]  # the earliest stay is written last
    last_ns[stays.row] = step_ns[stays.first_step + stays.steps - 1]
    return Requests(
        request_id=numbers,
        measured=np.ones(count, dtype=bool),
        scheduled_ns=sent_ns,
        sent_ns=sent_ns,
        first_token_ns=first_ns,
        last_token_ns=last_ns,
        end_ns=np.where(accepted, last_ns, sent_ns),
        outcome=np.where(accepted, OUTCOMES.index("ok"), OUTCOMES.index("http_error")).astype(np.int8),
        requested_input_tokens=schedule.input_tokens[numbers].astype(np.int64),
        requested_output_tokens=schedule.output_tokens[numbers].astype(np.int64),
        input_tokens=np.where(accepted, schedule.input_tokens[numbers], NULL).astype(np.int64),
        cached_tokens=np.where(accepted, stays.hits(count), NULL),
        output_tokens=np.where(accepted, tokens, NULL),
        gaps_ns=_gaps(stays, step_ns),
        gap_offsets=_offsets(np.maximum(chunks - 1, 0)),
        chunk_tokens=stays.chunk_tokens(),
        chunk_offsets=_offsets(chunks),
        session_id=None if schedule.session_id is None else schedule.session_id[numbers],
    )


def statistics_of(
    recordings: Sequence[CoreRecording], prefill: Sequence[CoreRecording], start_s: float, end_s: float
) -> ServerStatistics:
    """Running and waiting requests of all cores, KV usage and preemptions between two times, weighted by time.

    KV usage is that of the cores that answer. Prefix hits are of first admissions, where prompts are computed.
    """
    end_s = max(end_s, start_s + 1e-9)
    both = [*prefill, *recordings]
    running = waiting = preempted = 0.0
    for recording in both:
        queued, admitted, ended, again = recording.stay_times
        running += _overlap(admitted, ended, start_s, end_s)
        waiting += _overlap(queued, admitted, start_s, end_s)
        preempted += float(np.count_nonzero(again & (queued >= start_s) & (queued < end_s)))
    usage = [recording.usage(start_s, end_s) for recording in recordings]
    return ServerStatistics(
        running_mean=running / (end_s - start_s),
        waiting_mean=waiting / (end_s - start_s),
        kv_usage_mean=sum(mean for mean, _ in usage) / len(usage),
        kv_usage_max=max(highest for _, highest in usage),
        preemptions=preempted,
        prefix_hit_share=_hit_share(prefill or recordings, start_s, end_s),
    )


def _hit_share(recordings: Sequence[CoreRecording], start_s: float, end_s: float) -> float | None:
    """Prompt tokens found in the prefix cache over those looked up, of requests first admitted between two times."""
    hit = asked = 0
    for recording in recordings:
        if not recording.prefix_caching:
            continue
        _, admitted, _, again = recording.stay_times
        inside = (admitted >= start_s) & (admitted < end_s) & ~again
        found = np.array([(stay.hit, stay.prompt) for stay in recording.segments], dtype=np.int64).reshape(-1, 2)
        hit += int(found[inside, 0].sum())
        asked += int(found[inside, 1].sum())
    return hit / asked if asked else None


@dataclass(frozen=True, eq=False)
class _Stays:
    """The stays that gave tokens, request after request and in order: row of the request, first step, steps."""

    row: NDArray[np.int64]
    first_step: NDArray[np.int64]
    steps: NDArray[np.int64]
    segments: list[Segment]

    @classmethod
    def of(cls, recordings: Sequence[CoreRecording], numbers: NDArray[np.int64]) -> _Stays:
        """Those in *recordings*; steps are numbered through all cores."""
        placed: list[tuple[int, int, Segment]] = []
        before = 0
        for recording in recordings:
            placed += [(stay.number, before + stay.first_step, stay) for stay in recording.segments if stay.steps]
            before += sum(run[1] for run in recording.runs)
        placed.sort(key=lambda item: item[:2])
        rows = np.array([(number, first, stay.steps) for number, first, stay in placed], dtype=np.int64).reshape(-1, 3)
        row = np.searchsorted(numbers, rows[:, 0])
        return cls(row, rows[:, 1], rows[:, 2], [stay for _, _, stay in placed])

    def chunks(self, count: int) -> NDArray[np.int64]:
        """Steps that gave tokens, of each request."""
        return np.bincount(self.row, weights=self.steps, minlength=count).astype(np.int64)

    def tokens(self, count: int) -> NDArray[np.int64]:
        """Tokens of each request."""
        given = np.array([stay.tokens for stay in self.segments], dtype=np.float64)
        return np.bincount(self.row, weights=given, minlength=count).astype(np.int64)

    def hits(self, count: int) -> NDArray[np.int64]:
        """Prompt tokens of each request that were in the prefix cache when it was first admitted."""
        found = np.zeros(count, dtype=np.int64)
        found[self.row[::-1]] = [stay.hit for stay in reversed(self.segments)]
        return found

    def chunk_tokens(self) -> NDArray[np.int64]:
        """Tokens of every step that gave some."""
        if all(stay.gains is None for stay in self.segments):
            return np.broadcast_to(np.int64(1), (int(self.steps.sum()),))
        return np.array([gain for stay in self.segments for gain in stay.gains or (1,) * stay.steps], dtype=np.int64)


def _overlap(begins: NDArray[np.float64], ends: NDArray[np.float64], start_s: float, end_s: float) -> float:
    return float(np.clip(np.minimum(ends, end_s) - np.maximum(begins, start_s), 0.0, None).sum())


def _gaps(stays: _Stays, step_ns: NDArray[np.int64]) -> NDArray[np.int64]:
    """All gaps between tokens, request after request: a stay's are a slice of the gaps between steps."""
    if not len(stays.row):
        return np.zeros(0, np.int64)
    between = np.diff(step_ns)
    pieces: list[NDArray[np.int64]] = []
    last_row, last_step = -1, -1
    for row, first, count in zip(stays.row.tolist(), stays.first_step.tolist(), stays.steps.tolist(), strict=True):
        if row == last_row:
            pieces.append(step_ns[first : first + 1] - step_ns[last_step])
        pieces.append(between[first : first + count - 1])
        last_row, last_step = row, first + count - 1
    return np.concatenate(pieces)


def _offsets(counts: NDArray[np.int64]) -> NDArray[np.int64]:
    return np.concatenate([np.zeros(1, np.int64), np.cumsum(counts, dtype=np.int64)])
