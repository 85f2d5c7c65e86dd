"""Starts a model server of our own (vLLM, or the simulated engine), waits for it, and stops it after."""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import importlib.util
import os
import re
import shutil
import signal
import socket
import sys
import tempfile
import urllib.request
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from giq.catalog import Catalog, Model
from giq.catalog.configuration import EngineValue, draws_weights
from giq.catalog.shipped import user_home
from giq.errors import ServerError, UsageError
from giq.profiling.options import Declared
from giq.profiling.random_weights import launch_arguments, weightless_folder

START_LIMIT_S = 1800.0
STOP_LIMIT_S = 30.0

DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))
"""Opens URLs without any proxy of the environment: a server of our own is on this machine."""

LAUNCHER = (
    "import ctypes, os, signal, sys; "
    "ctypes.CDLL(None).prctl(1, signal.SIGTERM, 0, 0, 0); "  # 1 is PR_SET_PDEATHSIG (linux/prctl.h)
    "os.getppid() == int(sys.argv[1]) or sys.exit(1); "  # giq is gone already
    "os.execvp(sys.argv[2], sys.argv[2:])"
)
"""Asks Linux to end the server when giq is gone, however it went, then becomes the server."""


@dataclass(frozen=True)
class Launched:
    """A server that giq started: where it answers and how it was started."""

    url: str
    command: tuple[str, ...]
    log: Path


def vllm_command(python: str | None) -> list[str] | None:
    """How to start vLLM here: the given interpreter's entry point, this one's, or `vllm serve`; None without vLLM.

    The interpreter's entry point comes first: it works for every build of vLLM, also where the `vllm`
    command looks for a distribution of that name and fails.
    """
    entry = ["-m", "vllm.entrypoints.openai.api_server"]
    if python:
        return [python, *entry]
    if importlib.util.find_spec("vllm"):
        return [sys.executable, *entry]
    found = shutil.which("vllm")
    return [found, "serve"] if found else None


def launch_command(declared: Declared, catalog: Catalog, port: int, python: str | None, *, trust: bool) -> list[str]:
    """The command that serves the declared model on loopback *port*; remote code only when *trust* says so.

    With random weights (`load_format=dummy`) a model of the catalog is served from a folder that is made for it, and
    nothing is downloaded.

    Raises:
        ServerError: no vLLM is installed here.
        UsageError: no model is declared, its declared precision is not published, or it cannot be had with random
            weights.
    """
    if not declared.model:
        raise UsageError("--launch needs --model", hint="Like --model llama-3.1-8b, or a folder or repository.")
    start = vllm_command(python)
    if start is None:
        hint = "Install vLLM (pip install vllm), give --python, or use --endpoint or --simulate."
        raise ServerError("vLLM is not installed here", hint=hint)
    repository, implied = _served(declared, catalog)
    model = [repository] if start[-1] == "serve" else ["--model", repository]
    arguments = implied | declared.engine_args
    if declared.tensor_parallel_size:
        arguments["tensor_parallel_size"] = declared.tensor_parallel_size
    flags = [word for key, value in arguments.items() for word in _flag(key, value)]
    trusted = ["--trust-remote-code"] if trust else []
    return [*start, *model, "--host", "127.0.0.1", "--port", str(port), *flags, *trusted]


def _served(declared: Declared, catalog: Catalog) -> tuple[str, dict[str, EngineValue]]:
    """A path or repository as given; a catalog name becomes its published weights, or a folder for random ones.

    With it come the arguments that follow from the choice.
    """
    assert declared.model is not None  # noqa: S101 - checked by the caller
    name = declared.model
    if "/" in name or Path(name).exists():
        return name, {}
    model: Model = catalog.model(name)
    if draws_weights(declared.engine_args):
        folder = weightless_folder(model, declared.precision, user_home())
        return str(folder), launch_arguments(model, declared.precision)
    if declared.precision is None:
        return model.weights[0].repository, {}
    weights = model.weights_for(declared.precision)
    if weights is None:
        known = ", ".join(item.precision for item in model.weights)
        raise UsageError(
            f"{model.name} is not published in {declared.precision}",
            hint=f"Known: {known}. For other weights give --model a path or repository.",
        )
    return weights.repository, {}


def _flag(key: str, value: EngineValue) -> list[str]:
    name = "--" + key.replace("_", "-")
    if isinstance(value, bool):
        return [name if value else "--no-" + key.replace("_", "-")]
    return [name, str(value)]


def free_port() -> int:
    """A TCP port on loopback that nothing listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def answers(url: str) -> bool:
    """Whether the server at *url* says that it is ready to serve (vLLM: /health)."""
    try:
        with DIRECT.open(f"{url}/health", timeout=2) as reply:
            return bool(reply.status == 200)
    except (OSError, http.client.HTTPException):
        return False


@contextlib.asynccontextmanager
async def running(
    command: Sequence[str], port: int, answers: Callable[[str], bool], say: Callable[[str], None]
) -> AsyncIterator[Launched]:
    """The server that *command* starts, without a shell, from when *answers(url)* until the block ends.

    Raises:
        ServerError: it cannot be started, ended or did not answer in time; the message ends with the last lines of
            its log, which is kept then.
    """
    if shutil.which(command[0]) is None:
        raise ServerError(f"{command[0]} cannot be run: there is no such program", where="launch")
    descriptor, name = tempfile.mkstemp(prefix="giq-server-", suffix=".log")
    log = Path(name)
    launched = Launched(f"http://127.0.0.1:{port}", tuple(command), log)
    with os.fdopen(descriptor, "wb") as sink:
        process = await asyncio.create_subprocess_exec(
            *_bound_to_us(command), stdin=asyncio.subprocess.DEVNULL, stdout=sink, stderr=sink,
            start_new_session=True, env=os.environ | {"VLLM_NO_USAGE_STATS": "1"},
        )  # fmt: skip
    failed = False
    try:
        await _until_ready(process, launched, answers, say)
        yield launched
    except ServerError:
        failed = True
        raise
    finally:
        failed = failed or process.returncode is not None
        await _stop(process)
        if failed:
            say(f"The server's log is kept: {log}")
        else:
            log.unlink(missing_ok=True)


def _bound_to_us(command: Sequence[str]) -> list[str]:
    """The command that ends with this process where the system can do that (Linux)."""
    if sys.platform != "linux":
        return list(command)
    return [sys.executable, "-c", LAUNCHER, str(os.getpid()), *command]


async def _until_ready(
    process: asyncio.subprocess.Process, launched: Launched, answers: Callable[[str], bool], say: Callable[[str], None]
) -> None:
    clock = asyncio.get_running_loop().time
    began = told = clock()
    while not await asyncio.to_thread(answers, launched.url):
        if process.returncode is not None:
            raise ServerError(f"the server ended with code {process.returncode}\n{_tail(launched.log)}", where="launch")
        if clock() - began > START_LIMIT_S:
            raise ServerError(f"the server did not answer in {START_LIMIT_S:.0f} s\n{_tail(launched.log)}")
        if clock() - told > 15:
            told = clock()
            say(f"still starting after {told - began:.0f} s (its log: {launched.log})")
        await asyncio.sleep(0.25)


def _tail(log: Path) -> str:
    lines = log.read_text(errors="replace").splitlines()
    # The first error in words is mostly the cause; what follows are traces of what it brought down. Warnings speak of
    # errors too.
    said = [line for line in lines if not re.search(r"\b(DEBUG|INFO|WARNING)\b", line)]
    cause = [line for line in said if re.search(r"\b[A-Z]\w*(Error|Exception): |\.py: error: ", line)][:1]
    return "\n".join([*(f"Its log says: {line}" for line in cause), "The end of its log:", *lines[-8:]])


async def _stop(process: asyncio.subprocess.Process) -> None:
    """End the server's whole process group: gently first, then whatever is left of it."""
    try:
        _signal_group(process, signal.SIGTERM)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(process.wait(), STOP_LIMIT_S)
    finally:
        _signal_group(process, signal.SIGKILL)
    await process.wait()


def _signal_group(process: asyncio.subprocess.Process, sign: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, sign)
