"""`giq profile --launch` when it is stopped before the server serves."""

from __future__ import annotations

import asyncio
import signal
import sys
from pathlib import Path

from tests.cli.test_profile_failures import Outcome, end, start
from tests.profiling.test_server_process import gone

STARTS_FOR_EVER = """#!{python}
import os, time
open({note!r}, "w").write(str(os.getpid()))
time.sleep(600)
"""


def test_ctrl_c_while_the_server_starts_is_one_clear_error(tmp_path: Path) -> None:
    """Exit code 130 and one line; the server is gone, and no run was begun."""
    note, python = tmp_path / "pid", tmp_path / "python"
    python.write_text(STARTS_FOR_EVER.format(python=sys.executable, note=str(note)))
    python.chmod(0o755)

    async def use() -> Outcome:
        process = await start(
            tmp_path, "profile", "--launch", "--python", str(python), "--model", "llama-3.1-8b",
            "--engine-arg", "load_format=dummy", "--concurrency", "1", "--duration", "1s",
        )  # fmt: skip
        while process.returncode is None and not (note.exists() and note.read_text()):
            await asyncio.sleep(0.05)
        process.send_signal(signal.SIGINT)
        return await end(process, tmp_path)

    outcome = asyncio.run(use())

    assert (outcome.code, list(outcome.results.glob("run=*"))) == (130, []), outcome.stderr
    assert [line.partition(":")[0] for line in outcome.stderr.splitlines()].count("Error") == 1
    assert "Traceback" not in outcome.stderr
    assert gone(int(note.read_text()))
