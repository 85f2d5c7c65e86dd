"""Starting a server without a shell, and ending all of it."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import pytest

from giq.catalog import load_catalog
from giq.errors import ServerError, UsageError
from giq.profiling.options import Declared
from giq.profiling.server_process import answers, free_port, launch_command, running, vllm_command

SERVER = """
import http.server, subprocess, sys
class Ready(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200); self.end_headers()
    def log_message(self, *words): pass
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
open(sys.argv[2], "w").write(str(child.pid))
http.server.HTTPServer(("127.0.0.1", int(sys.argv[1])), Ready).serve_forever()
"""


def alive(pid: int) -> bool:
    """Whether a process runs (a zombie does not)."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def gone(pid: int) -> bool:
    """Whether a process ends within 10 s."""
    until = time.monotonic() + 10
    while alive(pid) and time.monotonic() < until:
        time.sleep(0.05)
    return not alive(pid)


def test_a_server_is_started_and_ended_with_its_children(tmp_path: Path) -> None:
    """When the block ends the server and what it started are gone."""
    script, noted = tmp_path / "server.py", tmp_path / "child"
    script.write_text(SERVER)

    async def use() -> tuple[bool, int, Path]:
        port = free_port()
        async with running([sys.executable, str(script), str(port), str(noted)], port, answers, print) as launched:
            return answers(launched.url), int(noted.read_text()), launched.log

    answered, child, log = asyncio.run(use())

    assert answered
    assert not log.exists(), "nothing went wrong"
    assert gone(child)


@pytest.mark.parametrize("sign", [signal.SIGKILL, signal.SIGTERM, signal.SIGHUP])
def test_a_killed_giq_leaves_no_server(tmp_path: Path, sign: signal.Signals) -> None:
    """However giq ends, the server that it launched ends too."""
    own = tmp_path / "own.py"
    own.write_text(
        "import asyncio, sys\n"
        "from giq.profiling.server_process import answers, free_port, running\n"
        "async def use():\n"
        "    code = 'import os, time; print(os.getpid(), flush=True); time.sleep(600)'\n"
        "    command = [sys.executable, '-c', code]\n"
        "    async with running(command, free_port(), lambda url: True, print) as launched:\n"
        "        while not (pid := launched.log.read_text().strip()):\n"
        "            await asyncio.sleep(0.05)\n"
        "        launched.log.unlink()\n"
        "        print(pid, flush=True)\n"
        "        await asyncio.sleep(600)\n"
        "asyncio.run(use())\n"
    )
    heed = partial(signal.signal, signal.SIGHUP, signal.SIG_DFL)  # nohup ignores it
    with subprocess.Popen([sys.executable, str(own)], stdout=subprocess.PIPE, text=True, preexec_fn=heed) as giq:
        assert giq.stdout is not None
        server = int(giq.stdout.readline())
        assert alive(server)
        giq.send_signal(sign)

    assert gone(server)


def test_a_missing_interpreter_is_told_in_words() -> None:
    """A program that does not exist is an error with its name, not a traceback."""

    async def use() -> None:
        async with running(["/nope/python", "-m", "x"], free_port(), answers, print):
            pass

    with pytest.raises(ServerError, match="/nope/python"):
        asyncio.run(use())


def test_no_proxy_stands_before_a_server_of_our_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A proxy of the environment is not asked for loopback."""
    script = tmp_path / "server.py"
    script.write_text(SERVER)
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.delenv("NO_PROXY", raising=False)

    async def use() -> bool:
        port = free_port()
        command = [sys.executable, str(script), str(port), str(tmp_path / "child")]
        async with asyncio.timeout(20), running(command, port, answers, print):
            return True

    assert asyncio.run(use())


def test_a_server_that_dies_is_told_with_the_end_of_its_log() -> None:
    """The error holds the exit code and what the server printed last; the log is kept and named."""
    said: list[str] = []

    async def use() -> None:
        port = free_port()
        command = [sys.executable, "-c", "print('no such model'); raise SystemExit(7)"]
        async with running(command, port, answers, said.append):
            pass

    with pytest.raises(ServerError, match=r"code 7[\s\S]*no such model"):
        asyncio.run(use())
    log = Path(said[-1].rpartition(": ")[2])
    assert "no such model" in log.read_text()
    log.unlink()


def test_the_cause_that_is_told_is_no_warning() -> None:
    """A warning that names an error which may come is passed over for the error that came."""
    lines = ["WARNING this can cause errors like `OSError: [Errno 24]`", "ERROR RuntimeError: no kernel", *"abcdefgh"]
    script = f"import sys; print({chr(10).join(lines)!r}); sys.exit(1)"
    said: list[str] = []

    async def use() -> None:
        async with running([sys.executable, "-c", script], free_port(), answers, said.append):
            pass

    with pytest.raises(ServerError, match="Its log says: ERROR RuntimeError: no kernel") as caught:
        asyncio.run(use())
    Path(said[-1].rpartition(": ")[2]).unlink()
    assert "OSError" not in str(caught.value)


def test_the_entry_point_of_a_given_interpreter_is_used() -> None:
    """An interpreter given by the user starts vLLM's Python entry point."""
    assert vllm_command("/opt/python") == ["/opt/python", "-m", "vllm.entrypoints.openai.api_server"]


def test_the_launch_command_says_what_was_declared_and_trusts_no_code() -> None:
    """Engine arguments become flags; remote code is trusted only when that was asked for."""
    declared = Declared(
        model="llama-3-8b", tensor_parallel_size=2, engine_args={"max_num_seqs": 64, "enable_prefix_caching": False}
    )

    command = launch_command(declared, load_catalog(), 8123, "/opt/python", trust=False)
    trusting = launch_command(declared, load_catalog(), 8123, "/opt/python", trust=True)

    assert command[3:5] == ["--model", load_catalog().model("llama-3-8b").weights[0].repository]
    assert " ".join(command).endswith("--max-num-seqs 64 --no-enable-prefix-caching --tensor-parallel-size 2")
    assert [*command, "--trust-remote-code"] == trusting


def test_only_published_weights_are_launched_by_a_catalog_name() -> None:
    """A precision that is not published is refused with those that are; a repository is passed on as it is."""
    catalog = load_catalog()

    with pytest.raises(UsageError, match="int3") as refused:
        launch_command(Declared(model="llama-3-8b", precision="int3"), catalog, 1, "/opt/python", trust=False)
    assert "bf16" in (refused.value.hint or "")
    own = launch_command(Declared(model="acme/own", precision="int3"), catalog, 1, "/opt/python", trust=False)
    assert own[3:5] == ["--model", "acme/own"]


def test_launching_without_vllm_says_what_else_there_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where vLLM is not installed the error names the other ways."""
    monkeypatch.setenv("PATH", str(tmp_path))

    with pytest.raises(ServerError, match="--endpoint or --simulate"):
        launch_command(Declared(model="llama-3-8b"), load_catalog(), 8000, None, trust=False)
