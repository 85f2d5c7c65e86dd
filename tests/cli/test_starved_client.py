"""A client whose core is taken away says so: its points are flagged and not used."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from tests.cli.test_profile_failures import Outcome, end, start
from tests.load.exact_server import Behaviour, ExactServer

LOAD = ("--input-tokens", "8", "--output-tokens", "10", "--duration", "2s", "--workers", "1")
Starve = Callable[[asyncio.subprocess.Process], Awaitable[None]]


async def stopped_again_and_again(client: asyncio.subprocess.Process) -> None:
    """Stop the client for 150 ms out of every 400 until it ends."""
    with contextlib.suppress(ProcessLookupError):
        while client.returncode is None:
            client.send_signal(signal.SIGSTOP)
            await asyncio.sleep(0.15)
            client.send_signal(signal.SIGCONT)
            await asyncio.sleep(0.25)


async def crowded_out(client: asyncio.subprocess.Process) -> None:
    """Let the client run only when another process on its core does not want to, and that one always wants to."""
    core = min(os.sched_getaffinity(0))
    os.sched_setaffinity(client.pid, {core})
    os.sched_setscheduler(client.pid, os.SCHED_IDLE, os.sched_param(0))
    hog = await asyncio.create_subprocess_exec(
        sys.executable, "-c", f"import os; os.sched_setaffinity(0, {{{core}}})\nwhile True: pass"
    )
    try:
        await asyncio.sleep(3.0)
    finally:
        hog.kill()
        await hog.wait()
        os.sched_setscheduler(client.pid, os.SCHED_OTHER, os.sched_param(0))


def profile(folder: Path, starve: Starve, *words: str) -> Outcome:
    """Profile a server that answers in 70 ms, and starve the client from when the load comes."""

    async def run() -> Outcome:
        async with ExactServer(behave=lambda seen, number: Behaviour(first_s=0.05, gap_s=0.002)) as server:
            client = await start(folder, "profile", "--endpoint", server.url, *LOAD, *words)
            while not any(seen.body["max_tokens"] == 10 for seen in server.seen) and client.returncode is None:
                await asyncio.sleep(0.01)
            starving = asyncio.ensure_future(starve(client))
            try:
                return await end(client, folder)
            finally:
                starving.cancel()
                await asyncio.gather(starving, return_exceptions=True)

    return asyncio.run(run())


@pytest.mark.parametrize("starve", [stopped_again_and_again, crowded_out])
@pytest.mark.parametrize(
    ("load", "flag"),
    [(("--concurrency", "8"), "CLIENT_BOUND"), (("--request-rate", "60"), "GENERATOR_LATE")],
    ids=["closed", "open"],
)
def test_a_starved_client_flags_its_points(tmp_path: Path, starve: Starve, load: tuple[str, ...], flag: str) -> None:
    """Whether it is stopped for moments or crowded off its core: the point is saved, flagged, and not valid."""
    outcome = profile(tmp_path, starve, *load)

    assert outcome.code == 0, outcome.stderr
    point = outcome.points().iloc[0]
    assert flag in point["flags"], outcome.stderr
    assert not point.valid
    assert f"{flag}:" in outcome.stderr
