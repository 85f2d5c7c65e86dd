"""A stand-in for the server: continuous batching in four numbers, to tell what a load's own chance did to it."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from heapq import heappop, heappush
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import NDArray

from giq.catalog.configuration import ServingConfiguration
from giq.curve.requests import NULL, Requests
from giq.units import NS_PER_S

BATCHED_TOKENS = 2048
"""Tokens of a step where the configuration does not tell."""
_FEWEST = 40
_FEWEST_TOKENS = 4
_GAINED = 0.999

Floats = NDArray[np.float64]
Lengths = NDArray[np.integer[Any]]


@dataclass(frozen=True)
class Limits:
    """What a server runs at most: sequences, tokens in a step (prompts' parts included), tokens of KV cache."""

    sequences: float = math.inf
    step_tokens: int = BATCHED_TOKENS
    kv_tokens: float = math.inf

    @classmethod
    def of(cls, config: ServingConfiguration, kv_tokens: float = math.inf) -> Limits:
        """Those that the engine arguments of *config* name."""
        told = config.components[0].engine_args
        sequences, tokens = told.get("max_num_seqs"), told.get("max_num_batched_tokens")
        return cls(
            float(sequences) if isinstance(sequences, int) else math.inf,
            tokens if isinstance(tokens, int) else BATCHED_TOKENS,
            kv_tokens,
        )


@dataclass(frozen=True)
class StandIn:
    """A server whose steps take `step_s`, and more for each sequence that decodes, token held and prompt token read.

    First come, first served: a step has a token of each running sequence, then as much of the waiting prompts as
    `limits` allow; where the KV cache is full the youngest loses its own. It is not the server; it is like enough to be
    asked how much of what was seen was the luck of the draw.
    """

    step_s: float
    sequence_s: float
    held_token_s: float
    prompt_token_s: float
    limits: Limits = Limits()

    def answers(self, arrivals_s: Floats, inputs: Lengths, outputs: Lengths) -> tuple[Floats, Floats]:
        """When the first and the last token of each request came, in s; *arrivals_s* ascend."""
        return _Run(self, arrivals_s.tolist(), inputs, outputs).drive()

    def prompt_share(self, prompt: float, output: float) -> float:
        """The share of its time that a full server spends on the prompt of a request of such lengths."""
        prompt_s = self.prompt_token_s * prompt
        output_s = (self.sequence_s + self.held_token_s * (prompt + output / 2)) * output
        return prompt_s / (prompt_s + output_s) if prompt_s + output_s > 0 else 0.0

    def answers_in_turn(self, slots: int, inputs: Lengths, outputs: Lengths) -> tuple[Floats, Floats]:
        """The same where *slots* requests are in flight all the time: the next arrives when one has ended."""
        return _Run(self, [0.0] * min(slots, len(inputs)), inputs, outputs).drive()


class _Run:
    """The steps of a stand-in, one after the other; those without a prompt that nothing interrupts all at once."""

    def __init__(self, server: StandIn, arrivals_s: list[float], inputs: Lengths, outputs: Lengths) -> None:
        self.server, self.limits = server, server.limits
        self.arrivals = arrivals_s  # of those that are not there yet, one is as soon as another ends
        self.prompts: list[int] = inputs.tolist()  # of one that lost its cache also what it had made
        self.left: list[int] = np.maximum(outputs, 1).tolist()
        self.first, self.last = np.zeros(len(inputs)), np.zeros(len(inputs))
        self.now, self.steps, self.following, self.held = self.arrivals[0], 0, 0, 0
        self.waiting: deque[int] = deque()
        self.reading: deque[list[int]] = deque()
        self.ends: list[tuple[int, int]] = []
        self.since: dict[int, int] = {}  # of those that decode, in the order in which they began: the step

    def drive(self) -> tuple[Floats, Floats]:
        """Serve all requests."""
        arrivals = self.arrivals
        while self.following < len(arrivals) or self.waiting or self.reading or self.since:
            while self.following < len(arrivals) and arrivals[self.following] <= self.now:
                self.waiting.append(self.following)
                self.following += 1
            if self.waiting:
                self.admit()
            if self.held + len(self.since) > self.limits.kv_tokens and len(self.since) > 1:
                self.preempt()
            if self.reading:
                self.read()
            elif self.since:
                self.decode()
            else:
                self.now = max(self.now, arrivals[self.following])
        return self.first, self.last

    def admit(self) -> None:
        """Let waiting requests in while sequences and KV cache allow; one is always let in."""
        running = len(self.since) + len(self.reading)
        while self.waiting:
            prompt = self.prompts[self.waiting[0]]
            if running and (running >= self.limits.sequences or self.held + prompt > self.limits.kv_tokens):
                return
            self.reading.append([self.waiting.popleft(), prompt])
            self.held += prompt
            running += 1

    def preempt(self) -> None:
        """Take the cache from the request that began last; it computes all it had anew."""
        request, since = self.since.popitem()
        made = self.steps - since
        self.held -= self.prompts[request] + made
        self.prompts[request] += made
        self.left[request] -= made
        self.waiting.appendleft(request)

    def read(self) -> None:
        """One step with parts of prompts."""
        room = max(self.limits.step_tokens - len(self.since), 1)
        tokens, read = 0, []
        while self.reading and tokens < room:
            head = self.reading[0]
            taken = min(head[1], room - tokens)
            head[1] -= taken
            tokens += taken
            if head[1] == 0:
                read.append(head[0])
                self.reading.popleft()
        self.now += self.step_s() + self.server.prompt_token_s * tokens
        self.steps += 1
        self.held += len(self.since)
        for request in read:
            if not self.first[request]:
                self.first[request] = self.now
            self.since[request] = self.steps
            heappush(self.ends, (self.steps + self.left[request] - 1, request))
        self.end()

    def decode(self) -> None:
        """All steps up to the next end, the next arrival or a full cache."""
        step_s, running = self.step_s(), len(self.since)
        steps = self.ends[0][0] - self.steps
        if math.isfinite(self.limits.kv_tokens):
            steps = min(steps, int((self.limits.kv_tokens - self.held) // running))
        if self.following < len(self.arrivals) and step_s > 0:
            steps = min(steps, math.ceil((self.arrivals[self.following] - self.now) / step_s))
        steps = max(steps, 1)
        self.steps += steps
        self.now += steps * step_s + self.server.held_token_s * running * steps * (steps - 1) / 2
        self.held += running * steps
        self.end()

    def step_s(self) -> float:
        """How long a step without prompts takes now."""
        server = self.server
        return server.step_s + server.sequence_s * len(self.since) + server.held_token_s * self.held

    def end(self) -> None:
        """Let go those whose last token came; an end that a preemption put off is none."""
        while self.ends and self.ends[0][0] <= self.steps:
            end, request = heappop(self.ends)
            since = self.since.get(request)
            if since is not None and since + self.left[request] - 1 == end:
                del self.since[request]
                self.last[request] = self.now
                self.held -= self.prompts[request] + end - since
                if len(self.arrivals) < len(self.prompts):
                    self.arrivals.append(self.now)
        while self.ends and self.ends[0][1] not in self.since:
            heappop(self.ends)


def fitted(requests: Requests, limits: Limits) -> StandIn | None:
    """The stand-in that explains how long each request decoded; None where too few tell.

    From its first token to its last a request takes part in (output tokens - 1) steps; they make a token of each
    running sequence, with all that these hold in the cache, and read the prompts that come meanwhile: four known sums,
    whose coefficients follow by least squares without a negative one.
    """
    known = (requests.first_token_ns != NULL) & (requests.last_token_ns != NULL)
    known &= requests.ok & (requests.requested_output_tokens > _FEWEST_TOKENS)
    if known.sum() < _FEWEST:
        return None
    first, last = requests.first_token_ns[known] / NS_PER_S, requests.last_token_ns[known] / NS_PER_S
    lasted = np.maximum(last - first, 1 / NS_PER_S)
    prompts, outputs = (
        of[known].astype(np.float64) for of in (requests.requested_input_tokens, requests.requested_output_tokens)
    )
    read, steps = _read_before(first, prompts), outputs - 1.0
    made, held = _summed(first, last, steps / lasted), _summed(first, last, prompts + outputs / 2)
    running, holding = made(last) - made(first), steps * (held(last) - held(first)) / lasted
    sums = np.column_stack([steps, running, holding, read(last) - read(first)])
    step_s, sequence_s, held_token_s, prompt_token_s = _not_negative(sums, lasted)
    decodes = step_s + sequence_s + held_token_s > 0
    return StandIn(step_s, sequence_s, held_token_s, prompt_token_s, limits) if decodes else None


def _read_before(first: Floats, prompts: Floats) -> Callable[[Floats], Floats]:
    """How many prompt tokens were read up to a time: each prompt's at its first token."""
    order = np.argsort(first, kind="stable")
    times, read = first[order], np.concatenate([[0.0], np.cumsum(prompts[order])])
    return lambda at: read[np.searchsorted(times, at, side="right")]


def _summed(first: Floats, last: Floats, speeds: Floats) -> Callable[[Floats], Floats]:
    """The time integral of *speeds*, each of which holds from *first* to *last*, up to a time."""
    times, changes = np.concatenate([first, last]), np.concatenate([speeds, -speeds])
    order = np.argsort(times, kind="stable")
    times = times[order]
    total = np.concatenate([[0.0], np.cumsum(np.cumsum(changes[order])[:-1] * np.diff(times))])
    return lambda at: np.interp(at, times, total)


def _not_negative(sums: Floats, seconds: Floats) -> list[float]:
    """The coefficients of *seconds* on *sums* that are not negative, by least squares weighted by 1 / *seconds*."""
    weight, width = 1 / np.sqrt(seconds), sums.shape[1]
    best, found = math.inf, np.zeros(width)
    for columns in (list(some) for several in range(width, 0, -1) for some in combinations(range(width), several)):
        chosen = sums[:, columns] * weight[:, None]
        solved, *_ = np.linalg.lstsq(chosen, seconds * weight, rcond=None)
        squares = float(((chosen @ solved - seconds * weight) ** 2).sum())
        if (solved >= 0).all() and squares < _GAINED * best:
            best, found = squares, np.zeros(width)
            found[columns] = solved
    told: list[float] = found.tolist()
    return told
