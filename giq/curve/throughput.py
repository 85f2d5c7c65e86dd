"""Tokens placed in time: how many were received, and sent, in a window."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from giq.curve.latencies import output_counts
from giq.curve.requests import NULL, Counts, Requests
from giq.curve.window import Window


def output_tokens_in(requests: Requests, window: Window) -> int:
    """Output tokens received in *window*, of whichever request, failed ones too.

    A chunk's tokens are received when it came. Where a request's tokens per chunk are unknown each chunk has
    one and the last also the remainder of the server's count (fewer tokens than chunks: the last have none).
    """
    return sum(_received(part, window) for part in requests.parts())


def _received(requests: Requests, window: Window) -> int:
    came = requests.first_token_ns != NULL
    chunks = np.where(came, np.diff(requests.gap_offsets) + 1, 0)
    since = _summed(requests.gaps_ns)
    begin = requests.gap_offsets[:-1]
    last_ns = requests.first_token_ns + since[requests.gap_offsets[1:]] - since[begin]
    touched = came & (requests.first_token_ns < window.end_ns) & (last_ns >= window.start_ns)
    whole = touched & window.holds(requests.first_token_ns) & window.holds(last_ns)
    known = np.diff(requests.chunk_offsets) == chunks
    cumulated = _summed(requests.chunk_tokens)
    in_whole = np.where(known, np.diff(cumulated[requests.chunk_offsets]), output_counts(requests))[whole]
    # those of requests that reach over an edge: found among ordered times, or token by token
    cut = touched & ~whole
    ordered = np.flatnonzero(cut & known & (requests.gaps_ns.min(initial=0) >= 0))
    shift = since[begin[ordered]] - requests.first_token_ns[ordered]
    edges = [np.searchsorted(since, shift + edge) - begin[ordered] for edge in (window.start_ns, window.end_ns)]
    first, end = (requests.chunk_offsets[ordered] + np.clip(edge, 0, chunks[ordered]) for edge in edges)
    inside = int((cumulated[end] - cumulated[first]).sum())
    cut[ordered] = False
    return int(in_whole.sum()) + inside + _token_by_token(requests, window, np.flatnonzero(cut))


def _summed(counts: Counts) -> NDArray[np.int64]:
    """The sum of the first 0, 1, 2 ... of *counts*."""
    sums = np.zeros(len(counts) + 1, dtype=np.int64)
    np.cumsum(counts, out=sums[1:])
    return sums


def _token_by_token(requests: Requests, window: Window, cut: NDArray[np.intp]) -> int:
    """The tokens that requests with the numbers *cut*, all of which got some, received in *window*."""
    chunks = np.diff(requests.gap_offsets) + 1
    since = _summed(requests.gaps_ns)
    begin = requests.gap_offsets[:-1]
    owner = np.repeat(cut, chunks[cut])
    number = np.arange(len(owner)) - np.repeat(np.cumsum(chunks[cut]) - chunks[cut], chunks[cut])
    times = requests.first_token_ns[owner] + since[begin[owner] + number] - since[begin[owner]]
    return int(_tokens(requests, chunks, owner, number)[window.holds(times)].sum())


def _tokens(
    requests: Requests, chunks: NDArray[np.int64], owner: NDArray[np.int64], number: NDArray[np.int64]
) -> NDArray[np.int64]:
    """The tokens in each chunk."""
    total = output_counts(requests)
    tokens = (number < total[owner]).astype(np.int64)
    last = number == chunks[owner] - 1
    tokens[last] += np.maximum(total - chunks, 0)[owner[last]]
    known = (np.diff(requests.chunk_offsets) == chunks)[owner]
    tokens[known] = requests.chunk_tokens[(requests.chunk_offsets[:-1][owner] + number)[known]]
    return tokens


def input_tokens_in(requests: Requests, window: Window) -> int:
    """Input tokens of the requests whose first token came in *window*: by then all their input was read."""
    came = (requests.first_token_ns != NULL) & window.holds(requests.first_token_ns)
    return int(input_counts(requests)[came].sum())


def input_counts(requests: Requests) -> NDArray[np.int64]:
    """Input tokens of each request: the server's count, without it what was asked for."""
    return np.where(requests.input_tokens == NULL, requests.requested_input_tokens, requests.input_tokens)
