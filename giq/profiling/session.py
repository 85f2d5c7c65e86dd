"""The loop of `giq profile`: next load, load, point, saved, until the search is content."""

from __future__ import annotations

import asyncio
import contextlib
import math
import signal
import time
from collections.abc import Iterator

from giq.curve.holding import Finished, Probe, SearchPlan
from giq.curve.point import Point
from giq.curve.search import next_probe
from giq.errors import Interrupted, ServerError
from giq.load.endpoint import Endpoint
from giq.load.identity import ServerIdentity
from giq.profiling.observer import Observer
from giq.profiling.options import ProfileOptions
from giq.profiling.probe import Hold, Session, Signals, measure_point, refuse_too_long
from giq.profiling.resumption import next_number, whole_points
from giq.profiling.stopping import cost_words, expected_seconds, measured_s
from giq.workload.schedule import make_schedule
from giq.workload.trace import Trace
from giq.workload.workload import ClosedLoad, Stop

LONGEST_POINT = 100_000
"""Requests of a workload whose lengths are checked beforehand; more than a point of a search sends."""

LONGEST_SEARCH_S = 3600.0
"""Without a budget no new load begins after an hour: on a slow server precision can cost many."""

WORST_RTT_SHARE = 0.1
"""Above this share of a target the way to the server is part of what is measured (DESIGN §5)."""


async def measure(session: Session, observer: Observer) -> list[Point]:
    """Measure load after load until the search or the list of explicit loads ends; every point is saved.

    Raises:
        Interrupted: the user stopped it; what was measured is saved.
        ServerError: the server stopped answering, or others use it; what was measured is saved.
    """
    _warn_of_distance(session, observer)
    signals = Signals()
    manifest = session.run.manifest
    points = whole_points(session.run.points(), manifest.cut_off, session.options.shared)
    try:
        with _interrupts(signals):
            reason = await _all_points(session, observer, signals, points)
    except BaseException:
        session.run.finish("failed" if not points else "interrupted", "ended by an error")
        raise
    if signals.stop.is_set():
        session.run.finish("interrupted", "stopped by the user")
        raise Interrupted(
            f"stopped; {len(points)} point(s) saved",
            where=str(session.run.path),
            hint=f"Go on with: giq profile --resume {session.run.path}",
        )
    session.run.finish("done", reason)
    observer.say(f"Stopped because {reason}.")
    return points


def refuse_unusable(options: ProfileOptions, endpoint: Endpoint, identity: ServerIdentity, trace: Trace | None) -> None:
    """Refuse, before a run is made, a server that others are using now, or a workload that it would refuse.

    Raises:
        ServerError: it works on requests that are not ours, and sharing was not allowed.
        UsageError: a request is longer than the server's context.
    """
    # Every point's lengths are the beginning of one stream: these are all that any point will ask for.
    most = Stop(requests=LONGEST_POINT)
    lengths = trace or make_schedule(options.workload, ClosedLoad(concurrency=1), most, options.seed)
    refuse_too_long(lengths, identity)
    if identity.busy and not options.shared:
        raise ServerError(
            f"the server is busy with {identity.busy:g} request(s) of others",
            where=endpoint.url,
            hint="Wait until it is idle, or go on with --shared: the points are then flagged and not ranked.",
        )


def _warn_of_distance(session: Session, observer: Observer) -> None:
    nearest = min((target.seconds for target in session.options.targets), default=None)
    rtt = session.identity.rtt_s
    if nearest is not None and rtt > WORST_RTT_SHARE * nearest:
        observer.warn(
            f"The round trip to the server takes {rtt * 1e3:.1f} ms, more than a tenth of the {nearest * 1e3:.0f} ms "
            "target: it is part of every latency. A port-forward or proxy in between? Run giq beside the server."
        )


@contextlib.contextmanager
def _interrupts(signals: Signals) -> Iterator[None]:
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGINT, signals.interrupt)
    loop.add_signal_handler(signal.SIGTERM, signals.interrupt)
    try:
        yield
    finally:
        loop.remove_signal_handler(signal.SIGINT)
        loop.remove_signal_handler(signal.SIGTERM)


async def _all_points(session: Session, observer: Observer, signals: Signals, points: list[Point]) -> str:
    """Measure until there is no next load; the points as they come go to *points*. Returns why it ended."""
    number = next_number(session.run.used_ids())
    began, total = time.monotonic(), session.measured.config.accelerators_total
    before = session.spent_s + measured_s(points, total)
    while True:
        spent = before + time.monotonic() - began
        following = _next(session.options, points, spent)
        if isinstance(following, Finished):
            observer.say(cost_words(points, spent, total))
            return following.reason
        about = expected_seconds(following.load, following.stop, points)
        observer.point_started(number, following.load, about)
        point = await measure_point(session, number, following, observer, signals)
        if point is not None:
            points.append(point)
            observer.point_ended(point)
        if signals.stop.is_set():
            return "the user stopped it"
        _refuse_to_go_on(session, point)
        number += 1


def _next(options: ProfileOptions, points: list[Point], spent_s: float) -> Hold | Finished:
    if not options.loads:
        plan = SearchPlan(
            targets=options.targets, workload=options.workload, max_concurrency=options.max_concurrency,
            max_points=options.max_points, budget_s=math.inf if options.budget_s is None else options.budget_s,
            longest_s=LONGEST_SEARCH_S if options.budget_s is None else math.inf,
        )  # fmt: skip
        following = next_probe(points, plan, spent_s)
        return _held(following) if isinstance(following, Probe) else following
    if len(points) < len(options.loads):
        return Hold(options.loads[len(points)], options.stop)
    return Finished(reason="all the loads that were asked for are measured")


def _held(probe: Probe) -> Hold:
    return Hold(probe.load, probe.stop, probe.goal, probe.cut_s, probe.warm)


def _refuse_to_go_on(session: Session, point: Point | None) -> None:
    """Stop where the next point could tell nothing."""
    saved = f"What was measured is saved; go on with: giq profile --resume {session.run.path}"
    if point is None or point.error_share >= 1.0:
        raise ServerError(
            "the server answered no request of this load point", where=session.endpoint.url,
            hint=f"Look at the server's log. {saved}",
        )  # fmt: skip
    if point.point_id in session.run.manifest.cut_off:
        raise ServerError(
            "the server is gone: it stopped answering in the middle of this load point", where=session.endpoint.url,
            hint=f"Look at the server's log. {saved}",
        )  # fmt: skip
    if "FOREIGN_TRAFFIC" in point.flags and not session.options.shared:
        raise ServerError(
            "the server got requests that are not ours while it was measured", where=session.endpoint.url,
            hint=f"Measure it alone, or go on with --shared. {saved}",
        )  # fmt: skip
