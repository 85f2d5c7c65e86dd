"""`giq profile` when things go wrong: one clear error, and nothing that was saved is lost."""

from __future__ import annotations

import asyncio
import os
import resource
import signal
import socket
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import pytest

from tests.cli.conftest import GIQ
from tests.load.exact_server import HEAD, Behaviour, ExactServer, Seen, chunk
from tests.profiling.exact_client import remember_exact_client

WORKLOAD = ("--input-tokens", "20", "--output-tokens", "4")
SHORT = (*WORKLOAD, "--concurrency", "4", "--requests", "120")
KEY = "sk-do-not-tell-0123456789abcdef"


@dataclass(frozen=True)
class Outcome:
    """What a `giq profile` came to."""

    code: int
    stdout: str
    stderr: str
    results: Path

    def requests(self) -> pd.DataFrame:
        """The records of its only run."""
        (path,) = self.results.glob("run=*/requests.parquet")
        return pd.read_parquet(path)

    def points(self) -> pd.DataFrame:
        """The points of its only run."""
        (path,) = self.results.glob("run=*/points.parquet")
        return pd.read_parquet(path)


async def start(folder: Path, *words: str, limit: int | None = None, **environment: str) -> asyncio.subprocess.Process:
    """Start `giq` in *folder* as a terminal does; *limit* bounds the size of any file it writes, like a full disk."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("GIQ_", "OPENAI_"))}
    remember_exact_client(folder / "home")

    def prepare() -> None:
        signal.signal(signal.SIGINT, signal.SIG_DFL)  # where the tests run in the background it is ignored
        if limit is not None:
            signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
            resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))

    return await asyncio.create_subprocess_exec(
        str(GIQ), *words, cwd=folder, env=clean | {"GIQ_HOME": str(folder / "home")} | environment,
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE, preexec_fn=prepare,
    )  # fmt: skip


async def end(process: asyncio.subprocess.Process, folder: Path) -> Outcome:
    """Wait for the end of `giq`."""
    out, err = await asyncio.wait_for(process.communicate(), 90)
    assert process.returncode is not None
    return Outcome(process.returncode, out.decode(), err.decode(), folder / "results")


def profile(server: ExactServer, folder: Path, *words: str, limit: int | None = None, **environment: str) -> Outcome:
    """Run `giq profile` against *server* to its end."""

    async def run() -> Outcome:
        async with server:
            process = await start(folder, "profile", "--endpoint", server.url, *words, limit=limit, **environment)
            return await end(process, folder)

    return asyncio.run(run())


def is_probe(seen: Seen) -> bool:
    """Whether a request is one of the tiny ones by which giq finds out what the server takes."""
    return int(seen.body["max_tokens"]) <= 2


def under_load(behave: Callable[[int], Behaviour]) -> Callable[[Seen, int], Behaviour]:
    """A behaviour for the load alone, by the number of the request within it; probes are answered well."""
    count = iter(range(1, 1_000_000))
    return lambda seen, number: Behaviour() if is_probe(seen) else behave(next(count))


def test_with_no_server_at_all_the_error_names_all_three_ways(tmp_path: Path) -> None:
    """Bare `giq profile` with nothing at localhost:8000 names --endpoint, --launch and --simulate."""
    with socket.socket() as probe:
        if probe.connect_ex(("127.0.0.1", 8000)) == 0:
            pytest.fail("something listens on port 8000 of this machine")

    outcome = asyncio.run(_alone(tmp_path, "profile"))

    assert outcome.code == 1
    assert all(option in outcome.stderr for option in ("--endpoint", "--launch", "--simulate"))
    assert not outcome.results.exists()


async def _alone(folder: Path, *words: str) -> Outcome:
    return await end(await start(folder, *words), folder)


def test_an_unreachable_server_is_told_with_its_address(tmp_path: Path) -> None:
    """Nobody listening is one error with the address, and leaves no run behind."""
    outcome = asyncio.run(_alone(tmp_path, "profile", "--endpoint", "http://127.0.0.1:9"))

    assert outcome.code == 1
    assert "127.0.0.1:9" in outcome.stderr
    assert "Traceback" not in outcome.stderr
    assert not outcome.results.exists()


def test_a_server_that_dies_in_the_middle_loses_nothing(tmp_path: Path) -> None:
    """What was answered before the server died is in the run; the exit code is 1."""
    server = ExactServer()

    def die(number: int) -> Behaviour:
        if number == 60:
            asyncio.get_running_loop().call_soon(lambda: asyncio.ensure_future(server.stop()))
        return Behaviour(first_s=0.01)

    server.behave = under_load(die)
    outcome = profile(server, tmp_path, *WORKLOAD, "--concurrency", "4,8", "--requests", "200")

    records = outcome.requests()
    assert outcome.code == 1
    assert (records.outcome == "ok").sum() >= 50
    assert set(records.outcome) - {"ok"} <= {"refused", "cut_off", "stream_error", "http_error"}
    assert "saved" in outcome.stderr


@pytest.mark.parametrize("status", [429, 500, 503])
def test_refused_requests_flag_the_point(tmp_path: Path, status: int) -> None:
    """Every third request refused: recorded with its status, counted as an error, and the point is not valid."""
    refusal = (status, {"error": {"type": "Overloaded", "message": "no"}})
    server = ExactServer(behave=under_load(lambda number: Behaviour(reply=refusal if number % 3 == 0 else None)))

    outcome = profile(server, tmp_path, *SHORT)

    point, records = outcome.points().iloc[0], outcome.requests()
    assert outcome.code == 0
    assert "ERRORS" in point["flags"]
    assert not point.valid
    assert set(records[records.outcome == "http_error"].http_status) == {status}


def test_a_server_that_refuses_all_load_ends_the_run(tmp_path: Path) -> None:
    """When no request is answered the run ends with code 1, and the records say why."""
    refusal = (429, {"error": {"type": "Overloaded", "message": "no"}})
    server = ExactServer(behave=under_load(lambda number: Behaviour(reply=refusal)))

    outcome = profile(server, tmp_path, *WORKLOAD, "--concurrency", "2,4", "--requests", "50")

    assert outcome.code == 1
    assert "answered no request" in outcome.stderr
    assert len(outcome.requests()) == 50


def test_a_server_that_hangs_is_given_up(tmp_path: Path) -> None:
    """An answer that stalls ends as a timeout; the others count."""
    behave = under_load(lambda number: Behaviour(stall_after=2 if number % 10 == 0 else None))
    server = ExactServer(behave=behave, with_metrics=False)

    outcome = profile(server, tmp_path, *SHORT, "--timeout", "1s")

    records = outcome.requests()
    assert outcome.code == 0
    assert (records.outcome == "timeout").sum() == 12
    assert "ERRORS" in outcome.points().iloc[0]["flags"]


@pytest.mark.parametrize(
    "raw",
    [
        HEAD + chunk(b'data: {"choices": [{"text": "a"\n\n') + b"0\r\n\r\n",
        HEAD + b"zz\r\nnonsense",
        b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello",
        b"\x00\xff\xfe rubbish",
    ],
)
def test_a_malformed_answer_is_never_a_success(tmp_path: Path, raw: bytes) -> None:
    """Broken JSON, broken chunks, no stream at all or rubbish: recorded as an error, never as ok."""
    server = ExactServer(behave=under_load(lambda number: Behaviour(raw=raw if number % 2 else None)))

    outcome = profile(server, tmp_path, *SHORT)

    records = outcome.requests()
    assert outcome.code == 0
    assert (records.outcome == "ok").sum() == 60
    assert (records.outcome != "ok").sum() == 60


def test_a_wrong_model_name_lists_those_served(tmp_path: Path) -> None:
    """Asking for a model that is not served names the ones that are."""
    outcome = profile(ExactServer(models=("alpha", "beta")), tmp_path, "--model", "gamma", *SHORT)

    assert outcome.code == 1
    assert "alpha" in outcome.stderr
    assert "beta" in outcome.stderr


def test_no_usage_in_the_reply_leaves_counts_unknown(tmp_path: Path) -> None:
    """A server that tells no token counts is measured, its counts stay null, and the rule used is stored."""
    server = ExactServer(behave=under_load(lambda number: Behaviour(usage="none")), with_metrics=False)

    outcome = profile(server, tmp_path, *SHORT)

    records = outcome.requests()
    assert outcome.code == 0
    assert records.output_tokens.isna().all()
    assert set(records.first_token_rule) == {"content"}
    assert "COUNTERS_UNAVAILABLE" in outcome.points().iloc[0]["flags"]


def test_a_full_disk_keeps_the_points_saved_before(tmp_path: Path) -> None:
    """When nothing more can be written the error says so and where; the points before are readable."""
    loads = ",".join(str(number) for number in range(1, 17))
    words = (*WORKLOAD, "--concurrency", loads, "--requests", "400")

    outcome = profile(ExactServer(), tmp_path, *words, limit=150_000)

    assert outcome.code == 1
    assert "run=" in outcome.stderr
    assert "Traceback" not in outcome.stderr
    assert 1 <= len(outcome.points()) < 16
    assert len(outcome.requests()) >= 400


def test_a_busy_server_is_refused_unless_shared(tmp_path: Path) -> None:
    """A server that works for others gets no load, unless --shared says to go on."""
    busy = 'vllm:num_requests_running{engine="1"} 3.0\n'

    refused = profile(ExactServer(extra_metrics=busy), tmp_path, *SHORT)
    assert refused.code == 1
    assert "--shared" in refused.stderr

    assert not refused.results.exists()

    shared = profile(ExactServer(extra_metrics=busy), tmp_path, *SHORT, "--shared")
    assert shared.code == 0
    assert not shared.points().iloc[0].valid


STAND_IN = """
import asyncio
from tests.load.exact_server import ExactServer
async def serve():
    async with ExactServer() as server:
        print(server.url, flush=True)
        await asyncio.sleep(600)
asyncio.run(serve())
"""


def test_a_declared_accelerator_must_not_contradict_the_detected(tmp_path: Path) -> None:
    """A server on this machine, which has no GPU, cannot be declared to run on an L4."""
    script = tmp_path / "vllm_stand_in.py"  # by its name a model server: what else listens may be a tunnel
    script.write_text(STAND_IN)
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}

    async def run() -> Outcome:
        server = await asyncio.create_subprocess_exec(
            sys.executable, str(script), stdout=asyncio.subprocess.PIPE, env=environment
        )
        try:
            assert server.stdout is not None
            url = (await server.stdout.readline()).decode().strip()
            words = ("profile", "--endpoint", url, "--accelerator", "nvidia-l4", *SHORT)
            return await end(await start(tmp_path, *words), tmp_path)
        finally:
            server.kill()
            await server.wait()

    outcome = asyncio.run(run())

    assert outcome.code == 2
    assert "contradicts" in outcome.stderr
    assert not outcome.results.exists()


def test_ctrl_c_drains_saves_and_exits_130(tmp_path: Path) -> None:
    """The first Ctrl-C sends no more, waits for what is open, saves and prints the points, and exits 130."""

    async def run() -> Outcome:
        async with ExactServer(behave=lambda seen, number: Behaviour(first_s=0.05, gap_s=0.02)) as server:
            words = ("profile", "--endpoint", server.url, *WORKLOAD, "--concurrency", "4", "--duration", "60s")
            process = await start(tmp_path, *words)
            while len(server.seen) < 130 and process.returncode is None:
                await asyncio.sleep(0.02)
            process.send_signal(signal.SIGINT)
            return await end(process, tmp_path)

    outcome = asyncio.run(run())

    records = outcome.requests()
    assert outcome.code == 130
    assert set(records.outcome) == {"ok"}
    assert len(records) >= 100
    assert len(outcome.points()) == 1
    assert "4 in flight" in outcome.stdout


def test_the_second_ctrl_c_quits_at_once(tmp_path: Path) -> None:
    """With answers that never end, the second Ctrl-C gives them up, saves them as cancelled, and exits 130."""

    async def run() -> Outcome:
        async with ExactServer(behave=under_load(lambda number: Behaviour(stall_after=1))) as server:
            words = ("profile", "--endpoint", server.url, *WORKLOAD, "--concurrency", "4", "--duration", "60s")
            process = await start(tmp_path, *words)
            while server.running < 4 and process.returncode is None:
                await asyncio.sleep(0.02)
            process.send_signal(signal.SIGINT)
            await asyncio.sleep(1.0)  # two of one signal that arrive together are one
            process.send_signal(signal.SIGINT)
            return await end(process, tmp_path)

    outcome = asyncio.run(run())

    assert outcome.code == 130
    assert list(outcome.requests().outcome) == ["cancelled"] * 4


def holds_key(folder: Path) -> list[Path]:
    """The files below *folder* in which the key stands, those in Parquet unpacked."""
    files = [path for path in folder.rglob("*") if path.is_file()]
    tables = [path for path in files if path.suffix == ".parquet" and KEY in pd.read_parquet(path).to_csv()]
    return tables + [path for path in files if KEY.encode() in path.read_bytes()]


def test_a_key_appears_nowhere(tmp_path: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    """The key reaches the server, and is in no file, output or error: when it works, and when it is refused."""
    server = ExactServer(key=KEY)
    good = profile(server, tmp_path, *SHORT, GIQ_API_KEY=KEY)
    file = tmp_path_factory.mktemp("key") / "key"
    file.write_text(KEY)
    wrong = {"error": {"type": "AuthenticationError", "message": f"wrong key {KEY}"}}
    echoing = ExactServer(behave=under_load(lambda number: Behaviour(reply=(401, wrong))))
    refused = profile(echoing, tmp_path, *SHORT, "--api-key-file", str(file))
    without = profile(ExactServer(key="another"), tmp_path, "--debug", *SHORT, GIQ_API_KEY=KEY)

    assert (good.code, refused.code) == (0, 1)
    assert without.code in (1, 2)
    assert server.seen[0].headers["authorization"] == f"Bearer {KEY}"
    assert holds_key(tmp_path) == []
    for outcome in (good, refused, without):
        assert KEY not in outcome.stdout + outcome.stderr
