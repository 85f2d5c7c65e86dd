"""What a simulation notes while it runs, and how requests and server statistics are read off it."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from giq.curve.requests import NULL, OUTCOMES, Requests
from giq.curve.server_statistics import ServerStatistics
from giq.engine.sequence import Segment
from giq.units import NS_PER_S
from giq.workload.schedule import Schedule

Run = tuple[float, int, float, float, int, int]
"""A run of equal steps: when it began, steps, seconds of the first, growth a step, free blocks at start and end."""


class Recording:
    """Runs of steps, stays of requests in the batch, and what was sent when; seconds on the virtual clock.

    `sent` has one entry per request sent, in order: when, and whether it was accepted.
    """

    def __init__(self, requests: int, kv_blocks: int) -> None:
        self.runs: list[Run] = []
        self.segments: list[Segment] = []
        self.sent: list[tuple[float, bool]] = []
        self._requests = requests
        self._kv_blocks = kv_blocks

    def step_ns(self) -> NDArray[np.int64]:
        """When each step of the engine ended, in ns."""
        if not self.runs:
            return np.zeros(0, np.int64)
        began, steps, first, growth, _, _ = (np.array(column) for column in zip(*self.runs, strict=True))
        steps = steps.astype(np.int64)
        ends = np.cumsum(steps)
        place = np.arange(1, ends[-1] + 1, dtype=np.float64) - np.repeat(ends - steps, steps)
        linear, square = np.repeat(first - growth / 2, steps), np.repeat(growth / 2, steps)
        times: NDArray[np.float64] = np.repeat(began, steps) + place * (linear + square * place)
        return np.rint(times * NS_PER_S).astype(np.int64)

    def requests(self, schedule: Schedule, step_ns: NDArray[np.int64]) -> Requests:
        """The records of all requests that were sent, with every token's time."""
        stays = sorted(self.segments, key=lambda stay: stay.number)  # stable: stays of one request keep their order
        stays = [stay for stay in stays if stay.tokens]
        count = len(self.sent)
        sent_ns = np.rint(np.array([when for when, _ in self.sent]) * NS_PER_S).astype(np.int64)
        accepted = np.array([ok for _, ok in self.sent], dtype=bool)
        number, first_step, tokens = _columns(stays)
        output_tokens = np.bincount(number, weights=tokens, minlength=count).astype(np.int64)
        first_ns, last_ns = np.full(count, NULL, np.int64), np.full(count, NULL, np.int64)
        first_ns[number[::-1]] = step_ns[first_step[::-1]]  # the earliest stay is written last
        last_ns[number] = step_ns[first_step + tokens - 1]
        return Requests(
            request_id=np.arange(count, dtype=np.int64),
            measured=np.ones(count, dtype=bool),
            scheduled_ns=sent_ns,
            sent_ns=sent_ns,
            first_token_ns=first_ns,
            last_token_ns=last_ns,
            end_ns=np.where(accepted, last_ns, sent_ns),
            outcome=np.where(accepted, OUTCOMES.index("ok"), OUTCOMES.index("http_error")).astype(np.int8),
            requested_input_tokens=schedule.input_tokens[:count].astype(np.int64),
            requested_output_tokens=schedule.output_tokens[:count].astype(np.int64),
            input_tokens=np.where(accepted, schedule.input_tokens[:count], NULL).astype(np.int64),
            cached_tokens=np.where(accepted, 0, NULL).astype(np.int64),
            output_tokens=np.where(accepted, output_tokens, NULL),
            gaps_ns=_gaps(number, first_step, tokens, step_ns),
            gap_offsets=_offsets(np.maximum(output_tokens - 1, 0)),
            chunk_tokens=np.broadcast_to(np.int64(1), (int(output_tokens.sum()),)),
            chunk_offsets=_offsets(output_tokens),
        )

    def statistics(self, start_s: float, end_s: float) -> ServerStatistics:
        """Running and waiting requests, KV usage and preemptions between two times, weighted by time."""
        span = max(end_s - start_s, 1e-9)
        queued, admitted, ended, again = _stay_times(self.segments)
        began, length, used_first, used_last = self._usage()
        inside = np.clip(np.minimum(began + length, end_s) - np.maximum(began, start_s), 0.0, None)
        touched = inside > 0
        return ServerStatistics(
            running_mean=_overlap(admitted, ended, start_s, end_s) / span,
            waiting_mean=_overlap(queued, admitted, start_s, end_s) / span,
            kv_usage_mean=float(np.sum(inside * (used_first + used_last) / 2) / span),
            kv_usage_max=float(used_last[touched].max()) if touched.any() else 0.0,
            preemptions=float(np.count_nonzero(again & (queued >= start_s) & (queued < end_s))),
            prefix_hit_share=None,
        )

    def _usage(self) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
        """Of each run: when it began, its length, and the share of KV blocks in use as it began and ended."""
        runs = np.array(self.runs, dtype=np.float64).reshape(-1, 6)
        began, steps, first, growth, free_first, free_last = runs.T
        length = steps * (first + growth * (steps - 1) / 2)
        return began, length, 1 - free_first / self._kv_blocks, 1 - free_last / self._kv_blocks


def _columns(stays: list[Segment]) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Request, first step and tokens of *stays*."""
    rows = np.array([(stay.number, stay.first_step, stay.tokens) for stay in stays], dtype=np.int64).reshape(-1, 3)
    return rows[:, 0], rows[:, 1], rows[:, 2]


def _stay_times(
    stays: list[Segment],
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64], NDArray[np.bool_]]:
    """When each stay was queued, admitted and ended, and whether it follows a preemption."""
    times = [(stay.queued_at, stay.admitted_at, stay.ended_at, stay.number) for stay in stays]
    rows = np.array(times, dtype=np.float64).reshape(-1, 4)
    _, firsts = np.unique(rows[:, 3], return_index=True)
    again = np.ones(len(rows), dtype=bool)
    again[firsts] = False
    return rows[:, 0], rows[:, 1], rows[:, 2], again


def _overlap(begins: NDArray[np.float64], ends: NDArray[np.float64], start_s: float, end_s: float) -> float:
    return float(np.clip(np.minimum(ends, end_s) - np.maximum(begins, start_s), 0.0, None).sum())


def _gaps(
    number: NDArray[np.int64], first_step: NDArray[np.int64], tokens: NDArray[np.int64], step_ns: NDArray[np.int64]
) -> NDArray[np.int64]:
    """All gaps between tokens, request after request: a stay's are a slice of the gaps between steps."""
    if not len(number):
        return np.zeros(0, np.int64)
    between = np.diff(step_ns)
    pieces: list[NDArray[np.int64]] = []
    last_number, last_step = -1, -1
    for which, first, count in zip(number.tolist(), first_step.tolist(), tokens.tolist(), strict=True):
        if which == last_number:
            pieces.append(step_ns[first : first + 1] - step_ns[last_step])
        pieces.append(between[first : first + count - 1])
        last_number, last_step = which, first + count - 1
    return np.concatenate(pieces)


def _offsets(counts: NDArray[np.int64]) -> NDArray[np.int64]:
    return np.concatenate([np.zeros(1, np.int64), np.cumsum(counts, dtype=np.int64)])
