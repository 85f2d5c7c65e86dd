"""What is asked of a server: lengths, arrival law, and the load points put to it."""

from __future__ import annotations

import re
from typing import Literal

from giq.catalog.use_cases import Lengths
from giq.documents import Entry, NonNegative, Positive, PositiveInt, canonical_json, content_id
from giq.errors import UsageError
from giq.workload.conversation import Conversation
from giq.workload.shared_prefix import SharedPrefix


class Arrival(Entry, frozen=True, kw_only=True):
    """The law of open-loop arrivals.

    `gamma` has `shape` k: gaps with coefficient of variation 1/sqrt(k) (k = 1 is Poisson, below 1 bursty).
    `trace` replays the file whose content has `trace_id`; its path is no part of the identity.
    `ramp` lets the rate go in a straight line from `from_rps` to `to_rps` over the load point: a Poisson process
    of that rate, or when `even` the same moments every time. It is no steady state, and no capacity is read off it.
    """

    law: Literal["poisson", "constant", "gamma", "trace", "ramp"] = "poisson"
    shape: Positive | None = None
    trace_id: str | None = None
    from_rps: NonNegative | None = None
    to_rps: NonNegative | None = None
    even: bool = False

    def __str__(self) -> str:
        if self.law == "gamma":
            return f"gamma:{self.shape:g}"
        if self.law == "ramp":
            return f"ramp:{self.from_rps:g}-{self.to_rps:g}{',constant' if self.even else ''}"
        return f"trace:{self.trace_id}" if self.law == "trace" else self.law

    @property
    def is_steady(self) -> bool:
        """Whether it holds one rate, so that a steady state can be found under it."""
        return self.law != "ramp"

    @property
    def mean_rps(self) -> float | None:
        """The mean rate of a ramp in requests/s; None for the laws that hold at any rate."""
        return None if self.law != "ramp" else ((self.from_rps or 0.0) + (self.to_rps or 0.0)) / 2


def parse_arrival(text: str) -> Arrival:
    """`poisson`, `constant`, `gamma:K` or `ramp:FROM-TO[,constant]` as an `Arrival` (`read_trace` reads a trace).

    Raises:
        UsageError: any other.
    """
    if text in ("poisson", "constant"):
        return Arrival(law="poisson" if text == "poisson" else "constant")
    match = re.fullmatch(r"gamma:(\d+(?:\.\d+)?)", text)
    if match and float(match[1]) > 0:
        return Arrival(law="gamma", shape=float(match[1]))
    if text.startswith("ramp:"):
        return _ramp(text)
    raise UsageError(
        f"unknown arrival law {text!r}",
        hint="Known: poisson, constant, gamma:K (K > 0), ramp:FROM-TO (requests/s), trace:FILE.",
    )


def _ramp(text: str) -> Arrival:
    number = r"(\d+(?:\.\d+)?)"
    match = re.fullmatch(f"ramp:{number}-{number}(,poisson|,constant)?", text)
    if match is None or float(match[1]) == float(match[2]):
        raise UsageError(
            f"{text!r} is no ramp",
            hint="Give two different rates in requests/s, like ramp:2-20, ramp:20-2 or ramp:2-20,constant.",
        )
    return Arrival(law="ramp", from_rps=float(match[1]), to_rps=float(match[2]), even=match[3] == ",constant")


class Sampling(Entry, frozen=True, kw_only=True):
    """How tokens are drawn; part of the workload because speculation and early stops depend on it."""

    temperature: float = 0.0
    ignore_eos: bool = True


class Workload(Entry, frozen=True, kw_only=True):
    """What every request of a curve is drawn from; together with the configuration it names the curve.

    `input_tokens` is the whole prompt, with its `shared_prefix` where there is one. In a `conversation` it is the
    first turn's prompt; every later turn adds as much as is its own (without the prefix) to the history.
    """

    use_case: str | None = None
    input_tokens: Lengths
    output_tokens: Lengths
    arrival: Arrival = Arrival()
    sampling: Sampling = Sampling()
    modality: str = "text"
    shared_prefix: SharedPrefix | None = None
    conversation: Conversation | None = None

    @property
    def workload_id(self) -> str:
        """16 hex digits that name this workload."""
        return content_id(self)

    @property
    def is_plain(self) -> bool:
        """Whether each request is drawn alone, from a law that holds one rate."""
        told = self.conversation is not None or self.shared_prefix is not None or self.arrival.law == "trace"
        return not told and self.arrival.is_steady

    def canonical(self) -> str:
        """The canonical JSON that `workload_id` is made from."""
        return canonical_json(self)


class OpenLoad(Entry, frozen=True, kw_only=True, tag="open", tag_field="kind"):
    """Requests are sent at `rate_rps` requests a second on average, whether or not answers come."""

    rate_rps: Positive

    def __str__(self) -> str:
        return f"{self.rate_rps:g} req/s"


class ClosedLoad(Entry, frozen=True, kw_only=True, tag="closed", tag_field="kind"):
    """`concurrency` requests are kept in flight: a new one is sent when one ends."""

    concurrency: PositiveInt

    def __str__(self) -> str:
        return f"{self.concurrency} in flight"


Load = OpenLoad | ClosedLoad


class Stop(Entry, frozen=True, kw_only=True):
    """When a load point ends: after so many requests or seconds, whichever comes first."""

    requests: PositiveInt | None = None
    duration_s: Positive | None = None
