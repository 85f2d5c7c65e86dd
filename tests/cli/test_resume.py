"""`giq profile --resume` goes on with a run as it began, and refuses whatever would make it another."""

from __future__ import annotations

import asyncio
import json
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd

from tests.cli.test_profile_failures import Outcome, end, start
from tests.load.exact_server import Behaviour, ExactServer

LOADS = ("--input-tokens", "20", "--output-tokens", "4", "--concurrency", "2,4", "--requests", "60", "--seed", "3")


def slow(first_s: float = 0.02) -> ExactServer:
    """A server that takes its time, so that a run can be interrupted."""
    return ExactServer(behave=lambda seen, number: Behaviour(first_s=first_s))


def on_server(server: ExactServer, work: Callable[[], Any]) -> Any:
    """What *work* gives while *server* listens."""

    async def run() -> Any:
        async with server:
            return await work()

    return asyncio.run(run())


async def profiled(server: ExactServer, folder: Path, *words: str, limit: int | None = None) -> Outcome:
    """Run `giq profile` to its end."""
    return await end(await start(folder, "profile", "--endpoint", server.url, *words, limit=limit), folder)


async def resumed(folder: Path, *words: str) -> Outcome:
    """Run `giq profile --resume` to its end."""
    return await end(await start(folder, "profile", "--resume", *words), folder)


async def interrupted(server: ExactServer, folder: Path, *words: str, after: int = 90) -> Outcome:
    """Run `giq profile`, with Ctrl-C once *after* requests came."""
    process = await start(folder, "profile", "--endpoint", server.url, *words)
    while len(server.seen) < after and process.returncode is None:
        await asyncio.sleep(0.01)
    process.send_signal(signal.SIGINT)
    return await end(process, folder)


def run_json(outcome: Outcome) -> dict[str, Any]:
    """The run.json of its only run."""
    (path,) = outcome.results.glob("run=*/run.json")
    loaded: dict[str, Any] = json.loads(path.read_text())
    return loaded


def test_a_run_that_was_interrupted_goes_on(tmp_path: Path) -> None:
    """What Ctrl-C cut off stays as it is, its load is measured again under a new number, and the rest follows.

    Everything the message said to type works; a run that is done then has nothing to go on with.
    """
    server = slow()

    async def work() -> tuple[Outcome, Outcome, Outcome]:
        first = await interrupted(server, tmp_path, *LOADS)
        hint = first.stderr.partition("giq profile --resume ")[2].split()[0]
        second = await resumed(tmp_path, hint, "--endpoint", server.url)
        return first, second, await resumed(tmp_path)

    first, second, third = on_server(server, work)

    assert (first.code, second.code, third.code) == (130, 0, 0), second.stderr
    manifest, records = run_json(second), second.requests()
    counts = records.groupby("point_id").size().to_dict()
    assert manifest["cut_off"] == ["p002"]
    assert (counts["p001"], counts["p003"]) == (60, 60)
    assert 0 < counts["p002"] < 60
    assert list(second.points().sort_values("point_id").concurrency) == [2, 4, 4]
    assert manifest["state"] == "done"
    assert len(manifest["resumed_at"]) == 1
    assert len(manifest["workers"]) == 1, "the same boot: the same zero"
    assert records.groupby("point_id").sent_ns.min().is_monotonic_increasing
    prompts = [tuple(seen.body["prompt"]) for seen in server.seen if seen.body["max_tokens"] == 4]
    assert len(set(prompts)) == len(prompts), "a repeat asks nothing that the server may have in its cache"
    assert "p003" in second.stdout or "4 in flight" in second.stdout
    assert "nothing to go on with" in third.stderr
    assert third.stdout == ""


def test_what_would_make_it_another_run_is_refused(tmp_path: Path) -> None:
    """An option that says otherwise than the run is one error with the field and both values; nothing changes."""
    server = slow()

    async def work() -> list[Outcome]:
        outcomes = [await interrupted(server, tmp_path, *LOADS, after=20)]
        for words in (
            ("--seed", "4"),
            ("--concurrency", "2,4,8"),
            ("--input-tokens", "20", "--output-tokens", "5"),
            ("--target-ttft", "100ms"),
            ("--simulate",),
        ):
            outcomes.append(await resumed(tmp_path, "latest", *words))
        return outcomes

    first, *refused = on_server(server, work)

    assert [outcome.code for outcome in refused] == [2] * 5
    for outcome, words in zip(
        refused,
        (
            ("seed", "3", "4"),
            ("loads", "2 in flight", "8 in flight"),
            ("workload.output_tokens", "4", "5"),
            ("targets", "not given", "100 ms"),
            ("source", "endpoint", "simulate"),
        ),
        strict=True,
    ):
        assert all(word in outcome.stderr for word in words), outcome.stderr
        assert "Traceback" not in outcome.stderr
    assert run_json(first)["state"] == "interrupted"


def test_another_server_is_refused(tmp_path: Path) -> None:
    """Another version or model answers: one error names the field and both values, and the run stays as it was."""
    server = slow()
    first = on_server(server, lambda: interrupted(server, tmp_path, *LOADS, after=20))
    newer, other = ExactServer(version={"version": "0.31.0"}), ExactServer(models=("another",))

    async def resume_on(one: ExactServer) -> Outcome:
        return await resumed(tmp_path, "--endpoint", one.url)

    version = on_server(newer, lambda: resume_on(newer))
    model = on_server(other, lambda: resume_on(other))

    assert (version.code, model.code) == (4, 4), version.stderr + model.stderr
    assert all(word in version.stderr for word in ("server.version", "0.32.0", "0.31.0"))
    assert all(word in model.stderr for word in ("model", "exact-model", "another"))
    assert run_json(first)["state"] == "interrupted"
    assert not list(first.results.glob("run=*/run.lock"))


def test_a_living_run_is_left_alone(tmp_path: Path) -> None:
    """While its process measures, a run is not gone on with, and it ends as if nobody had asked."""
    server = slow()

    async def work() -> tuple[Outcome, Outcome]:
        process = await start(tmp_path, "profile", "--endpoint", server.url, *LOADS)
        while len(server.seen) < 20 and process.returncode is None:
            await asyncio.sleep(0.01)
        process.send_signal(signal.SIGSTOP)
        try:
            refused = await resumed(tmp_path)
        finally:
            process.send_signal(signal.SIGCONT)
        return refused, await end(process, tmp_path)

    refused, whole = on_server(server, work)

    assert refused.code == 2
    assert "being measured just now" in refused.stderr
    assert whole.code == 0
    assert len(whole.requests()) == 120


def test_after_a_full_disk_the_run_goes_on(tmp_path: Path) -> None:
    """When there is room again, the run ends with every load measured whole."""
    loads = ",".join(str(number) for number in range(1, 9))
    words = ("--input-tokens", "20", "--output-tokens", "4", "--concurrency", loads, "--requests", "300")
    server = ExactServer()

    async def work() -> tuple[Outcome, Outcome]:
        full = await profiled(server, tmp_path, *words, limit=60_000)
        return full, await resumed(tmp_path)

    full, rest = on_server(server, work)

    assert (full.code, rest.code) == (1, 0), full.stderr + rest.stderr
    counts = rest.requests().groupby("point_id").size()
    whole = rest.points().set_index("point_id").loc[counts[counts == 300].index]
    assert list(whole.concurrency) == list(range(1, 9))


def test_a_trace_is_replayed_from_the_runs_folder(tmp_path: Path) -> None:
    """The trace's file may be gone: the run has its own copy."""
    trace = tmp_path / "recorded.csv"
    rows = "".join(f"{number * 0.02},12,4\n" for number in range(100))
    trace.write_text(f"arrival_s,input_tokens,output_tokens\n{rows}")
    words = ("--arrival", f"trace:{trace}", "--request-rate", "50,60", "--requests", "100")
    server = ExactServer()

    async def work() -> tuple[Outcome, Outcome]:
        first = await interrupted(server, tmp_path, *words, after=40)
        trace.unlink()
        return first, await resumed(tmp_path)

    first, second = on_server(server, work)

    assert (first.code, second.code) == (130, 0), second.stderr
    counts = second.requests().groupby("point_id").size()
    assert list(counts.loc[["p002", "p003"]]) == [100, 100]
    assert pd.unique(second.requests().requested_input_tokens).tolist() == [12]


def test_a_simulated_run_goes_on_with_an_engine_of_its_own(tmp_path: Path) -> None:
    """A killed `--simulate` leaves no engine behind, and `--resume` starts another like it."""
    words = (
        "--simulate", "--model", "llama-3-8b", "--accelerator", "nvidia-l4", "--input-tokens", "32",
        "--output-tokens", "4", "--concurrency", "1,2", "--requests", "20",
    )  # fmt: skip

    async def work() -> Outcome:
        process = await start(tmp_path, "profile", *words)
        until = time.monotonic() + 60
        while not list(tmp_path.glob("results/run=*/journal/*")) and time.monotonic() < until:
            await asyncio.sleep(0.01)
        process.kill()
        await process.communicate()
        return await resumed(tmp_path)

    outcome = asyncio.run(work())

    assert outcome.code == 0, outcome.stderr
    assert list(outcome.points().evidence) == ["estimated", "estimated"]
    assert run_json(outcome)["state"] == "done"
    assert "ESTIMATED" in outcome.stderr
