"""Makes the measurements of a campaign that are missing, one server at a time, within a time limit."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from giq.catalog import load_catalog
from giq.errors import GiqError
from giq.profiling.options import Declared
from giq.profiling.server_process import answers, free_port, launch_command, running
from giq.units import format_span
from tests.campaign.campaign import Bench, Campaign, Client, Serve
from tests.campaign.progress import FAILURE, Item, items_of

ROOT = Path(__file__).resolve().parents[2]

A_DAY_S = 86_400.0
"""Without a time limit a server may take so long to start."""

LATEST_S = 15.0
"""So long before the end what still runs is asked to save, and after so much longer it is ended."""


@dataclass
class Stop:
    """What stops a campaign: Ctrl-C or SIGTERM is handed to what runs now, which saves, and nothing more is begun."""

    asked: bool = False
    child: asyncio.subprocess.Process | None = None
    starting: asyncio.Task[None] | None = field(default=None, repr=False)

    def __call__(self) -> None:
        """Ask what runs to stop."""
        self.asked = True
        if self.child is not None:
            with contextlib.suppress(ProcessLookupError):
                self.child.send_signal(signal.SIGTERM)
        else:
            self.give_up()

    def give_up(self) -> None:
        """Stop a server that is still starting."""
        if self.starting is not None:
            self.starting.cancel()


@dataclass(frozen=True)
class Session:
    """One call: results go below `folder`, `python` has vLLM (None: this one), nothing is begun past `deadline`."""

    folder: Path
    python: str | None
    deadline: float
    stop: Stop = field(default_factory=Stop)

    @property
    def left_s(self) -> float:
        """Seconds until the time limit."""
        return self.deadline - time.monotonic()


def say(words: str) -> None:
    """Tell what goes on, with the time."""
    print(f"{time.strftime('%H:%M:%S')} {words}", file=sys.stderr, flush=True)


async def measure(campaign: Campaign, session: Session) -> None:
    """Make what is missing, in its order; what does not fit into the time that is left is not begun."""
    with _signals(session.stop):
        for step in campaign.steps:
            pending = [item for item in items_of(step, session.folder) if item.state != "done"]
            if not pending:
                say(f"{step.name}: done before")
            elif session.stop.asked:
                return
            elif isinstance(step, Client):
                await _each(pending, None, session)
            else:
                await _on_server(step, pending, session)


async def _on_server(step: Serve, pending: Sequence[Item], session: Session) -> None:
    """Start the server of *step* and make the *pending* items on it, where there is time for one at least."""
    need = step.start_seconds + min(item.task.seconds for item in pending)
    if need > session.left_s:
        say(f"{step.name}: not begun: it takes about {format_span(need)}, {_left(session)}")
        return
    note = session.folder / step.name / FAILURE
    session.stop.starting = asyncio.create_task(_served(step, pending, session))
    latest = asyncio.get_running_loop().call_later(min(session.left_s - LATEST_S, A_DAY_S), session.stop.give_up)
    try:
        await session.stop.starting
        note.unlink(missing_ok=True)
    except asyncio.CancelledError:
        say(f"{step.name}: stopped while its server started")
    except GiqError as error:
        note.parent.mkdir(parents=True, exist_ok=True)
        note.write_text(f"{error}\n")
        say(f"{step.name}: failed: {error}")
    finally:
        latest.cancel()
        session.stop.starting = None


async def _served(step: Serve, pending: Sequence[Item], session: Session) -> None:
    port = free_port()
    declared = Declared(
        model=step.model, precision=step.precision, tensor_parallel_size=step.tensor_parallel_size,
        engine_args=step.engine_args,
    )  # fmt: skip
    command = launch_command(declared, load_catalog(), port, session.python, trust=False)
    say(f"{step.name}: starting {' '.join(command)}")
    began = time.monotonic()
    async with running(command, port, answers, say) as launched:
        session.stop.starting = None
        say(f"{step.name}: serves after {format_span(time.monotonic() - began)}")
        await _each(pending, launched.url, session)


async def _each(pending: Sequence[Item], url: str | None, session: Session) -> None:
    """Make the items one after the other; what fails is noted, and the next is begun."""
    for item in pending:
        if session.stop.asked:
            return
        if item.task.seconds > session.left_s:
            say(f"{item.name}: not begun: it takes about {format_span(item.task.seconds)}, {_left(session)}")
            continue
        item.folder.mkdir(parents=True, exist_ok=True)
        code, words = await _child(_command(item, url, session), item, session)
        note = item.folder / FAILURE
        if item.state != "missing":
            note.unlink(missing_ok=True)
        elif code:
            note.write_text(f"exit code {code}: {words}\n")
        say(f"{item.name}: {item.state}" + (f" (exit code {code}: {words})" if code else ""))


def _left(session: Session) -> str:
    return f"and {format_span(max(0.0, session.left_s))} are left"


def _command(item: Item, url: str | None, session: Session) -> list[str]:
    """What makes the item, as a user would type it."""
    if isinstance(item.task, Client):
        hold = ["--streams-per-worker", str(item.task.streams_per_worker), "--hold", item.task.hold]
        return [sys.executable, "-m", "tests.campaign.client", *hold, "--to", str(item.result)]
    assert url is not None
    assert item.step is not None
    if isinstance(item.task, Bench):
        return [sys.executable, "-m", "tests.campaign.beside_bench", *_bench_words(item.task, item, url, session)]
    profile = [sys.executable, "-m", "giq", "profile", "--endpoint", url, "--results-dir", str(item.folder)]
    begun = item.interrupted()
    if begun is not None:
        return [*profile, "--resume", begun.manifest.run_id]
    return [*profile, *item.step.words(), *item.task.words()]


def _bench_words(bench: Bench, item: Item, url: str, session: Session) -> list[str]:
    loads = ",".join(f"{load.concurrency}:{load.requests}" for load in bench.loads)
    words = ["--url", url, "--loads", loads, "--turns", str(bench.turns), "--to", str(item.result)]
    words += ["--input-tokens", str(bench.input_tokens), "--output-tokens", str(bench.output_tokens)]
    return [*words, "--python", session.python or sys.executable]


async def _child(command: Sequence[str], item: Item, session: Session) -> tuple[int, str]:
    """Run *command* to its end, or until there is no time left; its exit code and its last error or word."""
    log = item.folder / "log.txt"
    limit = min(item.task.seconds + 60.0, session.left_s - LATEST_S)
    with log.open("ab") as sink:
        child = await asyncio.create_subprocess_exec(
            *command, stdin=asyncio.subprocess.DEVNULL, stdout=sink, stderr=sink, cwd=ROOT, start_new_session=True
        )
        session.stop.child = child
        try:
            for wait_s, sign in ((limit, signal.SIGTERM), (LATEST_S, signal.SIGTERM), (LATEST_S, signal.SIGKILL)):
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(child.wait(), wait_s)
                    break
                child.send_signal(sign)
            code = await child.wait()
        finally:
            session.stop.child = None
            with contextlib.suppress(ProcessLookupError):
                os.killpg(child.pid, signal.SIGKILL)  # what it may have left behind too
    lines = [line.strip() for line in log.read_text(errors="replace").splitlines() if line.strip()]
    errors = [line for line in lines if line.startswith("Error: ")]
    return code, (errors or lines or ["it said nothing"])[-1]


@contextlib.contextmanager
def _signals(stop: Stop) -> Iterator[None]:
    loop = asyncio.get_running_loop()
    signs = (signal.SIGINT, signal.SIGTERM)
    for sign in signs:
        loop.add_signal_handler(sign, stop)
    try:
        yield
    finally:
        for sign in signs:
            loop.remove_signal_handler(sign)
