"""What the tokens of a window amount to: requests of the law's mean lengths, and prompts' share of the time."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from giq.curve.intervals import student_quantile
from giq.curve.point import Estimate
from giq.curve.requests import NULL, Requests
from giq.curve.window import Window
from giq.units import NS_PER_S

STRETCHES = 20
_FEWEST = 40
_UNEXPLAINED = 0.5


@dataclass(frozen=True)
class Work:
    """`rate`: requests/s of the law's mean lengths that the window's tokens amount to, if the server always had work.

    `prompt_share` is the share of its time that such a request's prompt takes. Neither means anything of a server that
    rests.
    """

    rate: Estimate
    prompt_share: float


def work_done(requests: Requests, window: Window, mean_lengths: tuple[float, float]) -> Work | None:
    """The work of *window*; None below 40 requests, or with work in one stretch alone.

    `mean_lengths` are the law's, input and output.

    Work is conserved: a server that always has some spends each stretch of time on the tokens of that stretch, so
    that its length = a x prompt tokens read + b x output tokens made. a and b follow by least squares over 20
    stretches, and with them the time of a request of mean lengths: what lengths happened to be drawn does not matter (a
    control variate). The interval is that of leaving each stretch out in turn (jackknife), and of half the spread of
    the count of requests: where the KV cache is full, a long prompt with a long output costs more than its tokens.
    """
    if served(requests).sum() < _FEWEST or window.seconds <= 0:
        return None
    edges = np.linspace(window.start_ns, window.end_ns, STRETCHES + 1)
    tokens = np.column_stack([np.diff(part) for part in _cumulated(requests, edges)])
    if np.count_nonzero(tokens, axis=0).min() < 2:  # nothing would be left where one stretch is left out
        return None
    shares = tokens / np.array(mean_lengths)
    length = window.seconds / STRETCHES
    prompt_s, output_s = _seconds(shares, length)
    rate = 1 / (prompt_s + output_s)
    left_out = np.array([1 / sum(_seconds(np.delete(shares, k, axis=0), length)) for k in range(STRETCHES)])
    spread = math.sqrt((STRETCHES - 1) / STRETCHES * float(((left_out - left_out.mean()) ** 2).sum()))
    counted = _UNEXPLAINED * rate / math.sqrt(int((served(requests) & window.holds(requests.last_token_ns)).sum()) or 1)
    width = student_quantile(0.95, STRETCHES - 2) * math.hypot(spread, counted)
    estimate = Estimate(value=rate, lo=max(rate - width, 0.0), hi=rate + width)
    return Work(estimate, prompt_s / (prompt_s + output_s))


def kv_held(requests: Requests, window: Window) -> float:
    """How many tokens' KV was held on average over *window*: of each request its prompt and what was made by then.

    An output is made evenly from the first token to the last: over a part of that, up to the middle of the part.
    """
    total = 0.0
    for part in requests.parts():
        answered = served(part)
        first, last = part.first_token_ns[answered], part.last_token_ns[answered]
        begun, ended = np.maximum(first, window.start_ns), np.minimum(last, window.end_ns)
        made = ((begun + ended) / 2 - first) / np.maximum(last - first, 1) * part.requested_output_tokens[answered]
        inside = np.maximum(ended - begun, 0) / NS_PER_S
        total += float(inside @ (part.requested_input_tokens[answered] + made))
    return total / window.seconds if window.seconds > 0 else 0.0


def served(requests: Requests) -> NDArray[np.bool_]:
    """The requests whose tokens are known to be made, and when."""
    came: NDArray[np.bool_] = (requests.first_token_ns != NULL) & (requests.last_token_ns != NULL)
    return requests.ok & came


def _cumulated(requests: Requests, edges_ns: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Prompt tokens read (all at the first token) and output tokens made (evenly up to the last) before each edge."""
    read, made = np.zeros(len(edges_ns) + 1), np.zeros(len(edges_ns))
    for part in requests.parts():
        answered = served(part)
        first, last = part.first_token_ns[answered], part.last_token_ns[answered]
        prompts, outputs = part.requested_input_tokens[answered], part.requested_output_tokens[answered]
        read += np.bincount(np.searchsorted(edges_ns, first), prompts, minlength=len(read))
        span = np.maximum(last - first, 1) / NS_PER_S
        made += [float(np.clip((edge - first) / NS_PER_S / span, 0, 1) @ outputs) for edge in edges_ns]
    return np.cumsum(read)[:-1], made


def _seconds(shares: NDArray[np.float64], length: float) -> tuple[float, float]:
    """Seconds of a mean request's prompt and output: least squares without a negative one."""
    wanted = np.full(len(shares), length)
    (prompt, output), *_ = np.linalg.lstsq(shares, wanted, rcond=None)
    if prompt < 0:
        return 0.0, length * len(shares) / float(shares[:, 1].sum())
    if output < 0:
        return length * len(shares) / float(shares[:, 0].sum()), 0.0
    return float(prompt), float(output)
