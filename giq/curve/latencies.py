"""The latencies of each request, as DESIGN's words define them."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from giq.curve.requests import NULL, Counts, Requests
from giq.curve.targets import Target
from giq.units import NS_PER_S

Seconds = NDArray[np.float64]


class Latencies:
    """Seconds per request (float64): infinite for one that did not succeed, NaN where undefined.

    ttft = first token - sent; ttft_scheduled = first token - scheduled; latency = end - sent;
    latency_scheduled = end - scheduled; tpot = (latency - ttft) / (output tokens - 1), undefined below 2;
    ntpot = latency / output tokens, undefined without any; schedule_delay = sent - scheduled, of failed
    requests too. A request that succeeded without a token has an infinite TTFT: no token ever came.

    Each is made when it is asked for: of a million requests not all seven should be in memory at once.
    """

    def __init__(self, requests: Requests) -> None:
        self._requests = requests
        self._came = requests.ok & (requests.first_token_ns != NULL)
        unknown = requests.end_ns == NULL
        self._ended = np.where(unknown, requests.last_token_ns, requests.end_ns) if unknown.any() else requests.end_ns
        self._done = requests.ok & (self._ended != NULL)

    @property
    def ttft(self) -> Seconds:
        """From sent to the first token."""
        return _seconds(self._requests.first_token_ns - self._requests.sent_ns, self._came)

    @property
    def ttft_scheduled(self) -> Seconds:
        """From scheduled to the first token."""
        return _seconds(self._requests.first_token_ns - self._requests.scheduled_ns, self._came)

    @property
    def tpot(self) -> Seconds:
        """Per output token after the first."""
        decoding = _seconds(self._ended - self._requests.first_token_ns, self._came & self._done)
        return _per_token(decoding, output_counts(self._requests) - 1, self._requests.ok)

    @property
    def ntpot(self) -> Seconds:
        """Latency per output token."""
        return _per_token(self.latency, output_counts(self._requests), self._requests.ok)

    @property
    def latency(self) -> Seconds:
        """From sent to the end."""
        return _seconds(self._ended - self._requests.sent_ns, self._done)

    @property
    def latency_scheduled(self) -> Seconds:
        """From scheduled to the end."""
        return _seconds(self._ended - self._requests.scheduled_ns, self._done)

    @property
    def schedule_delay(self) -> Seconds:
        """From scheduled to sent."""
        delays: Seconds = (self._requests.sent_ns - self._requests.scheduled_ns) / NS_PER_S
        return delays


def latencies(requests: Requests) -> Latencies:
    """The latencies of *requests*, in their order."""
    return Latencies(requests)


def output_counts(requests: Requests) -> Counts:
    """Output tokens of each request: the server's count; without it the tokens in its chunks, or its chunks."""
    if (requests.output_tokens != NULL).all():
        return requests.output_tokens
    return np.concatenate([_output_counts(part) for part in requests.parts()])


def _output_counts(requests: Requests) -> Counts:
    cumulated = np.concatenate([[0], np.cumsum(requests.chunk_tokens, dtype=np.int64)])
    in_chunks = np.diff(cumulated[requests.chunk_offsets])
    chunks = np.where(requests.first_token_ns == NULL, 0, np.diff(requests.gap_offsets) + 1)
    counted = np.where(np.diff(requests.chunk_offsets) > 0, in_chunks, chunks)
    return np.where(requests.output_tokens == NULL, counted, requests.output_tokens)


def meeting(requests: Requests, found: Latencies, targets: Iterable[Target], load_kind: str) -> NDArray[np.bool_]:
    """Which requests meet every one of *targets* by itself.

    A failed request meets none. One for which a metric is undefined (TPOT of a single token) meets its target;
    an ITL target is met when the request's own gaps keep their percentile within it.
    """
    meets = requests.ok.copy()
    for target in targets:
        if target.metric == "itl":
            meets &= _gaps_within(requests, target)
        else:
            meets &= ~(getattr(found, target.judged(load_kind)) > target.seconds)
    return meets


def _gaps_within(requests: Requests, target: Target) -> NDArray[np.bool_]:
    short = requests.gaps_ns <= target.seconds * NS_PER_S
    counted = np.concatenate([[0], np.cumsum(short)])
    within: NDArray[np.bool_] = 100 * np.diff(counted[requests.gap_offsets]) >= target.percent * np.diff(
        requests.gap_offsets
    )
    return within


def _seconds(elapsed_ns: NDArray[np.int64], known: NDArray[np.bool_]) -> Seconds:
    found: Seconds = elapsed_ns / NS_PER_S
    found[~known] = np.inf
    return found


def _per_token(elapsed: Seconds, tokens: Counts, ok: NDArray[np.bool_]) -> Seconds:
    """*elapsed* per token; of a request that succeeded undefined without any, of one that failed infinite."""
    share: Seconds = elapsed / np.maximum(tokens, 1)
    share[ok & (tokens < 1)] = np.nan
    return share
