"""The summary of a load point: from its records to a `Point`."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from giq import documents
from giq.curve.chance import Held, expected
from giq.curve.completions import Turns, completions
from giq.curve.foresight import foreseen
from giq.curve.in_flight import falls_behind, in_flight
from giq.curve.intervals import batch_count, batch_labels, distribution, pool, pool_of_gaps
from giq.curve.latencies import latencies, meeting
from giq.curve.point import GRID_METRICS, Attainment, Distribution, Estimate, Expected, Foreseen, Point, Provenance
from giq.curve.realised import mean_lengths
from giq.curve.requests import NULL, Requests
from giq.curve.server_statistics import ServerStatistics
from giq.curve.stand_in import Limits
from giq.curve.targets import Target, requests_needed, thresholds
from giq.curve.throughput import input_counts, input_tokens_in, output_tokens_in
from giq.curve.window import Window
from giq.curve.work import kv_held, work_done
from giq.workload.workload import ClosedLoad, Load, OpenLoad, Workload

_LARGE_SHARE = 0.01
_LEAST_USED = 0.02
_WAITS, _KV_FULL = 0.2, 0.9
"""Where so many wait for each that runs, all places are taken nearly all the time; or the KV cache is so full."""
_UNFINISHED_SHARE = 0.15
_PER_REQUEST = ("ttft", "ttft_scheduled", "tpot", "ntpot", "latency", "latency_scheduled", "schedule_delay")
_FROM_SENT = {"ttft_scheduled": "ttft", "latency_scheduled": "latency"}
"""What is the same where everything is sent when it is scheduled."""


@dataclass(frozen=True, kw_only=True)
class PointFacts:
    """What is known of a load point beside its records.

    `flags` are those found while loading or profiling, kept beside those found here. `elapsed_s` is the length of the
    whole point with warm-up and drain: it times `accelerators_total` is what the point cost. The load was
    drawn from the law of `workload`; None where it is not known. `step` limits what the server does at once.
    """

    point_id: str
    run_id: str | None
    load: Load
    window: Window
    provenance: Provenance
    accelerators_total: int
    elapsed_s: float
    targets: tuple[Target, ...] = ()
    server: ServerStatistics | None = None
    rtt_s: float | None = None
    client_error_s: float | None = None
    flags: tuple[str, ...] = ()
    workload: Workload | None = None
    step: Limits = field(default_factory=Limits)


def summarise(requests: Requests, facts: PointFacts) -> Point:
    """The point of *requests*, recomputed from nothing but its arguments; the order of the records does not matter.

    Latencies, errors and attainment are of the requests scheduled (closed loop: sent) in the window, each followed to
    its end; a request that did not succeed counts as infinite. `achieved_rps` counts the requests that
    succeeded and ended in the window, tokens per second those received (input: read) in it, whichever request they
    belong to. ITL pools the gaps of those requests; a failed one adds an infinite gap for each it still owed.

    Goodput = achieved_rps x (requests that meet every target / requests that succeeded), so that it never exceeds
    what the server completes. With several targets `attainment` has them jointly first, then one by one.
    """
    return _Summary(requests, facts).point()


def not_steady(requests: Requests, facts: PointFacts) -> bool:
    """Whether the point of *requests* would be flagged NOT_STEADY: quick to tell, before it is summarised."""
    return _Summary(requests, facts).not_steady


class _Summary:
    """The measured requests of a point in the order of time, and what is made from them."""

    def __init__(self, requests: Requests, facts: PointFacts) -> None:
        window = facts.window
        times = window.times(requests)
        order = np.lexsort((requests.request_id, times))
        self.requests, self.facts, self.window = requests, facts, window
        self.chosen = order[window.holds(times)[order]]
        self.latencies = latencies(requests)
        self.ok = requests.ok[self.chosen]
        self.batches = batch_count(len(self.chosen))
        self.labels = batch_labels(len(self.chosen), self.batches or 1)
        ended = requests.ok & (requests.end_ns != NULL) & window.holds(requests.end_ns)
        self.achieved_rps = self.per_second(int(ended.sum()))

    def point(self) -> Point:
        load, facts, n = self.facts.load, self.facts, len(self.chosen)
        is_open = isinstance(load, OpenLoad)
        in_flight_mean, slope = self.in_flight
        received = self.per_second(output_tokens_in(self.requests, self.window))
        read = self.per_second(input_tokens_in(self.requests, self.window))
        return Point(
            point_id=facts.point_id,
            run_id=facts.run_id,
            provenance=facts.provenance,
            load_kind="open" if is_open else "closed",
            offered_rps=load.rate_rps if isinstance(load, OpenLoad) else None,
            concurrency=None if isinstance(load, OpenLoad) else float(load.concurrency),
            achieved_rps=self.achieved_rps,
            in_flight_mean=in_flight_mean,
            in_flight_slope=slope,
            error_share=self.error_share,
            window_s=self.window.seconds,
            n_requests=n,
            n_batches=self.batches,
            input_tps=read,
            output_tps=received,
            total_tps=read + received,
            attainment=self.attainment(),
            expected=self.expected(),
            foreseen=self.foreseen(),
            accelerator_seconds=facts.accelerators_total * facts.elapsed_s,
            rtt_s=facts.rtt_s,
            client_error_s=facts.client_error_s,
            flags=self.flags(),
            **self.work(),
            **self.lengths(),
            **self.distributions(),
            **_fields(facts.server),
        )

    @cached_property
    def in_flight(self) -> tuple[float, Estimate | None]:
        """The mean number in flight over the window, and in open loop its slope."""
        swept = in_flight(self.requests)
        start_ns, end_ns = self.window.start_ns, self.window.end_ns
        is_open = isinstance(self.facts.load, OpenLoad)
        return swept.mean(start_ns, end_ns), swept.slope(start_ns, end_ns) if is_open else None

    def per_second(self, count: int) -> float:
        return count / self.window.seconds if self.window.seconds > 0 else 0.0

    @property
    def error_share(self) -> float:
        return float((~self.ok).mean()) if len(self.ok) else 0.0

    def distributions(self) -> dict[str, Any]:
        """Every metric over the measured requests."""
        none = np.zeros(self.batches or 1, dtype=np.int64)
        found = {"itl": self.itl()}
        punctual = np.array_equal(self.requests.scheduled_ns, self.requests.sent_ns)
        for name in _PER_REQUEST:
            if punctual and name in _FROM_SENT:
                found[name] = documents.replace(found[_FROM_SENT[name]], quantiles=None)
                continue
            pooled = pool(getattr(self.latencies, name)[self.chosen], self.labels, none)
            found[name] = distribution(pooled, intervals=self.batches is not None, grid=name in GRID_METRICS)
            del pooled  # before the next one: of a million requests each is megabytes
        return found

    def itl(self) -> Distribution:
        """The pooled gaps; what failed requests still owed is infinite."""
        label = np.full(len(self.requests), -1, dtype=np.int8)
        label[self.chosen] = self.labels
        pooled = pool_of_gaps(self.requests, label, self.owed())
        return distribution(pooled, intervals=self.batches is not None, grid=True)

    def owed(self) -> NDArray[np.int64]:
        """How many gaps the failed requests of each batch still owed."""
        failed = self.chosen[~self.ok]
        counts = self.requests.gap_offsets[failed + 1] - self.requests.gap_offsets[failed]
        asked = self.requests.requested_output_tokens[failed] - 1
        owed = np.where(asked < 1, 0, np.maximum(asked - counts, 1))
        return np.bincount(self.labels[~self.ok], owed, minlength=self.batches or 1).astype(np.int64)

    def attainment(self) -> tuple[Attainment, ...]:
        """The share of measured requests that meet all targets, and each of several."""
        targets = self.facts.targets
        groups: list[Sequence[Target]] = [targets] if targets else []
        if len(targets) > 1:
            groups += [[target] for target in targets]
        kind = "open" if isinstance(self.facts.load, OpenLoad) else "closed"
        found = []
        for group in groups:
            meets = meeting(self.requests, self.latencies, group, kind)[self.chosen]
            good, succeeded = int(meets.sum()), int(self.ok.sum())
            found.append(
                Attainment(
                    targets=thresholds(group),
                    joint=good / len(meets) if len(meets) else 0.0,
                    goodput_rps=self.achieved_rps * (good / succeeded) if succeeded else 0.0,
                )
            )
        return tuple(found)

    def expected(self) -> tuple[Expected, ...]:
        """What the targets' percentiles would be in the long run."""
        facts = self.facts
        if facts.workload is None or not isinstance(facts.load, OpenLoad) or not self.window.steady:
            return ()
        return expected(self.requests, Held(facts.load, self.window, facts.workload, facts.targets), self.limits())

    def foreseen(self) -> tuple[Foreseen, ...]:
        """Where the targets would be missed in open loop, as a closed loop lets it be foreseen."""
        load, workload = self.facts.load, self.facts.workload
        if workload is None or not workload.is_plain or not isinstance(load, ClosedLoad):
            return ()
        return foreseen(self.requests, Turns(load.concurrency, workload), self.facts.targets, self.limits())

    def limits(self) -> Limits:
        """What the server runs at most: as it was told, and no more than it was seen to run while others waited.

        Unless they waited for room in the KV cache, which holds now more requests and now fewer.
        """
        told, server = replace(self.facts.step, kv_tokens=self.kv_tokens()), self.facts.server
        if server is None or server.running_mean is None or server.waiting_mean is None:
            return told
        full = server.kv_usage_mean is not None and server.kv_usage_mean > _KV_FULL
        if full or server.waiting_mean < _WAITS * server.running_mean:
            return told
        return replace(told, sequences=min(told.sequences, math.ceil(server.running_mean)))

    def kv_tokens(self) -> float:
        """How many tokens the server's KV cache holds, by how full it says that it is; infinite where it does not."""
        used = None if self.facts.server is None else self.facts.server.kv_usage_mean
        return kv_held(self.requests, self.window) / used if used and used > _LEAST_USED else math.inf

    def work(self) -> dict[str, Any]:
        """What the window's tokens amount to, for a server that always had work; of a closed loop in the long run."""
        workload, load = self.facts.workload, self.facts.load
        known = None if workload is None else mean_lengths(workload)
        done = None if known is None else work_done(self.requests, self.window, known)
        if workload is None or done is None:
            return {}
        long = None
        if isinstance(load, ClosedLoad) and workload.is_plain:
            long = completions(self.requests, Turns(load.concurrency, workload), self.limits())
        return {"work_rps": long or done.rate, "prompt_share": done.prompt_share}

    def lengths(self) -> dict[str, Any]:
        """Means and p90 of the measured requests' lengths: the server's counts, of failed ones what was asked for."""
        asked = self.requests.requested_output_tokens[self.chosen]
        told = self.requests.output_tokens[self.chosen]
        found = {}
        sides = {
            "input": input_counts(self.requests)[self.chosen],
            "output": np.where(self.ok & (told >= 0), told, asked),
        }
        for side, counts in sides.items():
            found[f"{side}_tokens_mean"] = float(counts.mean()) if len(counts) else 0.0
            if len(counts):
                found[f"{side}_tokens_p90"] = float(np.percentile(counts, 90, method="inverted_cdf"))
        return found

    def flags(self) -> tuple[str, ...]:
        """The flags of this point, each once: those found here, then those given.

        NOT_STEADY: the window is not, or in open loop the server `falls_behind`. TOO_FEW: fewer than
        ten measured requests beyond the highest target percentile (`requests_needed`). ERRORS: more than 1 %
        did not succeed. LENGTHS_DIFFER: in more than 1 % the server's counts are not those asked for.
        """
        found = {
            "NOT_STEADY": self.not_steady,
            "TOO_FEW": len(self.chosen) < requests_needed(self.facts.targets),
            "ERRORS": self.error_share > _LARGE_SHARE,
            "LENGTHS_DIFFER": self.differing_share() > _LARGE_SHARE,
        }
        return tuple(dict.fromkeys([*(flag for flag, holds in found.items() if holds), *self.facts.flags]))

    @property
    def not_steady(self) -> bool:
        """Whether the window is not steady, or the server does not keep up in it."""
        return not self.window.steady or self.behind()

    def behind(self) -> bool:
        """Whether an open-loop server did not keep up: by the trend of in flight, or by plain counting.

        What arrives and is not completed stays in flight: where that is more than 15 % of the arrivals of the
        window, it is no fluctuation about a level, however uncertain the trend of a short window is.
        """
        load = self.facts.load
        if not isinstance(load, OpenLoad):
            return False
        in_flight_mean, slope = self.in_flight
        arrived = self.per_second(len(self.chosen))
        unfinished = self.achieved_rps < (1 - _UNFINISHED_SHARE) * arrived * (1 - self.error_share)
        return unfinished or falls_behind(slope, in_flight_mean, self.window.seconds, load.rate_rps)

    def differing_share(self) -> float:
        """The share of successful measured requests whose lengths the server counts otherwise than asked."""
        chosen = self.chosen[self.ok]
        differs = np.zeros(len(chosen), dtype=bool)
        for side in ("input", "output"):
            told = getattr(self.requests, f"{side}_tokens")[chosen]
            asked = getattr(self.requests, f"requested_{side}_tokens")[chosen]
            differs |= (told != NULL) & (told != asked)
        return float(differs.mean()) if len(differs) else 0.0


def _fields(statistics: ServerStatistics | None) -> dict[str, Any]:
    """The fields of a point that the server's own numbers fill."""
    return {} if statistics is None else {name: getattr(statistics, name) for name in statistics.__struct_fields__}
