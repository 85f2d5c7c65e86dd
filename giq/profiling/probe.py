"""One load of a profile: held, journalled, summarised and saved."""

from __future__ import annotations

import asyncio
import math
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

from giq import __version__
from giq.catalog import MetricNames
from giq.curve.client_error import ClientCalibration, judged
from giq.curve.ending import Goal
from giq.curve.plausibility import implausible
from giq.curve.point import Point, Provenance
from giq.curve.requests import Sample
from giq.curve.server_statistics import server_statistics
from giq.curve.stand_in import Limits
from giq.curve.summary import PointFacts, summarise
from giq.curve.window import choose_window
from giq.documents import replace
from giq.errors import UsageError
from giq.load.endpoint import Endpoint
from giq.load.identity import ServerIdentity
from giq.load.inspection import is_serving
from giq.load.job import Hooks, LoadJob, LoadResult, Timeouts
from giq.load.workers import run_workers
from giq.profiling.client_calibration import usable_cores
from giq.profiling.configuration import Measured
from giq.profiling.known_client import workers_for
from giq.profiling.observer import Observer
from giq.profiling.options import ProfileOptions
from giq.profiling.watch import Watch
from giq.store.journal import Journal
from giq.store.run import Run, open_run
from giq.workload.schedule import Schedule, make_schedule
from giq.workload.trace import Trace
from giq.workload.warm_start import WarmStart, warm_schedule
from giq.workload.workload import Load, OpenLoad, Stop

_MOST_POINTS = 1000


@dataclass(frozen=True)
class Session:
    """One profile of one live server: what is measured, with what options, into which run.

    `spent_s` went by before the first load: the accelerator waited for the client's calibration.
    """

    options: ProfileOptions
    endpoint: Endpoint
    identity: ServerIdentity
    measured: Measured
    names: MetricNames
    run: Run
    nonce: int
    zero_ns: int
    trace: Trace | None = None
    client: ClientCalibration | None = None
    spent_s: float = 0.0


@dataclass(frozen=True)
class Hold:
    """A load, what ends it at the latest, and for a search the goal with which it may end before.

    After `cut_s` what is in flight is given up. An open load of a search begins `warm`.
    """

    load: Load
    stop: Stop
    goal: Goal | None = None
    cut_s: float = math.inf
    warm: WarmStart | None = None


@dataclass
class Signals:
    """Ctrl-C: the first drains and saves, the second quits at once."""

    stop: asyncio.Event = field(default_factory=asyncio.Event)
    quit: asyncio.Event = field(default_factory=asyncio.Event)

    def interrupt(self) -> None:
        """Go one step further: drain, then quit."""
        (self.quit if self.stop.is_set() else self.stop).set()


async def measure_point(
    session: Session, number: int, asked: Hold, observer: Observer, signals: Signals
) -> Point | None:
    """Hold one load and save its point; None when not one request was sent."""
    load, options, run = asked.load, session.options, session.run
    point_id = f"p{number:03d}"
    seed = options.seed if asked.goal is None else search_seed(options.seed, number)
    if asked.warm is not None and isinstance(load, OpenLoad):
        schedule = warm_schedule(options.workload, load, asked.stop, seed, asked.warm)
    else:
        schedule = make_schedule(options.workload, load, asked.stop, seed, session.trace)
    refuse_too_long(schedule, session.identity)
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

    watch = Watch(run, point_id, asked.load, asked.goal, observer)
    hooks = Hooks(samples=keep_samples, progress=watch.progress, stop=watch.stop, quit=watch.quit)
    watching = [
        asyncio.create_task(watch.run_until(signals.stop, session.zero_ns)),
        asyncio.create_task(watch.follow(signals.quit, asked.cut_s)),
    ]
    try:
        result = await run_workers(job, hooks, _workers(session, load), partial(worker_journal, run.path, point_id))
    finally:
        for task in watching:
            task.cancel()
        await asyncio.gather(*watching, return_exceptions=True)
        server_journal.close()
    for reason in result.reasons:
        observer.warn(reason)
    if await _was_cut_off(session.endpoint, signals, result):
        run.revise(cut_off=(*run.manifest.cut_off, point_id))  # before its row is there: it is to be measured again
    return _save(session, point_id, load, (result, samples), observer)


def search_seed(seed: int, number: int) -> int:
    """The seed of a search's point: each draws its own arrivals and lengths, so that errors average out over points."""
    return seed * _MOST_POINTS + number


async def _was_cut_off(endpoint: Endpoint, signals: Signals, result: LoadResult) -> bool:
    """Whether the point ended before its time: the user stopped it, or the server is gone."""
    if signals.stop.is_set() and result.ending in ("stopped", "quit"):
        return True
    return result.ending == "server_gone" or (result.ok < result.sent and not await is_serving(endpoint))


def _workers(session: Session, load: Load) -> int:
    """As many workers as were asked for, else as *load* needs."""
    if session.options.workers is not None:
        return session.options.workers
    tokens = session.options.workload.output_tokens.mean
    return workers_for(load, tokens, session.client, usable_cores(), session.endpoint.is_loopback)


def worker_journal(run_path: Path, point_id: str, worker_id: int) -> Journal:
    """The journal of one worker, made in its own process."""
    return open_run(run_path).journal(point_id, worker_id)


def refuse_too_long(schedule: Schedule | Trace, identity: ServerIdentity) -> None:
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


def _save(
    session: Session, point_id: str, load: Load, told: tuple[LoadResult, list[Sample]], observer: Observer
) -> Point | None:
    """Summarise what was recorded of a point and save it."""
    result, samples = told
    requests = session.run.requests(point_id)
    if not len(requests):
        return None
    window = choose_window(requests, load, session.options.workload.arrival)
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
        flags=result.flags,
        elapsed_s=(result.ended_ns - result.started_ns) / 1e9,
        workload=session.options.workload,
        step=Limits.of(session.measured.config),
    )
    point, reasons = judged(
        summarise(requests, facts), session.options.targets, session.client, result.lateness.loop_lag
    )
    for reason in reasons:
        observer.warn(reason)
    point = _checked(session.measured, point)
    phases = window.phases(requests)
    del requests  # of a million hundreds of megabytes, which saving them needs again
    session.run.finish_point(point, phases)
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
