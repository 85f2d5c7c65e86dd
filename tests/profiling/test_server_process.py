"""Starting a server without a shell, and ending all of it."""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path

import pytest

from giq.catalog import load_catalog
from giq.errors import ServerError
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


def test_a_server_is_started_and_ended_with_its_children(tmp_path: Path) -> None:
    """When the block ends the server and what it started are gone."""
    script, noted = tmp_path / "server.py", tmp_path / "child"
    script.write_text(SERVER)

    async def use() -> tuple[bool, int]:
        port = free_port()
        async with running([sys.executable, str(script), str(port), str(noted)], port, answers, print) as launched:
            return answers(launched.url), int(noted.read_text())

    answered, child = asyncio.run(use())

    assert answered
    for _ in range(50):
        if not alive(child):
            break
        os.sched_yield()
        asyncio.run(asyncio.sleep(0.05))
    assert not alive(child)


def test_a_server_that_dies_is_told_with_the_end_of_its_log() -> None:
    """The error holds the exit code and what the server printed last."""

    async def use() -> None:
        port = free_port()
        command = [sys.executable, "-c", "print('no such model'); raise SystemExit(7)"]
        async with running(command, port, answers, print):
            pass

    with pytest.raises(ServerError, match=r"code 7[\s\S]*no such model"):
        asyncio.run(use())


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


def test_launching_without_vllm_says_what_else_there_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where vLLM is not installed the error names the other ways."""
    monkeypatch.setenv("PATH", str(tmp_path))

    with pytest.raises(ServerError, match="--endpoint or --simulate"):
        launch_command(Declared(model="llama-3-8b"), load_catalog(), 8000, None, trust=False)
