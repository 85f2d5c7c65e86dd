"""The latencies of each request, as DESIGN's words define them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from giq.curve.requests import NULL, Requests
from giq.curve.targets import Target
from giq.units import NS_PER_S

Seconds = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Latencies:
    """Seconds per request (float64): infinite for one that did not succeed, NaN where undefined.

    ttft = first token - sent; ttft_scheduled = first token - scheduled; latency = end - sent;
    latency_scheduled = end - scheduled; tpot = (latency - ttft) / (output tokens - 1), undefined below 2;
    ntpot = latency / output tokens, undefined without any; schedule_delay = sent - scheduled, of failed
    requests too. A request that succeeded without a token has an infinite TTFT: no token ever came.
    """

    ttft: Seconds
    ttft_scheduled: Seconds
    tpot: Seconds
    ntpot: Seconds
    latency: Seconds
    latency_scheduled: Seconds
    schedule_delay: Seconds


def latencies(requests: Requests) -> Latencies:
    """The latencies of *requests*, in their order."""
    came = requests.ok & (requests.first_token_ns != NULL)
    ended = np.where(requests.end_ns == NULL, requests.last_token_ns, requests.end_ns)
    done = requests.ok & (ended != NULL)
    tokens = output_counts(requests)
    ttft = _seconds(requests.first_token_ns - requests.sent_ns, came)
    latency = _seconds(ended - requests.sent_ns, done)
    decoding = _seconds(ended - requests.first_token_ns, came & done)
    return Latencies(
        ttft=ttft,
        ttft_scheduled=_seconds(requests.first_token_ns - requests.scheduled_ns, came),
        tpot=_per_token(decoding, tokens - 1, requests.ok),
        ntpot=_per_token(latency, tokens, requests.ok),
        latency=latency,
        latency_scheduled=_seconds(ended - requests.scheduled_ns, done),
        schedule_delay=(requests.sent_ns - requests.scheduled_ns) / NS_PER_S,
    )


def output_counts(requests: Requests) -> NDArray[np.int64]:
    """Output tokens of each request: the server's count; without it the tokens in its chunks, or its chunks."""
    cumulated = np.concatenate([[0], np.cumsum(requests.chunk_tokens)])
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
    return np.where(known, elapsed_ns / NS_PER_S, np.inf)


def _per_token(elapsed: Seconds, tokens: NDArray[np.int64], ok: NDArray[np.bool_]) -> Seconds:
    """*elapsed* per token; of a request that succeeded undefined without any, of one that failed infinite."""
    share = elapsed / np.maximum(tokens, 1)
    return np.where(ok & (tokens < 1), np.nan, share)
