"""The loop of `giq profile`: next load, load, point, saved, until the search is content."""

from __future__ import annotations

import asyncio
import contextlib
import signal
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

from giq import __version__
from giq.catalog import MetricNames
from giq.curve.plausibility import implausible
from giq.curve.point import Point, Provenance
from giq.curve.requests import Sample
from giq.curve.search import Finished, SearchPlan, next_load
from giq.curve.server_statistics import server_statistics
from giq.curve.summary import PointFacts, summarise
from giq.curve.window import choose_window
from giq.documents import replace
from giq.errors import Interrupted, ServerError, UsageError
from giq.load.endpoint import Endpoint
from giq.load.identity import ServerIdentity
from giq.load.job import Hooks, LoadJob, LoadResult, Timeouts
from giq.load.workers import run_workers
from giq.profiling.configuration import Measured
from giq.profiling.observer import Observer
from giq.profiling.options import ProfileOptions
from giq.profiling.stopping import expected_seconds, stop_for
from giq.store.journal import Journal
from giq.store.run import Run, open_run
from giq.workload.schedule import Schedule, make_schedule
from giq.workload.trace import Trace
from giq.workload.workload import ClosedLoad, Load, Stop

LONGEST_POINT = 100_000
"""Requests of a workload whose lengths are checked beforehand; more than a point of a search sends."""

WORST_RTT_SHARE = 0.1
"""Above this share of a target the way to the server is part of what is measured (DESIGN §5)."""


@dataclass(frozen=True)
class Session:
    """One profile of one live server: what is measured, with what options, into which run."""

    options: ProfileOptions
    endpoint: Endpoint
    identity: ServerIdentity
    measured: Measured
    names: MetricNames
    run: Run
    nonce: int
    zero_ns: int
    trace: Trace | None = None


@dataclass
class Signals:
    """Ctrl-C: the first drains and saves, the second quits at once."""

    stop: asyncio.Event = field(default_factory=asyncio.Event)
    quit: asyncio.Event = field(default_factory=asyncio.Event)

    def interrupt(self) -> None:
        """Go one step further: drain, then quit."""
        (self.quit if self.stop.is_set() else self.stop).set()


async def measure(session: Session, observer: Observer) -> list[Point]:
    """Measure load after load until the search or the list of explicit loads ends; every point is saved.

    Raises:
        Interrupted: the user stopped it; what was measured is saved.
        ServerError: the server stopped answering, or others use it; what was measured is saved.
    """
    _warn_of_distance(session, observer)
    signals = Signals()
    points: list[Point] = []
    try:
        with _interrupts(signals):
            reason = await _all_points(session, observer, signals, points)
    except BaseException:
        session.run.finish("failed" if not points else "interrupted", "ended by an error")
        raise
    if signals.stop.is_set():
        session.run.finish("interrupted", "stopped by the user")
        raise Interrupted(
            f"stopped; {len(points)} point(s) saved", where=str(session.run.path), hint="Run again to go on."
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
    _refuse_too_long(lengths, identity)
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
    while True:
        load = _next(session.options, points)
        if isinstance(load, Finished):
            return load.reason
        stop = session.options.stop if session.options.loads else stop_for(load, points, session.options.targets)
        observer.point_started(len(points) + 1, load, expected_seconds(load, stop, points))
        point = await _measure_point(session, len(points) + 1, (load, stop), observer, signals)
        if point is not None:
            points.append(point)
            observer.point_ended(point)
        if signals.stop.is_set():
            return "the user stopped it"
        _refuse_to_go_on(session, point)


def _next(options: ProfileOptions, points: list[Point]) -> Load | Finished:
    if not options.loads:
        plan = SearchPlan(
            targets=options.targets, max_concurrency=options.max_concurrency, max_points=options.max_points
        )
        return next_load(points, plan)
    if len(points) < len(options.loads):
        return options.loads[len(points)]
    return Finished(reason="all the loads that were asked for are measured")


def _refuse_to_go_on(session: Session, point: Point | None) -> None:
    """Stop where the next point could tell nothing."""
    saved = f"What was measured is saved in {session.run.path}."
    if point is None or point.error_share >= 1.0:
        raise ServerError(
            "the server answered no request of this load point", where=session.endpoint.url,
            hint=f"Look at the server's log, then run again. {saved}",
        )  # fmt: skip
    if "FOREIGN_TRAFFIC" in point.flags and not session.options.shared:
        raise ServerError(
            "the server got requests that are not ours while it was measured", where=session.endpoint.url,
            hint=f"Measure it alone, or go on with --shared. {saved}",
        )  # fmt: skip


async def _measure_point(
    session: Session, number: int, asked: tuple[Load, Stop], observer: Observer, signals: Signals
) -> Point | None:
    """Hold one load and save its point; None when not one request was sent."""
    load, stop = asked
    options, run = session.options, session.run
    point_id = f"p{number:03d}"
    schedule = make_schedule(options.workload, load, stop, options.seed, session.trace)
    _refuse_too_long(schedule, session.identity)
    job = LoadJob(
        endpoint=session.endpoint, identity=session.identity, schedule=schedule, seed=options.seed,
        nonce=session.nonce, point_number=number, point_id=point_id, run_id=run.manifest.run_id,
        sampling=options.workload.sampling, zero_ns=session.zero_ns,
        timeouts=Timeouts(total_s=options.request_timeout_s),
    )  # fmt: skip
    samples: list[Sample] = []
    server_journal = run.server_journal(point_id)

    def keep_samples(batch: list[Sample]) -> None:
        samples.extend(batch)
        server_journal.append(batch)

    hooks = Hooks(samples=keep_samples, progress=observer.progress, stop=signals.stop, quit=signals.quit)
    try:
        result = await run_workers(job, hooks, options.workers, partial(worker_journal, run.path, point_id))
    finally:
        server_journal.close()
    for reason in result.reasons:
        observer.warn(reason)
    return _save(session, point_id, load, (result, samples))


def worker_journal(run_path: Path, point_id: str, worker_id: int) -> Journal:
    """The journal of one worker, made in its own process."""
    return open_run(run_path).journal(point_id, worker_id)


def _refuse_too_long(schedule: Schedule | Trace, identity: ServerIdentity) -> None:
    """Refuse lengths that the server would refuse one by one.

    Raises:
        UsageError: a request is longer than the server's context.
    """
    longest = int((schedule.input_tokens + schedule.output_tokens).max())
    if identity.max_model_len is not None and longest > identity.max_model_len:
        raise UsageError(
            f"a request of {longest} tokens is longer than the server's context of {identity.max_model_len}",
            hint="Give shorter --input-tokens and --output-tokens, or serve with a larger max_model_len.",
        )


def _save(session: Session, point_id: str, load: Load, told: tuple[LoadResult, list[Sample]]) -> Point | None:
    """Summarise what was recorded of a point and save it."""
    result, samples = told
    requests = session.run.requests(point_id)
    if not len(requests):
        return None
    window = choose_window(requests, load)
    facts = PointFacts(
        point_id=point_id,
        run_id=session.run.manifest.run_id,
        load=load,
        window=window,
        provenance=provenance(session),
        accelerators_total=session.measured.config.accelerators_total,
        targets=session.options.targets,
        server=server_statistics(samples, session.names, window.start_ns, window.end_ns),
        rtt_s=session.identity.rtt_s,
        client_error_s=None,
        flags=result.flags,
        elapsed_s=(result.ended_ns - result.started_ns) / 1e9,
    )
    point = _checked(session.measured, summarise(requests, facts))
    session.run.finish_point(point, window.phases(requests))
    return point


def provenance(session: Session) -> Provenance:
    """Where the points of this session come from."""
    return Provenance(
        evidence=session.measured.evidence,
        hardware_source=session.measured.hardware_source,
        source=f"giq profile, run {session.run.manifest.run_id}",
        measured_at=datetime.now(UTC).isoformat(timespec="seconds"),
        giq_version=__version__,
    )


def _checked(measured: Measured, point: Point) -> Point:
    """*point*, flagged when it beats the hardware."""
    if measured.model is None or measured.accelerator is None or measured.accelerator.kind == "cpu":
        return point
    problem = implausible(point, measured.config, measured.model, measured.accelerator)
    return replace(point, flags=(*point.flags, "IMPLAUSIBLE")) if problem else point
