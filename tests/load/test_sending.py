"""Loads held against a real server on a loopback socket: what is sent, when, and what is recorded of it."""

from __future__ import annotations

import asyncio
import socket
from time import monotonic_ns

import numpy as np
import pytest

from giq.errors import ServerError, StorageError
from giq.load.client import LoadResult, Timeouts, run_load
from giq.load.endpoint import Endpoint, Secret
from giq.workload.workload import ClosedLoad, Stop
from tests.load.exact_server import Behaviour, ExactServer, Seen
from tests.load.jobs import Heard, closed, identity, job, measured, on_loop, opened, schedule

MS = 1_000_000


def held(asked: object, **server: object) -> tuple[ExactServer, Heard, LoadResult]:
    """Hold a load against an exact server made with these options."""

    async def work() -> tuple[ExactServer, Heard, LoadResult]:
        async with ExactServer(**server) as exact:  # type: ignore[arg-type]
            heard, result = await measured(exact, asked)  # type: ignore[arg-type]
            return exact, heard, result

    return on_loop(work)


def test_every_request_of_the_schedule_is_sent_and_recorded_once() -> None:
    """A closed loop of 60 requests gives 60 records, and the server saw the 60 prompts with the lengths asked for."""
    exact, heard, result = held(closed(4, 60, input_tokens=9, output_tokens=5))

    assert sorted(record.request_id for record in heard.records) == list(range(60))
    assert heard.outcomes == {"ok": 60}
    assert [seen.input_tokens for seen in exact.seen] == [9] * 60
    assert {record.output_tokens for record in heard.records} == {5}
    assert (result.sent, result.ok, result.input_tokens, result.output_tokens) == (60, 60, 540, 300)
    assert result.ending == "schedule"
    assert not heard.told(result), result.reasons


def test_the_body_asks_for_exact_lengths_usage_and_no_shared_prefix() -> None:
    """The default request has ids, the same least and most tokens, usage in each chunk, a seed and a salt."""
    exact, _, _ = held(closed(1, 2))

    body = dict(exact.seen[0].body)
    prompt, salt = body.pop("prompt"), body.pop("cache_salt")
    assert body == {
        "model": "exact-model", "max_tokens": 4, "min_tokens": 4, "temperature": 0.0, "ignore_eos": True, "seed": 7,
        "stream": True, "stream_options": {"include_usage": True, "continuous_usage_stats": True},
    }  # fmt: skip
    assert all(300 <= token < 1300 for token in prompt)
    assert salt
    assert exact.seen[1].body["prompt"] != prompt


def test_a_closed_loop_holds_its_concurrency_and_uses_its_connections_again() -> None:
    """With 5 in flight the server never works on more and hardly ever on fewer; 5 connections carry everything."""
    busy: list[int] = []

    async def work() -> tuple[ExactServer, Heard]:
        async with ExactServer() as exact:

            def behave(seen: Seen, number: int) -> Behaviour:
                busy.append(exact.running)
                return Behaviour(first_s=0.004 + 0.003 * (number % 7))

            exact.behave = behave
            heard, _ = await measured(exact, closed(5, 80))
            return exact, heard

    exact, heard = on_loop(work)
    assert exact.most_running == 5
    assert sum(busy[5:]) / 75 > 3.5, "when one is sent the other four are still running"
    assert len({seen.connection for seen in exact.seen}) == 5
    assert sum(not record.connection_reused for record in heard.records) == 5


def test_a_slot_is_scheduled_when_it_falls_free() -> None:
    """In a closed loop of one, each request falls due at the last byte of the one before it."""
    _, heard, _ = held(closed(1, 20), behave=lambda seen, number: Behaviour(first_s=0.002))

    records = heard.by_id()
    assert [record.scheduled_ns for record in records[1:]] == [record.end_ns for record in records[:-1]]


def test_times_of_tokens_are_those_of_the_server() -> None:
    """First token after 40 ms, then one every 20 ms: that is what the records say, to a few milliseconds."""
    _, heard, _ = held(closed(2, 4, output_tokens=6), behave=lambda seen, number: Behaviour(first_s=0.04, gap_s=0.02))

    for record in heard.records:
        assert record.first_token_ns is not None
        assert 39 * MS <= record.first_token_ns - record.sent_ns <= 55 * MS
        assert record.token_gaps_ns is not None
        assert len(record.token_gaps_ns) == 5
        assert sum(record.token_gaps_ns) == pytest.approx(100 * MS, abs=15 * MS)
        assert record.chunk_tokens == [1] * 6
        assert record.first_token_rule == "usage"


def test_no_coordinated_omission() -> None:
    """A server frozen for 3 s gets requests on time all the same, and the freeze shows in full from the schedule."""

    async def work() -> tuple[ExactServer, Heard, LoadResult]:
        async with ExactServer() as exact:
            loop = asyncio.get_running_loop()
            loop.call_later(0.3, exact.freeze)
            loop.call_later(3.3, exact.thaw)
            heard, result = await measured(exact, opened(50, 200, "constant"))
            return exact, heard, result

    exact, heard, result = on_loop(work)
    records = heard.by_id()
    arrived = np.sort([seen.at_ns for seen in exact.seen])
    assert np.quantile(np.diff(arrived), 0.5) < 40 * MS, "one every 20 ms, frozen or not"
    assert np.diff(arrived).max() < 1500 * MS, "it never waits for the answers"
    assert np.quantile([record.sent_ns - record.scheduled_ns for record in records], 0.5) < 30 * MS
    latencies = np.array([(record.end_ns or 0) - record.scheduled_ns for record in records])
    assert latencies.max() > 2700 * MS
    assert np.sum(latencies > 100 * MS) >= 140, "150 fell due while it was frozen"
    frozen = latencies[latencies > 300 * MS]
    assert np.quantile(frozen, 0.5) == pytest.approx(1650 * MS, abs=500 * MS), "evenly from 3 s down"
    assert result.lateness.rate_error < 0.2


def test_outcomes_tell_failures_apart() -> None:
    """Refusals, server errors, cuts, malformed streams and error events each have their own outcome and kind."""
    limited = {"error": {"type": "rate_limit", "message": "sk-secret"}}
    no_chunk = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n"
    cases = [
        (Behaviour(), "ok", None, 200),
        (Behaviour(reply=(429, limited)), "http_error", "rate_limit", 429),
        (Behaviour(reply=(500, {"detail": "oh"})), "http_error", "http_500", 500),
        (Behaviour(reply=(307, {})), "http_error", "redirect_not_followed", 307),
        (Behaviour(cut_after=2), "cut_off", "closed_in_answer", 200),
        (Behaviour(raw=no_chunk), "stream_error", "malformed_chunk", 200),
        (Behaviour(raw=b"SSH-2.0-OpenSSH_9.6\r\n\r\n"), "stream_error", "malformed_head", None),
        (Behaviour(done=False), "ok", None, 200),
        (Behaviour(usage="none"), "ok", None, 200),
        (Behaviour(reply=(200, {"choices": [{"text": "all at once"}]})), "stream_error", "not_a_stream", 200),
    ]  # fmt: skip

    exact, heard, _ = held(closed(1, len(cases)), behave=lambda seen, number: cases[number - 1][0], with_metrics=False)
    got = [(record.outcome, record.error_kind, record.http_status) for record in heard.by_id()]
    assert got == [case[1:] for case in cases]
    assert len(exact.seen) == len(cases), "nothing is sent twice"
    assert "sk-secret" not in repr(heard.records)


def test_a_refused_connection_is_recorded_and_a_gone_server_ends_the_load(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody listening gives `refused` records; when that goes on the load ends instead of burning its schedule."""
    monkeypatch.setattr("giq.load.sending.GONE_NS", 300 * MS)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound, but not listening

        async def work() -> tuple[Heard, LoadResult]:
            heard = Heard()
            url = f"http://127.0.0.1:{taken.getsockname()[1]}"
            nothing = identity(metrics=False)
            return heard, await run_load(job(url, opened(100, 100_000), identity=nothing), heard.hooks)

        heard, result = on_loop(work)
    assert set(heard.outcomes) == {"refused"}
    assert {record.error_kind for record in heard.records} == {"connection_refused"}
    assert result.ending == "server_gone"
    assert len(heard.records) == result.sent < 1000


@pytest.mark.parametrize(
    ("behaviour", "timeouts", "kind"),
    [
        (Behaviour(stall_after=0), Timeouts(first_byte_s=0.2), "first_byte"),
        (Behaviour(stall_after=2), Timeouts(idle_s=0.2), "idle"),
        (Behaviour(gap_s=0.05), Timeouts(total_s=0.3), "total"),
    ],
)
def test_timeouts(behaviour: Behaviour, timeouts: Timeouts, kind: str) -> None:
    """A server that stalls before, in, or all through its answer runs into the timeout that is meant for it."""

    async def work() -> Heard:
        async with ExactServer(lambda seen, number: behaviour, with_metrics=False) as exact:
            heard, _ = await measured(
                exact, closed(2, 2, output_tokens=60), timeouts=timeouts, identity=identity(metrics=False)
            )
            return heard

    assert [(record.outcome, record.error_kind) for record in on_loop(work).records] == [("timeout", kind)] * 2


def test_a_stale_connection_is_opened_again_once() -> None:
    """A kept-alive connection that the server closed before it answered is replaced, and the record says so."""

    def behave(seen: Seen, number: int) -> Behaviour:
        return Behaviour(raw=b"") if number == 2 else Behaviour()

    exact, heard, _ = held(closed(1, 3), behave=behave)
    assert [(record.outcome, record.attempts) for record in heard.by_id()] == [("ok", 1), ("ok", 2), ("ok", 1)]
    assert exact.seen[1].body["prompt"] == exact.seen[2].body["prompt"]


def test_nothing_else_is_tried_again() -> None:
    """A connection that closes without a byte twice is cut off; there is no third try."""
    exact, heard, _ = held(closed(1, 1), behave=lambda seen, number: Behaviour(raw=b""), with_metrics=False)

    assert [(record.outcome, record.error_kind, record.attempts) for record in heard.records] == [
        ("cut_off", "closed_before_answer", 2)
    ]
    assert len(exact.seen) == 2


def test_a_connection_that_the_server_closes_after_each_answer_is_replaced() -> None:
    """Servers without keep-alive cost a connection per request, and nothing is lost."""
    exact, heard, _ = held(closed(2, 12), behave=lambda seen, number: Behaviour(close=True))

    assert heard.outcomes == {"ok": 12}
    assert len({seen.connection for seen in exact.seen}) == 12


def test_stop_drains() -> None:
    """After `stop` nothing more is sent, and what is in flight is followed to its end."""

    async def work() -> tuple[Heard, LoadResult]:
        async with ExactServer(lambda seen, number: Behaviour(first_s=0.3)) as exact:
            heard = Heard()
            asyncio.get_running_loop().call_later(0.5, heard.hooks.stop.set)
            return heard, await run_load(job(exact, opened(50, 1000, "constant")), heard.hooks)

    heard, result = on_loop(work)
    assert set(heard.outcomes) == {"ok"}
    assert len(heard.records) == result.sent < 60
    assert result.ending == "stopped"


def test_quit_gives_up_what_is_in_flight() -> None:
    """After `quit` the load ends at once; requests in flight are recorded as cancelled."""

    async def work() -> tuple[Heard, LoadResult, float]:
        async with ExactServer(lambda seen, number: Behaviour(stall_after=1)) as exact:
            heard = Heard()
            asyncio.get_running_loop().call_later(0.4, heard.hooks.quit.set)
            began = monotonic_ns()
            result = await run_load(job(exact, closed(3, 1000)), heard.hooks)
            return heard, result, (monotonic_ns() - began) / 1e9

    heard, result, took_s = on_loop(work)
    assert heard.outcomes == {"cancelled": 3}
    assert all(record.first_token_ns is not None for record in heard.records), "what came before is kept"
    assert result.ending == "quit"
    assert took_s < 8


def test_a_duration_ends_a_closed_loop() -> None:
    """A closed loop with a duration sends until then, and drains."""
    asked = schedule(ClosedLoad(concurrency=2), Stop(duration_s=0.5), 8, 4)
    _, heard, result = held(asked, behave=lambda seen, number: Behaviour(first_s=0.05))
    assert result.ending == "duration"
    assert 10 <= len(heard.records) <= 22
    assert 0.45 <= (result.ended_ns - result.started_ns) / 1e9 <= 0.9


def test_an_error_of_a_hook_ends_the_load() -> None:
    """A full disk is not swallowed: it ends the load, at once, with its own words."""

    async def work() -> None:
        async with ExactServer() as exact:
            heard = Heard()

            def full(batch: object) -> None:
                raise StorageError("disk full")

            heard.hooks.records = full
            await run_load(job(exact, closed(2, 100_000)), heard.hooks)

    with pytest.raises(StorageError, match="disk full"):
        on_loop(work)


def test_an_error_of_the_sample_hook_ends_the_load() -> None:
    """So does an error where the server's samples are stored."""

    async def work() -> None:
        async with ExactServer() as exact:
            heard = Heard()

            def full(batch: object) -> None:
                if len(heard.records) > 50:
                    raise StorageError("disk full")

            heard.hooks.samples = full
            await run_load(job(exact, closed(2, 100_000)), heard.hooks)

    with pytest.raises(StorageError, match="disk full"):
        on_loop(work)


def test_the_key_goes_into_one_header_and_nowhere_else() -> None:
    """The server gets the key; records, results, requests and jobs never show it."""
    key = "sk-very-secret-1234"

    async def work() -> tuple[ExactServer, Heard, LoadResult, str]:
        async with ExactServer(key=key) as exact:
            endpoint = Endpoint(exact.url, api_key=Secret(key))
            asked = job(exact, closed(1, 3), endpoint=endpoint)
            heard = Heard()
            return exact, heard, await run_load(asked, heard.hooks), repr(asked)

    exact, heard, result, shown = on_loop(work)
    assert {seen.headers["authorization"] for seen in exact.seen} == {f"Bearer {key}"}
    assert heard.outcomes == {"ok": 3}
    assert key not in repr(heard.records) + repr(heard.samples) + repr(result) + shown
    assert all(key not in repr(seen.body) for seen in exact.seen)


def test_progress_is_told_four_times_a_second() -> None:
    """Progress counts what was sent, done and is in flight, with medians of the latest answers."""
    _, heard, _ = held(opened(100, 100, "constant"), behave=lambda seen, number: Behaviour(first_s=0.02, gap_s=0.01))

    assert 3 <= len(heard.progress) <= 7
    middle, last = heard.progress[2], heard.progress[-1]
    assert middle.planned == last.planned == 100
    assert middle.rate_rps == pytest.approx(100, rel=0.2)
    assert middle.ttft_p50_s == pytest.approx(0.02, abs=0.04)
    assert middle.tpot_p50_s == pytest.approx(0.01, abs=0.01)
    assert middle.output_tps == pytest.approx(400, rel=0.4)
    assert (last.done, last.failed, last.in_flight, last.sent) == (100, 0, 0, 100)


def test_an_unknown_host_is_told_plainly() -> None:
    """A name that does not resolve is a ServerError that names it."""

    async def work() -> None:
        await run_load(
            job("http://no-such-host.invalid:1", closed(1, 1), identity=identity(metrics=False)), Heard().hooks
        )

    with pytest.raises(ServerError, match=r"no-such-host\.invalid"):
        on_loop(work)
