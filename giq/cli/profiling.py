"""The steps of `giq profile`: a server, who it is, a run, the loop, the table."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import platform
import secrets
import sys
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from giq import __version__
from giq.errors import GiqError, Interrupted, UnreachableError, UsageError

if TYPE_CHECKING:
    from giq.catalog import Catalog
    from giq.cli.asked import OutputForm
    from giq.curve.client_error import ClientCalibration
    from giq.load.endpoint import Endpoint
    from giq.load.identity import ServerIdentity
    from giq.profiling.configuration import Measured
    from giq.profiling.options import ProfileOptions
    from giq.profiling.probe import Session
    from giq.show.live import LiveProfile
    from giq.store.run import Run
    from giq.workload.trace import Trace

CHECKING = "Measuring the client's own error first, for a few seconds ..."
DEFAULT_ENDPOINT = "http://localhost:8000"


@dataclass(frozen=True)
class Choice:
    """Which server is measured and how it is told: what the command line says besides the profile's options.

    `trace_file` is what a trace was read from. `resumed` is the run that is gone on with, None for a new one.
    """

    endpoint: str | None
    launch: bool
    simulate: bool
    python: str | None
    trust_remote_code: bool
    api: Literal["completions", "chat"]
    api_key_file: Path | None
    ca_file: Path | None
    yes: bool
    quiet: bool
    results_dir: Path
    output: OutputForm
    trace_file: Path | None = None
    resumed: Run | None = None

    @property
    def source(self) -> Literal["endpoint", "launch", "simulate"]:
        """Where the server comes from."""
        return "launch" if self.launch else "simulate" if self.simulate else "endpoint"


def run_profile(choice: Choice, options: ProfileOptions, trace: Trace | None, catalog: Catalog) -> None:
    """Measure what *choice* names and print its points.

    Raises:
        UsageError: more than one server is named, or what is said contradicts what is found.
        ServerError: no server answers, or it cannot be used.
        Interrupted: stopped by the user; what was measured is saved and printed.
    """
    from giq.load.client import run
    from giq.load.endpoint import Endpoint

    if sum((choice.endpoint is not None, choice.launch, choice.simulate)) > 1:
        raise UsageError("--endpoint, --launch and --simulate exclude each other", hint="Choose one.")
    if choice.endpoint is not None:
        _confirm(choice, Endpoint(url=choice.endpoint))
    try:
        run(_profile(choice, options, trace, catalog))
    except KeyboardInterrupt:  # while a load is held Ctrl-C is heard by the session, which drains and saves
        raise Interrupted("stopped while no load was being held; what was measured before is saved") from None


async def _profile(choice: Choice, options: ProfileOptions, trace: Trace | None, catalog: Catalog) -> None:
    from giq.cli.at_hand import recover_runs
    from giq.load.endpoint import Endpoint, read_api_key
    from giq.profiling.session import refuse_unusable
    from giq.show.live import LiveProfile

    with LiveProfile(quiet=choice.quiet) as live:
        recover_runs(choice.results_dir)
        key = read_api_key(choice.api_key_file)
        command = _command(choice, options, catalog)
        client = await _calibrated(options, live) if command else None  # before a server costs anything
        async with _server(choice, command, live) as url:
            endpoint = Endpoint(
                url=url, model=_served_name(choice, options), api_key=key, ca_file=choice.ca_file, api=choice.api
            )
            identity = await _inspected(choice, endpoint, catalog)
            measured = _identified(options, endpoint, identity, catalog)
            _announce(endpoint, identity, measured, options, live)
            refuse_unusable(options, endpoint, identity, trace)
            began = time.monotonic()
            if command is None:
                client = await _calibrated(options, live)
            session = _session(choice, options, endpoint, identity, measured, trace, catalog)
            session.run.revise(client=client)
            spent_s = time.monotonic() - began  # the server waits for its client's calibration
            await _measured_points(choice, dataclasses.replace(session, client=client, spent_s=spent_s), live)


async def _calibrated(options: ProfileOptions, live: LiveProfile) -> ClientCalibration | None:
    """What the client itself adds at the loads to come, and say so; None where that cannot be found out."""
    from giq.profiling.known_client import Memory, known_client, rungs_for
    from giq.show.client import client_words

    rungs = rungs_for(options.loads, options.workload.output_tokens.mean)
    try:
        client = await known_client(rungs, options.workers or 1, Memory(), lambda: live.say(CHECKING))
    except GiqError as error:
        live.warn(f"the client's own error is not known: {error.what}")
        return None
    live.say(client_words(client))
    return client


def _command(choice: Choice, options: ProfileOptions, catalog: Catalog) -> tuple[list[str], int] | None:
    """What starts the server that giq starts itself, and its port; None for an endpoint as given."""
    from giq.profiling.server_process import free_port, launch_command

    if not (choice.launch or choice.simulate):
        return None
    port = free_port()
    if choice.simulate:
        return _simulator(options, catalog, port), port
    return launch_command(options.declared, catalog, port, choice.python, trust=choice.trust_remote_code), port


@contextlib.asynccontextmanager
async def _server(choice: Choice, command: tuple[list[str], int] | None, live: LiveProfile) -> AsyncIterator[str]:
    """The URL of the server: the endpoint as given, or one that giq starts and stops after."""
    from giq.profiling.server_process import answers, running

    if command is None:
        yield choice.endpoint or DEFAULT_ENDPOINT
        return
    if choice.simulate:
        live.say("Starting the simulated engine: what follows is ESTIMATED, not measured.")
    else:
        live.say(f"Starting {' '.join(command[0])}")
    async with running(*command, answers, live.say) as launched:
        yield launched.url


def _simulator(options: ProfileOptions, catalog: Catalog, port: int) -> list[str]:
    """The command of a simulated engine that serves the unit that `giq recommend` would rank."""
    from giq.cli.declared import declared_configuration, engine_words

    if not options.declared.model or not options.declared.accelerator:
        raise UsageError(
            "--simulate needs --model and --accelerator", hint="Like --model llama-3-8b --accelerator nvidia-l4."
        )
    config = declared_configuration(options.declared, options.workload, catalog)
    return [sys.executable, "-m", "giq", "engine", "serve", *engine_words(config), "--port", str(port)]


def _served_name(choice: Choice, options: ProfileOptions) -> str | None:
    """The model to ask the endpoint for; a server that giq started serves just one."""
    return None if choice.launch or choice.simulate else options.declared.model


async def _inspected(choice: Choice, endpoint: Endpoint, catalog: Catalog) -> ServerIdentity:
    from giq.load.inspection import inspect

    try:
        return await inspect(endpoint, catalog)
    except UnreachableError as error:
        if choice.endpoint is None and not (choice.launch or choice.simulate):
            raise UnreachableError(
                error.what,
                where=error.where,
                hint="Name a server with --endpoint URL, start vLLM here with --launch --model M, "
                "or predict with --simulate --model M --accelerator A.",
            ) from None
        raise


def _identified(options: ProfileOptions, endpoint: Endpoint, identity: ServerIdentity, catalog: Catalog) -> Measured:
    from giq.profiling.configuration import identify
    from giq.profiling.hardware import hardware_behind

    hardware = hardware_behind(endpoint.url, catalog) if identity.simulated is None else None
    return identify(options.declared, identity, hardware, catalog)


def _announce(
    endpoint: Endpoint, identity: ServerIdentity, measured: Measured, options: ProfileOptions, live: LiveProfile
) -> None:
    """Say before any load where it goes, which model, on what, and about how long."""
    from giq.catalog.configuration import draws_weights
    from giq.profiling.random_weights import random_weights_words
    from giq.recommend.requirement import workload_words
    from giq.units import format_span

    main = measured.config.main
    live.say(
        f"Load goes to {endpoint.url}: {identity.server} {identity.version or ''} serving {identity.model} on "
        f"{main.accelerator} ×{measured.config.accelerators_total} ({measured.hardware_source})."
    )
    live.say(f"Workload: {workload_words(options.workload)}, seed {options.seed}.")
    if options.loads:
        longest = options.stop.duration_s
        about = f", at most {format_span(longest * len(options.loads))} and the answers still open" if longest else ""
        live.say(f"{len(options.loads)} load points{about}.")
    else:
        within = f"within {format_span(options.budget_s)}" if options.budget_s else "for as long as it takes"
        live.say(
            f"Searching for the knee and the capacity at the targets {within}: at most {options.max_points} loads."
        )
    if options.workload.conversation is not None and not (identity.tells_token_ids and endpoint.api == "completions"):
        live.warn(
            "The server does not tell the tokens of its answers: random ones stand for them in what is sent as "
            "history, and its prefix cache does not know those."
        )
    if draws_weights(main.engine_args):
        live.warn(random_weights_words(measured.model))
    if measured.evidence == "estimated":
        live.say("The server is giq's simulated engine: every number is ESTIMATED, not measured.")
    elif measured.hardware_source == "declared":
        live.warn(
            f"The hardware cannot be seen from here: {main.accelerator} is "
            + ("what you declared." if measured.accelerator else "unknown; name it with --accelerator.")
        )


def _confirm(choice: Choice, endpoint: Endpoint) -> None:
    """Ask before anything is sent to a server that is not on this machine.

    Raises:
        UsageError: nobody is there to be asked, or the answer is no.
    """
    if choice.yes or endpoint.is_loopback:
        return
    if not sys.stdin.isatty():
        raise UsageError(
            "the server is not on this machine, and nobody is there to be asked",
            where=endpoint.url,
            hint="Confirm with --yes that it may be loaded.",
        )
    print(f"Load {endpoint.url}, which is not on this machine? [y/N] ", end="", file=sys.stderr, flush=True)
    if sys.stdin.readline().strip().lower() not in ("y", "yes"):
        raise UsageError("not confirmed; nothing was sent", where=endpoint.url)


def _session(
    choice: Choice,
    options: ProfileOptions,
    endpoint: Endpoint,
    identity: ServerIdentity,
    measured: Measured,
    trace: Trace | None,
    catalog: Catalog,
) -> Session:
    from giq.profiling.probe import Session

    if choice.resumed is not None:
        run, zero_ns = choice.resumed, _taken_up(choice.resumed, endpoint, identity, measured)
    else:
        zero_ns = time.monotonic_ns()
        run = _new_run(choice, options, endpoint, identity, measured, zero_ns)
    return Session(
        options=options, endpoint=endpoint, identity=identity, measured=measured,
        names=identity.metric_names or catalog.server_version("vllm").metrics, run=run, nonce=run.manifest.nonce,
        zero_ns=zero_ns, trace=trace,
    )  # fmt: skip


def _taken_up(run: Run, endpoint: Endpoint, identity: ServerIdentity, measured: Measured) -> int:
    """Go on with *run*, which this process owns; returns its zero on the monotonic clock (ns).

    Raises:
        IncompatibleError: it was begun on another server.
    """
    from giq.profiling.resumption import refuse_other_server, resumed_clock

    refuse_other_server(run.manifest, identity, measured)
    zero_ns, workers = resumed_clock(run.manifest)
    run.resume(workers=workers, endpoint=endpoint.url)
    return zero_ns


def _new_run(
    choice: Choice,
    options: ProfileOptions,
    endpoint: Endpoint,
    identity: ServerIdentity,
    measured: Measured,
    zero_ns: int,
) -> Run:
    from giq.profiling.clock import this_worker
    from giq.profiling.resumption import Asked
    from giq.store.run import create_run
    from giq.store.run_manifest import Host, RunManifest, Server, new_run_id

    manifest = RunManifest(
        run_id=new_run_id(),
        created_at=datetime.now(UTC).isoformat(timespec="seconds"),
        giq_version=__version__,
        command=("giq", *sys.argv[1:]),
        config=measured.config,
        workload=options.workload,
        seed=options.seed,
        nonce=secrets.randbits(32),
        endpoint=endpoint.url,
        hardware_source=measured.hardware_source,
        accelerator_name=measured.hardware_detail,
        server_command=measured.serving.command if measured.serving else (),
        versions=measured.serving.versions if measured.serving else {},
        host=Host(cores=os.cpu_count() or 1, python=platform.python_version(), os=platform.system()),
        server=Server(
            name=identity.server,
            version=identity.version or "unknown",
            models=identity.models,
            simulated=identity.simulated,
        ),
        workers=(this_worker(zero_ns),),
        loads=options.loads,
        targets=options.targets,
        rtt_s=identity.rtt_s,
        asked=Asked(
            source=choice.source, api=choice.api, python=choice.python,
            trust_remote_code=choice.trust_remote_code, options=options,
        ).kept(),
    )  # fmt: skip
    return create_run(choice.results_dir, manifest, choice.trace_file)


async def _measured_points(choice: Choice, session: Session, live: LiveProfile) -> None:
    from giq.profiling.session import measure

    try:
        await measure(session, live)
    except GiqError:
        _report(choice, session, live)
        raise
    _report(choice, session, live)


def _report(choice: Choice, session: Session, live: LiveProfile) -> None:
    """Print the run's points to stdout, and on stderr where they are and what comes next."""
    from giq.curve.capacity import capacity, saturation
    from giq.curve.curve import Curve
    from giq.show.curves import capacity_words, curve_title
    from giq.show.points import points_table
    from giq.show.table import write
    from giq.show.terminal import data_console

    points = session.run.points()
    if not points:
        return
    live.rest()
    curve = Curve(session.measured.config, session.options.workload, tuple(points))
    percentile = next((target.percentile for target in session.options.targets), "p90")
    write(points_table(curve.points, curve_title(curve), percentile), choice.output, data_console())
    live.say(f"Saturation: {saturation(curve).reason}")
    if session.options.targets:
        live.say(f"Capacity: {capacity_words(capacity(curve, session.options.targets))}")
    live.say(f"Saved in {session.run.path} ({sum(point.valid for point in points)} of {len(points)} points valid).")
    live.say(f"Next: {_next_command(session)}")


def _next_command(session: Session) -> str:
    """The `giq recommend` that this profile answers: the same model, workload and targets."""
    import shlex

    from giq.catalog import load_catalog
    from giq.recommend.notes import profile_words

    words = profile_words(session.options.workload, session.options.targets, load_catalog()) or []
    return shlex.join(["giq", "recommend", "--model", session.measured.config.main.model, *words])
