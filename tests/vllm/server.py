"""A real vLLM server on this machine's CPU, for tests.

`VllmServer` starts one from the environment that install.sh made and stops all of it at the end:

    with VllmServer() as server:
        requests go to server.url, the model is called MODEL_NAME

On a machine with two cores or more the server is pinned to one of them, so that a client can have another
(`server.client_core`) to itself. Standard library only.
"""

import contextlib
import http.client
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

HERE = Path(__file__).resolve().parent
MODEL_NAME = "giq-tiny"
VOCABULARY = 2048  # as make_model.py has it; ids from FIRST_PLAIN_ID on are no special tokens
FIRST_PLAIN_ID = 6
MAX_MODEL_LEN = 4096

SETTINGS = {"VLLM_CPU_KVCACHE_SPACE": "2", "HF_HUB_OFFLINE": "1", "VLLM_NO_USAGE_STATS": "1"}

# Asks Linux to end vLLM when the thread that started it is gone (a killed pytest leaves nothing behind), then becomes
# vLLM.
LAUNCHER = (
    "import ctypes, os, signal, sys; "
    "ctypes.CDLL(None).prctl(1, signal.SIGTERM, 0, 0, 0); "  # 1 is PR_SET_PDEATHSIG
    "os.execv(sys.executable, [sys.executable, *sys.argv[1:]])"
)


class VllmServerError(RuntimeError):
    """The server did not come up; the message ends with the tail of its log."""


def environment_folder() -> Path:
    """Return where the environment is: $GIQ_VLLM_VENV, or .venv-vllm in the root of the repository."""
    return Path(os.environ.get("GIQ_VLLM_VENV", HERE.parents[1] / ".venv-vllm"))


def is_installed(environment: Path | None = None) -> bool:
    """Say whether install.sh has finished there (its stamp is not empty)."""
    stamp = (environment or environment_folder()) / "giq-vllm-stamp"
    return stamp.is_file() and stamp.stat().st_size > 0


def tiny_model(environment: Path) -> Path:
    """Return the model's folder inside the environment, made first where it is missing or older than its script."""
    folder = environment / MODEL_NAME
    script = HERE / "make_model.py"
    config = folder / "config.json"
    if not config.is_file() or config.stat().st_mtime < script.stat().st_mtime:
        subprocess.run([environment / "bin" / "python", script, folder], check=True)
    return folder


def free_port() -> int:
    """Return a loopback port that nobody listens on just now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def is_healthy(port: int) -> bool:
    """Say whether GET /health on this loopback port answers 200."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("GET", "/health")
        return connection.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


class VllmServer:
    """A vLLM process with the tiny model; a context manager. Start it from a thread that outlives it."""

    def __init__(
        self,
        engine_args: Sequence[str] = (),
        *,
        environment: Path | None = None,
        log_path: Path | None = None,
        start_timeout_s: float = 300.0,
    ) -> None:
        """Choose port, cores and log file; `engine_args` are added to vLLM's own command line."""
        self.environment = environment or environment_folder()
        self.engine_args = list(engine_args)
        self.start_timeout_s = start_timeout_s
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.log_path = log_path or Path(tempfile.mkdtemp(prefix="giq-vllm-")) / "vllm.log"
        cores = sorted(os.sched_getaffinity(0))
        self.client_core: int | None = cores[0] if len(cores) > 1 else None
        self.server_core: int | None = cores[1] if len(cores) > 1 else None
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        """The process that listens; also the id of the group that all of vLLM's processes are in."""
        if self._process is None:
            raise VllmServerError("vLLM is not running")
        return self._process.pid

    def __enter__(self) -> Self:
        """Start vLLM and wait until it answers."""
        self._process = self._started(tiny_model(self.environment))
        try:
            self._wait_until_healthy(self._process)
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop vLLM."""
        self.stop()

    def command(self, model: Path) -> list[str]:
        """Return the command line: the module, as the `vllm` command looks for a distribution of another name."""
        arguments = [str(self.environment / "bin" / "python"), "-c", LAUNCHER]
        arguments += ["-m", "vllm.entrypoints.openai.api_server"]
        arguments += ["--model", str(model), "--load-format", "dummy", "--served-model-name", MODEL_NAME]
        arguments += ["--host", "127.0.0.1", "--port", str(self.port)]
        if shutil.which("g++") is None:
            arguments.append("--enforce-eager")  # torch.compile needs a C++ compiler
        return arguments + self.engine_args

    def settings(self) -> dict[str, str]:
        """Return the environment variables that vLLM runs under."""
        settings = {**os.environ, **SETTINGS, "VLLM_CACHE_ROOT": str(self.environment / "cache")}
        if self.server_core is not None:
            settings["VLLM_CPU_OMP_THREADS_BIND"] = str(self.server_core)
        return settings

    def log_tail(self, lines: int = 40) -> str:
        """Return the last lines that vLLM wrote."""
        if not self.log_path.is_file():
            return ""
        return "\n".join(self.log_path.read_text(errors="replace").splitlines()[-lines:])

    def stop(self) -> None:
        """Ask vLLM to end, then end whatever is left of its process group."""
        process, self._process = self._process, None
        if process is None:
            return
        process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(timeout=15)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()

    def _started(self, model: Path) -> subprocess.Popen[bytes]:
        """Start the process in a group of its own; it inherits the affinity that this thread has for that moment."""
        ours = os.sched_getaffinity(0)
        with self.log_path.open("wb") as log:
            try:
                if self.server_core is not None:
                    os.sched_setaffinity(0, {self.server_core})
                return subprocess.Popen(
                    self.command(model),
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    env=self.settings(),
                    start_new_session=True,
                )
            finally:
                os.sched_setaffinity(0, ours)

    def _wait_until_healthy(self, process: subprocess.Popen[bytes]) -> None:
        """Return once /health answers; raise, with the tail of the log, when vLLM ends first or takes too long."""
        deadline = time.monotonic() + self.start_timeout_s
        while not is_healthy(self.port):
            if process.poll() is not None:
                raise VllmServerError(f"vLLM ended with {process.returncode} while starting:\n{self.log_tail()}")
            if time.monotonic() > deadline:
                raise VllmServerError(f"vLLM did not answer in {self.start_timeout_s:.0f} s:\n{self.log_tail()}")
            time.sleep(0.25)
