"""What is asked of a server: lengths, arrival law, and the load points put to it."""

from __future__ import annotations

import re
from typing import Literal

from giq.catalog.use_cases import Lengths
from giq.documents import Entry, Positive, PositiveInt, canonical_json, content_id
from giq.errors import UsageError


class Arrival(Entry, frozen=True, kw_only=True):
    """The law of open-loop arrivals.

    `gamma` has `shape` k: gaps with coefficient of variation 1/sqrt(k) (k = 1 is Poisson, below 1 bursty).
    `trace` replays the file whose content has `trace_id`; its path is no part of the identity.
    """

    law: Literal["poisson", "constant", "gamma", "trace"] = "poisson"
    shape: Positive | None = None
    trace_id: str | None = None

    def __str__(self) -> str:
        if self.law == "gamma":
            return f"gamma:{self.shape:g}"
        return f"trace:{self.trace_id}" if self.law == "trace" else self.law


def parse_arrival(text: str) -> Arrival:
    """`poisson`, `constant` or `gamma:K` as an `Arrival` (a trace is read by `read_trace`).

    Raises:
        UsageError: any other.
    """
    if text in ("poisson", "constant"):
        return Arrival(law="poisson" if text == "poisson" else "constant")
    match = re.fullmatch(r"gamma:(\d+(?:\.\d+)?)", text)
    if match and float(match[1]) > 0:
        return Arrival(law="gamma", shape=float(match[1]))
    raise UsageError(f"unknown arrival law {text!r}", hint="Known: poisson, constant, gamma:K (K > 0), trace:FILE.")


class Sampling(Entry, frozen=True, kw_only=True):
    """How tokens are drawn; part of the workload because speculation and early stops depend on it."""

    temperature: float = 0.0
    ignore_eos: bool = True


class Workload(Entry, frozen=True, kw_only=True):
    """What every request of a curve is drawn from; together with the configuration it names the curve."""

    use_case: str | None = None
    input_tokens: Lengths
    output_tokens: Lengths
    arrival: Arrival = Arrival()
    sampling: Sampling = Sampling()
    modality: str = "text"

    @property
    def workload_id(self) -> str:
        """16 hex digits that name this workload."""
        return content_id(self)

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
