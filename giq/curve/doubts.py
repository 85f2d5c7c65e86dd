"""What is doubtful in a curve, and what to do next."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from itertools import pairwise
from typing import Literal

from giq.curve.capacity import Capacity, capacity
from giq.curve.curve import Curve
from giq.curve.flags import FLAGS
from giq.curve.load_axis import load_axis
from giq.curve.point import INVALIDATING, Estimate, Point
from giq.curve.saturation import past_saturation, saturation
from giq.curve.targets import Target, requests_needed
from giq.documents import Entry
from giq.units import format_rate, format_seconds, format_share
from giq.workload.workload import Workload

Severity = Literal["invalid", "doubtful", "note"]
SEVERITIES: tuple[Severity, ...] = ("invalid", "doubtful", "note")

WIDE = 0.1
"""Half-width of a capacity's or saturation's interval, as a share of it, from which it is called wide."""
WIDE_PERCENTILE = 0.25
GAP = 1.25
"""Neighbouring rates further apart than this factor leave a capacity between them badly known."""
WIDE_GAP = 2.5
FALLS = 0.05
CLIENT_SHARE = 0.05
RTT_SHARE = 0.1
PREFIX_HITS = 0.01
OLD_DAYS = 180
_LONGER = "hold the load longer (--requests, --duration)"


class Doubt(Entry, frozen=True, kw_only=True):
    """One thing that is doubtful, with the advice what to do.

    `invalid`: an answer must not rest on this curve as it is. `doubtful`: the answer may be off, or is wider than it
    need be. `note`: to be known, nothing to be done at once. `subject` is the load that it is about, or `curve`.
    """

    severity: Severity
    subject: str
    point_id: str | None = None
    finding: str
    advice: str


@dataclass(frozen=True)
class _Asked:
    """A curve with what is asked of it."""

    curve: Curve
    targets: tuple[Target, ...]
    today: date
    drifts: Mapping[str, Estimate]


def doubts(
    curve: Curve, targets: Sequence[Target] = (), *, today: date, drifts: Mapping[str, Estimate] | None = None
) -> list[Doubt]:
    """All doubts about *curve* as an answer to *targets*, worst first.

    *drifts* holds by point id the change of latency over the point's window as a share of its mean, where
    the records are at hand.
    """
    asked = _Asked(curve, tuple(targets), today, drifts or {})
    found = [item for check in _CHECKS for item in check(asked)]
    return sorted(found, key=lambda item: SEVERITIES.index(item.severity))


def load_words(point: Point) -> str:
    """The load of a point: `8 in flight`, or `2.50 req/s`."""
    return f"{point.concurrency:g} in flight" if point.load_kind == "closed" else format_rate(point.offered_rps)


def _of_curve(severity: Severity, finding: str, advice: str) -> Doubt:
    return Doubt(severity=severity, subject="curve", finding=finding, advice=advice)


def _of_point(point: Point, severity: Severity, finding: str, advice: str) -> Doubt:
    return Doubt(
        severity=severity, subject=load_words(point), point_id=point.point_id, finding=finding, advice=advice
    )  # fmt: skip


def _nothing_valid(asked: _Asked) -> Iterator[Doubt]:
    if not asked.curve.valid_points:
        finding = f"none of {len(asked.curve.points)} load points is valid"
        yield _of_curve("invalid", finding, "see the flags below, then measure again")


def _flags(asked: _Asked) -> Iterator[Doubt]:
    for point in asked.curve.points:
        for flag in point.flags:
            known = FLAGS[flag]
            overloaded = flag in ("NOT_STEADY", "ERRORS") and past_saturation(point)
            severity: Severity = "doubtful" if flag in INVALIDATING and not overloaded else "note"
            advice = "nothing: it marks where saturation begins" if overloaded else known.advice
            yield _of_point(point, severity, f"{flag}: {known.reason}", advice)


def _answer(asked: _Asked) -> Iterator[Doubt]:
    """Whether the targets get an answer from inside the measured range."""
    if not asked.targets or not asked.curve.valid_points:
        return
    found = capacity(asked.curve, asked.targets)
    if found.status == "no_points":
        yield _of_curve("invalid", found.reason, "measure again with these targets")
    elif found.status == "met_beyond_range":
        yield _of_curve("doubtful", found.reason, "add a higher --request-rate until a target is missed")
    elif found.status == "unmet":
        yield _of_curve(
            "doubtful", found.reason, "add a lower --request-rate, or accept that no rate meets the targets"
        )
    yield from _width("capacity at the targets", found.rate)


def _saturation(asked: _Asked) -> Iterator[Doubt]:
    if not asked.curve.valid_points:
        return
    found = saturation(asked.curve)
    if not found.reached:
        yield _of_curve("doubtful", f"saturation {found.reason}", "add a higher --request-rate or --concurrency")
    elif not asked.targets:
        yield from _width("saturation point", found.rate)


def _width(name: str, rate: Estimate | None) -> Iterator[Doubt]:
    if rate is None or rate.value <= 0 or rate.lo is None or rate.hi is None:
        return
    half = (rate.hi - rate.lo) / 2 / rate.value
    if half > WIDE:
        finding = f"the {name} is {format_rate(rate.value)}, known to ±{format_share(half)} only"
        yield _of_curve("doubtful", finding, "measure more, and longer, at rates just below and above it")


def _gaps(asked: _Asked) -> Iterator[Doubt]:
    """Neighbouring rates far apart: where the answer lies between them, and elsewhere."""
    axis = load_axis(asked.curve)
    found: Capacity | None = capacity(asked.curve, asked.targets) if axis.points else None
    answer = found.rate.value if found and found.rate else None
    for low, high in pairwise(axis.rates):
        if low <= 0 or high / low <= GAP:
            continue
        holds = answer is not None and low < answer < high
        if holds or high / low > WIDE_GAP:
            between = f"nothing valid was measured between {format_rate(low)} and {format_rate(high)}"
            finding = f"{between}, where the answer lies" if holds else between
            advice = f"add --request-rate {(low * high) ** 0.5:.3g}"
            yield _of_curve("doubtful" if holds else "note", finding, advice)


def _few(asked: _Asked) -> Iterator[Doubt]:
    needed = requests_needed(asked.targets)
    for point in asked.curve.valid_points:
        if point.n_requests < needed:
            finding = f"{point.n_requests} requests; the percentile asked for needs {needed}"
            yield _of_point(point, "doubtful", finding, _LONGER)


def _wide(asked: _Asked) -> Iterator[Doubt]:
    """What is judged at valid points, where it is missing, without an interval, or with a wide one.

    An estimate's width is that of its calibration, the same at every point: it is said once.
    """
    judged = [(point, *found) for point in asked.curve.valid_points for found in _judged(point, asked.targets)]
    if asked.curve.evidence == "estimated":
        wide = [found for _, _, found in judged if found is not None and _is_wide(found)]
        if wide:
            finding = (
                f"{len(wide)} of {len(judged)} percentiles are known to ±{format_share(WIDE_PERCENTILE)} only, or worse"
            )
            yield _of_curve("doubtful", finding, "measure it with `giq profile`, or calibrate nearby (`giq calibrate`)")
        return
    for point, name, found in judged:
        yield from _percentile(point, name, found)


def _judged(point: Point, targets: Sequence[Target]) -> Iterator[tuple[str, Estimate | None]]:
    if targets:
        yield from ((str(target).partition(" <= ")[0], target.value(point)) for target in targets)
    else:
        yield "p90 TTFT", Target("ttft", 1.0).value(point)


def _percentile(point: Point, name: str, found: Estimate | None) -> Iterator[Doubt]:
    if found is None:
        yield _of_point(point, "doubtful", f"has no {name}", "measure it again with giq")
    elif found.lo is None or found.hi is None:
        yield _of_point(point, "note", f"{name} has no interval", _LONGER)
    elif _is_wide(found):
        between = f"{format_seconds(found.lo)} to {format_seconds(found.hi)}"
        yield _of_point(point, "doubtful", f"{name} is known only as {between}", _LONGER)


def _is_wide(found: Estimate) -> bool:
    if found.lo is None or found.hi is None or found.value <= 0:
        return False
    return (found.hi - found.lo) / 2 > WIDE_PERCENTILE * found.value


def _client(asked: _Asked) -> Iterator[Doubt]:
    """The load generator's own error and the way to the server, against the targets (without: the fastest TTFT)."""
    limits = [target.seconds for target in asked.targets if target.metric in ("ttft", "itl", "tpot", "ntpot")]
    firsts = [point.ttft.p50.value for point in asked.curve.valid_points if point.ttft.p50]
    limit, name = (min(limits), "the tightest target") if limits else (min(firsts, default=0.0), "the lowest p50 TTFT")
    ttft = min((item.seconds for item in asked.targets if item.metric in ("ttft", "latency")), default=limit)
    for point in asked.curve.valid_points:
        error, rtt = point.client_error_s, point.rtt_s
        if error is not None and limit and error > CLIENT_SHARE * limit:
            finding = f"the client's own error bound is {format_seconds(error)}; {name} is {format_seconds(limit)}"
            severity: Severity = "invalid" if limits and error >= limit else "doubtful"
            yield _of_point(point, severity, finding, "give giq more cores, or more --workers")
        if rtt is not None and ttft and rtt > RTT_SHARE * ttft:
            finding = f"the round trip to the server is {format_seconds(rtt)}, of {format_seconds(ttft)}"
            yield _of_point(
                point, "doubtful", finding, "measure from inside the cluster, without port-forward or proxy"
            )


def _falling(asked: _Asked) -> Iterator[Doubt]:
    """More load, less throughput."""
    for kind, load in (("open", "rate"), ("closed", "concurrency")):
        points = [point for point in asked.curve.points if point.load_kind == kind and not point.error_share]
        points.sort(key=lambda point: (point.offered_rps or 0.0, point.concurrency or 0.0, point.point_id))
        best: Point | None = None
        for point in points:
            if best is None or point.output_tps > best.output_tps:
                best = point
            elif point.output_tps < (1 - FALLS) * best.output_tps:
                finding = (
                    f"output falls with {load}: {format_rate(point.output_tps, 'tok/s')} here, "
                    f"{format_rate(best.output_tps, 'tok/s')} at {load_words(best)}"
                )
                yield _of_point(point, "doubtful", finding, _why_falling(point))


def _why_falling(point: Point) -> str:
    if point.preemptions:
        return "the server preempts: give it more KV cache or a lower max_num_seqs"
    return "see whether the client is the limit (more --workers), then the server's preemptions and KV usage"


def _drifts(asked: _Asked) -> Iterator[Doubt]:
    for point in asked.curve.points:
        found = asked.drifts.get(point.point_id)
        if found is None or found.lo is None or found.hi is None or found.lo <= 0 <= found.hi:
            continue
        way = "rises" if found.value > 0 else "falls"
        finding = f"latency {way} by {format_share(abs(found.value))} of its mean while the load stands"
        yield _of_point(
            point, "doubtful", finding, "hold the load longer; look for warming caches or a slowing machine"
        )


def _prefix_hits(asked: _Asked) -> Iterator[Doubt]:
    for point in asked.curve.valid_points:
        share = point.prefix_hit_share
        if share is not None and share > PREFIX_HITS and not _shares_prefixes(asked.curve.workload):
            finding = (
                f"{format_share(share)} of the prompt tokens were found in the prefix cache; the prompts share none"
            )
            yield _of_point(point, "invalid", finding, "restart the server or use another --seed, and measure again")


def _shares_prefixes(workload: Workload) -> bool:
    """Whether prompts of *workload* begin alike on purpose, so that prefix hits are to be expected."""
    return workload.shared_prefix is not None or workload.conversation is not None


def _provenance(asked: _Asked) -> Iterator[Doubt]:
    first = asked.curve.points[0].provenance
    if first.evidence == "estimated":
        yield _of_curve("note", "estimated by the simulated engine, not measured", "measure it with `giq profile`")
    if first.evidence == "published":
        finding = f"taken from {first.source}; giq did not see it measured"
        yield _of_curve("note", finding, "measure it with `giq profile` where much depends on it")
    if first.hardware_source == "declared":
        name = asked.curve.config.main.accelerator
        yield _of_curve("note", f"the hardware ({name}) was declared, not detected", "run giq beside the server")
    dates = [point.provenance.measured_at for point in asked.curve.points if point.provenance.measured_at]
    if dates and (age := _age(max(dates), asked.today)) > OLD_DAYS:
        yield _of_curve("doubtful", f"measured {age} days ago", "measure again: servers and drivers have changed since")
    if first.evidence == "measured" and all(point.running_mean is None for point in asked.curve.points):
        yield _of_curve("note", "nothing is known of the server's queue and KV cache", "open the server's /metrics")


def _age(iso: str, today: date) -> int:
    """Days since the date that *iso* begins with; 0 where it is none."""
    try:
        return (today - date.fromisoformat(iso[:10])).days
    except ValueError:
        return 0


def _disagreements(asked: _Asked) -> Iterator[Doubt]:
    """One load measured several times, with intervals of one judged percentile that do not touch."""
    groups: dict[tuple[str, float], list[Point]] = {}
    for point in asked.curve.valid_points:
        groups.setdefault((point.load_kind, point.offered_rps or point.concurrency or 0.0), []).append(point)
    for points in groups.values():
        for estimates in zip(*(_judged(point, asked.targets) for point in points), strict=True):
            known = [(one.lo, one.hi) for _, one in estimates if one and one.lo is not None and one.hi is not None]
            if len(known) > 1 and max(lo for lo, _ in known) > min(hi for _, hi in known):
                finding = f"{estimates[0][0]} was measured {len(points)} times, and the intervals do not touch"
                advice = "runs differ by more than their intervals tell: repeat them, and take the spread"
                yield _of_point(points[-1], "doubtful", finding, advice)


_CHECKS: tuple[Callable[[_Asked], Iterator[Doubt]], ...] = (
    _nothing_valid, _answer, _prefix_hits, _flags, _saturation, _gaps, _few, _wide, _client, _falling, _drifts,
    _disagreements, _provenance,
)  # fmt: skip
