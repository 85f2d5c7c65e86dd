"""A load point: what one load did to one deployment unit, and how far that can be believed."""

from __future__ import annotations

from typing import Literal

from giq.documents import Entry

Evidence = Literal["measured", "published", "estimated"]
HardwareSource = Literal["detected", "declared", "simulated", "published"]

STATISTICS = ("mean", "p50", "p90", "p95", "p99")
METRICS = ("ttft", "ttft_scheduled", "itl", "tpot", "ntpot", "latency", "latency_scheduled", "schedule_delay")
GRID_METRICS = ("ttft", "itl", "tpot", "ntpot", "latency")

INVALIDATING = (
    "NOT_STEADY", "TOO_FEW", "ERRORS", "GENERATOR_LATE", "CLIENT_BOUND", "COUNTERS_DISAGREE", "FOREIGN_TRAFFIC",
    "IMPLAUSIBLE",
)  # fmt: skip
INFORMING = ("COUNTERS_UNAVAILABLE", "LENGTHS_DIFFER", "EXTRAPOLATED")


class Estimate(Entry, frozen=True, kw_only=True):
    """A value with its 90 % interval; bounds are None where the source lacks them."""

    value: float
    lo: float | None = None
    hi: float | None = None


class Distribution(Entry, frozen=True, kw_only=True):
    """One latency metric over a point's requests, in seconds; each statistic None where the source lacks it.

    `quantiles` holds the 0th to 100th percentile (101 values) so that one asked for later can be answered.
    """

    mean: Estimate | None = None
    p50: Estimate | None = None
    p90: Estimate | None = None
    p95: Estimate | None = None
    p99: Estimate | None = None
    quantiles: tuple[float, ...] | None = None

    def at(self, statistic: str) -> Estimate | None:
        """The estimate of one of STATISTICS."""
        found = getattr(self, statistic)
        assert found is None or isinstance(found, Estimate)  # noqa: S101 - narrows getattr's type
        return found


class Attainment(Entry, frozen=True, kw_only=True):
    """The share of requests that meet every target, with those targets (like `ttft<0.3`), and their rate."""

    targets: str
    joint: float
    goodput_rps: float


class Expected(Entry, frozen=True, kw_only=True):
    """What the percentile of a target (its key, like `ttft_p90<0.3`) would be if the load were held for ever.

    In seconds, with its 90 % interval: what was measured, without the chance of the schedule (`giq.curve.chance`).
    """

    target: str
    value_s: float
    lo_s: float
    hi_s: float

    @property
    def seconds(self) -> Estimate:
        """It as an estimate."""
        return Estimate(value=self.value_s, lo=self.lo_s, hi=self.hi_s)


class Foreseen(Entry, frozen=True, kw_only=True):
    """The rate at which the percentile of a target (its key) would reach its limit in open loop.

    In requests/s, as a stand-in has it that was fitted to a closed loop (`giq.curve.foresight`): no such load was held.
    """

    target: str
    rate_rps: float


class Provenance(Entry, frozen=True, kw_only=True):
    """Where a point comes from: what must be known to believe it or to repeat it.

    `engine_id` tells apart the simulated engines that estimates come from: two of one id predict the same.
    """

    evidence: Evidence
    hardware_source: HardwareSource
    source: str
    licence: str | None = None
    calibration_id: str | None = None
    measured_at: str | None = None
    giq_version: str
    engine_id: str | None = None


class Point(Entry, frozen=True, kw_only=True):
    """One load point (one row of SCHEMA.md's table `points`, without the columns copied from its curve).

    Rates are per deployment unit and per second, times in seconds, tokens per second as received in the window.
    `work_rps` and `prompt_share` are those of `giq.curve.work` and hold where the server always had work.
    """

    point_id: str
    run_id: str | None = None
    provenance: Provenance
    units_measured: int = 1
    load_kind: Literal["open", "closed"]
    offered_rps: float | None = None
    concurrency: float | None = None
    achieved_rps: float
    in_flight_mean: float
    in_flight_slope: Estimate | None = None
    error_share: float
    window_s: float
    n_requests: int
    n_batches: int | None = None
    input_tokens_mean: float
    output_tokens_mean: float
    input_tokens_p90: float | None = None
    output_tokens_p90: float | None = None
    input_tps: float
    output_tps: float
    total_tps: float
    ttft: Distribution = Distribution()
    ttft_scheduled: Distribution = Distribution()
    itl: Distribution = Distribution()
    tpot: Distribution = Distribution()
    ntpot: Distribution = Distribution()
    latency: Distribution = Distribution()
    latency_scheduled: Distribution = Distribution()
    schedule_delay: Distribution = Distribution()
    attainment: tuple[Attainment, ...] = ()
    expected: tuple[Expected, ...] = ()
    foreseen: tuple[Foreseen, ...] = ()
    running_mean: float | None = None
    waiting_mean: float | None = None
    kv_usage_mean: float | None = None
    kv_usage_max: float | None = None
    preemptions: float | None = None
    prefix_hit_share: float | None = None
    work_rps: Estimate | None = None
    prompt_share: float | None = None
    accelerator_seconds: float
    rtt_s: float | None = None
    client_error_s: float | None = None
    flags: tuple[str, ...] = ()

    @property
    def valid(self) -> bool:
        """Whether no invalidating flag is set; only valid points are ranked."""
        return not any(flag in INVALIDATING for flag in self.flags)

    def metric(self, name: str) -> Distribution:
        """The distribution of one of METRICS."""
        found = getattr(self, name)
        assert isinstance(found, Distribution)  # noqa: S101 - narrows getattr's type
        return found
