"""Virtual time: closed forms, conservation, determinism, and agreement with steps taken one by one."""

from __future__ import annotations

import time
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from giq import documents
from giq.curve.requests import NULL, OUTCOMES, Requests
from giq.engine.core import steps_until
from giq.engine.scheduler import Scheduler
from giq.engine.simulation import simulate
from giq.engine.step_time import Work, step_time
from giq.workload.schedule import make_schedule
from giq.workload.workload import ClosedLoad, OpenLoad, Stop
from tests.engine.engines import engine, work

ALL = [field for field in Requests.__dataclass_fields__ if field != "chunk_tokens"]


def same(left: Requests, right: Requests) -> bool:
    """Whether two sets of records are equal in every column."""
    return all(np.array_equal(getattr(left, name), getattr(right, name)) for name in ALL)


def test_one_at_a_time_is_the_closed_form() -> None:
    """TTFT = request cost + prompt's steps; then k tokens take k (a + c K) + c k (k - 1) / 2."""
    spec = engine("dense-8b", "big", max_num_batched_tokens=200, max_num_seqs=100)
    schedule = make_schedule(work(300, 100), ClosedLoad(concurrency=1), Stop(requests=20), seed=3)
    requests = simulate(spec, schedule).requests
    times = step_time(spec)
    even, full_s, _ = times.decode(1)
    for index, (prompt, output) in enumerate(zip(schedule.input_tokens, schedule.output_tokens, strict=True)):
        ttft = spec.calibration.request_s + int(prompt) * spec.calibration.prompt_token_s
        for start in range(0, int(prompt), 200):
            count = min(200, int(prompt) - start)
            pairs = count * start + count * (count + 1) // 2
            ttft += times.seconds(Work(count, int(start + count == prompt), start, 0, pairs))
        steps = int(output) - 1
        decode = steps * (even + full_s * (int(prompt) + 1)) + full_s * steps * (steps - 1) / 2
        first = requests.first_token_ns[index] - requests.sent_ns[index]
        assert first / 1e9 == pytest.approx(ttft, rel=1e-9, abs=2e-9)
        assert (requests.last_token_ns[index] - requests.first_token_ns[index]) / 1e9 == pytest.approx(
            decode, rel=1e-9, abs=2e-9
        )


@given(
    concurrency=st.integers(1, 40),
    seed=st.integers(0, 100),
    kv_blocks=st.sampled_from([None, 200, 1000]),
    model=st.sampled_from(["dense-8b", "mixture-20b"]),
)
@settings(max_examples=25, deadline=None)
def test_every_request_gets_its_tokens(concurrency: int, seed: int, kv_blocks: int | None, model: str) -> None:
    """As many tokens as asked for, times in order, and gaps that add up from the first token to the last."""
    spec = engine(model, "big", kv_blocks=kv_blocks)
    schedule = make_schedule(work(), ClosedLoad(concurrency=concurrency), Stop(requests=60), seed)
    requests = simulate(spec, schedule).requests
    assert requests.ok.all()
    assert np.array_equal(requests.output_tokens, schedule.output_tokens)
    assert np.array_equal(np.diff(requests.gap_offsets), requests.output_tokens - 1)
    assert np.array_equal(np.diff(requests.chunk_offsets), requests.output_tokens)
    assert len(requests.chunk_tokens) == requests.output_tokens.sum()
    assert (requests.gaps_ns > 0).all()
    for index in range(len(requests)):
        gaps = requests.gaps_ns[requests.gap_offsets[index] : requests.gap_offsets[index + 1]]
        assert gaps.sum() == requests.last_token_ns[index] - requests.first_token_ns[index]
    assert (requests.first_token_ns - requests.sent_ns >= spec.calibration.request_s * 1e9 - 1).all()


@given(seed=st.integers(0, 1000), kv_blocks=st.sampled_from([None, 300]), rate=st.sampled_from([2.0, 20.0, 200.0]))
@settings(max_examples=15, deadline=None)
def test_skipping_steps_gives_the_same_records(seed: int, kv_blocks: int | None, rate: float) -> None:
    """The same load with every step taken on its own gives the same times, to a nanosecond of rounding a step."""
    spec = engine("mixture-20b", "big", kv_blocks=kv_blocks)
    schedule = make_schedule(work(), OpenLoad(rate_rps=rate), Stop(requests=40), seed)
    skipped = simulate(spec, schedule)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(Scheduler, "horizon", lambda self: 1)
        stepped = simulate(spec, schedule)
    assert len(skipped.step_ns) == len(stepped.step_ns)
    assert np.abs(skipped.step_ns - stepped.step_ns).max() <= 2
    assert np.abs(skipped.requests.first_token_ns - stepped.requests.first_token_ns).max() <= 2
    assert skipped.preemptions == stepped.preemptions


def test_the_same_seed_gives_the_same_records() -> None:
    """Two runs are equal in every column, another seed is not."""
    spec = engine("dense-8b", "small")
    one, again, other = (
        simulate(spec, make_schedule(work(), OpenLoad(rate_rps=3.0), Stop(requests=80), seed)).requests
        for seed in (5, 5, 6)
    )
    assert same(one, again)
    assert not same(one, other)


def test_a_closed_loop_keeps_its_slots_full() -> None:
    """Each request after the first ones is sent the moment another ends."""
    schedule = make_schedule(work(), ClosedLoad(concurrency=8), Stop(requests=50), seed=1)
    requests = simulate(engine(), schedule).requests
    assert (requests.sent_ns[:8] == 0).all()
    ends = np.sort(requests.end_ns)
    assert np.array_equal(np.sort(requests.sent_ns[8:]), ends[: len(requests) - 8])


def test_an_open_loop_is_sent_as_scheduled() -> None:
    """Arrivals never wait for answers."""
    schedule = make_schedule(work(), OpenLoad(rate_rps=500.0), Stop(requests=300), seed=1)
    requests = simulate(engine(accelerator="small"), schedule).requests
    assert schedule.arrival_ns is not None
    assert np.abs(requests.sent_ns - schedule.arrival_ns).max() <= 1
    assert np.array_equal(requests.sent_ns, requests.scheduled_ns)


def test_a_duration_ends_the_sending() -> None:
    """In a closed loop nothing is sent after it, and what was sent is answered."""
    schedule = make_schedule(work(), ClosedLoad(concurrency=4), Stop(duration_s=5.0), seed=1)
    requests = simulate(engine(), schedule).requests
    assert 4 < len(requests) < len(schedule)
    assert requests.sent_ns.max() < 5e9 < requests.end_ns.max()
    assert requests.ok.all()


def test_requests_beyond_the_context_are_refused() -> None:
    """Prompt and output over the served context: an HTTP error at once, without tokens; the others are served."""
    spec = engine(max_model_len=400)
    schedule = make_schedule(work(256, 128), ClosedLoad(concurrency=3), Stop(requests=60), seed=2)
    requests = simulate(spec, schedule).requests
    long = schedule.input_tokens + schedule.output_tokens > 400
    assert 0 < long.sum() < 60
    assert np.array_equal(requests.outcome == OUTCOMES.index("http_error"), long)
    assert (requests.first_token_ns[long] == NULL).all()
    assert (requests.output_tokens[long] == NULL).all()
    assert np.array_equal(requests.end_ns[long], requests.sent_ns[long])
    assert np.array_equal(requests.output_tokens[~long], schedule.output_tokens[~long])


def test_a_small_cache_preempts_and_is_slower() -> None:
    """With few blocks there are preemptions, and the same load takes longer."""
    schedule = make_schedule(work(256, 512), ClosedLoad(concurrency=32), Stop(requests=100), seed=1)
    small, large = (simulate(engine(kv_blocks=blocks), schedule) for blocks in (400, 4000))
    assert small.preemptions > 0 == large.preemptions
    assert small.requests.end_ns.max() > large.requests.end_ns.max()


def test_the_servers_own_numbers_agree_with_the_records() -> None:
    """Little's law: running and waiting, over the window, are the time requests spent in the engine."""
    spec = engine("dense-8b", "small", max_num_seqs=8)
    spec = replace(
        spec, calibration=documents.replace(spec.calibration, prompt_token_s=0.0, stream_s=0.0, plans_ahead=False)
    )
    schedule = make_schedule(work(), ClosedLoad(concurrency=16), Stop(requests=64), seed=1)
    run = simulate(spec, schedule)
    requests, end = run.requests, int(run.requests.end_ns.max())
    spent = (requests.end_ns - requests.sent_ns).sum() / 1e9 - len(requests) * spec.calibration.request_s
    statistics = run.statistics(0, end)
    assert statistics.running_mean is not None
    assert statistics.waiting_mean is not None
    assert statistics.running_mean + statistics.waiting_mean == pytest.approx(spent / (end / 1e9), rel=1e-6)
    assert 4 < statistics.running_mean <= 8
    assert statistics.kv_usage_max is not None
    assert statistics.kv_usage_mean is not None
    assert 0 < statistics.kv_usage_mean < statistics.kv_usage_max <= 1
    assert statistics.preemptions == 0
    before = run.statistics(-2_000_000_000, -1_000_000_000)
    assert (before.running_mean, before.kv_usage_max) == (0.0, 0.0)


def test_preemptions_are_counted_when_they_happen() -> None:
    """Over the whole run as many as the scheduler had, and split over its halves."""
    schedule = make_schedule(work(256, 512), ClosedLoad(concurrency=32), Stop(requests=100), seed=1)
    run = simulate(engine(kv_blocks=400), schedule)
    end = int(run.requests.end_ns.max()) + 1
    halves = [run.statistics(*window).preemptions for window in ((0, end // 2), (end // 2, end))]
    assert run.statistics(0, end).preemptions == run.preemptions == sum(half or 0 for half in halves)
    assert run.preemptions > 0


def test_a_faster_accelerator_is_never_slower() -> None:
    """The same requests end earlier on the larger GPU."""
    schedule = make_schedule(work(), ClosedLoad(concurrency=16), Stop(requests=64), seed=1)
    big, small = (simulate(engine("dense-8b", name), schedule).requests for name in ("big", "small"))
    assert big.end_ns.max() < small.end_ns.max()


def test_requests_that_were_begun_compute_no_prompt() -> None:
    """Those whose KV is in the cache have their first token after one short step."""
    spec = engine()
    schedule = make_schedule(work(4000, 32), OpenLoad(rate_rps=0.001), Stop(requests=2), seed=1)
    at_once = replace(schedule, arrival_ns=np.zeros(2, dtype=np.int64))
    begun, fresh = (simulate(spec, at_once, begun=count).requests for count in (2, 0))
    assert begun.first_token_ns.max() < 30e6 < fresh.first_token_ns.min()


@given(st.floats(1e-6, 1e3), st.floats(1e-4, 1), st.one_of(st.just(0.0), st.floats(1e-9, 1e-2)))
def test_the_number_of_steps_until_a_time_is_the_least(seconds: float, first: float, growth: float) -> None:
    """So many steps reach the time, and one fewer does not."""

    def length(steps: int) -> float:
        return steps * (first + growth * (steps - 1) / 2)

    steps = steps_until(seconds, first, growth)
    assert steps >= 1
    assert length(steps) >= seconds * (1 - 1e-12)
    assert steps == 1 or length(steps - 1) < seconds


def test_three_thousand_requests_a_second_are_simulated() -> None:
    """At concurrency 64, with 1,024 tokens in and out, far faster than any server."""
    spec = engine()
    schedule = make_schedule(work(1024, 1024), ClosedLoad(concurrency=64), Stop(requests=1500), seed=1)
    began = time.process_time()
    simulate(spec, schedule)
    assert 1500 / (time.process_time() - began) > 3000
