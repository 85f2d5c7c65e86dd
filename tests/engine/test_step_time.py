"""Step times: never faster than the hardware, and what makes them longer."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from giq.documents import replace
from giq.engine.calibration import GPU_PRIOR, TPU_PRIOR, UNCHECKED_GPU_PRIOR, Z90, Reach, interval_with
from giq.engine.step_time import Work, bucket, floor, matrix_flops, read_bytes, step_time, window_pairs
from tests.engine.engines import engine

CONFIGURATIONS = st.sampled_from(
    [
        ("dense-8b", "big", 1, 1),
        ("dense-8b", "small", 1, 1),
        ("dense-8b", "tensor", 1, 1),
        ("dense-70b", "big", 4, 2),
        ("dense-70b", "tensor", 8, 1),
        ("mixture-20b", "big", 1, 1),
        ("mixture-20b", "big", 2, 2),
        ("latent-16b", "big", 1, 1),
        ("latent-16b", "big", 4, 1),
    ]
)


@st.composite
def works(draw: st.DrawFn) -> Work:
    """A step of some decoding sequences with contexts, and perhaps a chunk of a prompt."""
    decoding = draw(st.integers(0, 512))
    chunk = draw(st.integers(1 if not decoding else 0, 4096))
    start = draw(st.integers(0, 8000))
    context = decoding * draw(st.integers(1, 4000))
    return Work(
        tokens=decoding + chunk,
        sequences=max(1, decoding),
        full_tokens=context + start,
        local_tokens=min(context, 128 * decoding) + min(start, 128),
        full_pairs=chunk * start + chunk * (chunk + 1) // 2,
        local_pairs=window_pairs(start, chunk, 128),
    )


@given(CONFIGURATIONS, works(), st.floats(-3, 3))
def test_no_step_is_faster_than_the_hardware(
    configuration: tuple[str, str, int, int], work: Work, deviations: float
) -> None:
    """However a calibration is shifted, all bytes at full bandwidth and all operations at peak are a bound."""
    model, accelerator, tp, pp = configuration
    spec = engine(model, accelerator, tp=tp, pp=pp).shifted(deviations)
    assert step_time(spec).seconds(work) >= floor(spec, work) * (1 - 1e-12)


@given(works())
def test_the_floor_is_bytes_over_bandwidth(work: Work) -> None:
    """For a dense model on one accelerator: weights but the embedding, and the KV cache that is read."""
    spec = engine("dense-8b", "big")
    read = 16_060_522_496 - 128256 * 4096 * 2 + work.full_tokens * 2 * 32 * 8 * 128 * 2
    assert floor(spec, work) >= read / 3350e9 * (1 - 1e-12)


@given(CONFIGURATIONS, st.integers(1, 256), st.integers(1, 4000))
def test_decoding_is_linear_in_the_context(
    configuration: tuple[str, str, int, int], sequences: int, context: int
) -> None:
    """The closed form that steps are skipped with is the step time itself."""
    model, accelerator, tp, pp = configuration
    times = step_time(engine(model, accelerator, tp=tp, pp=pp))
    work = Work(sequences, sequences, sequences * context, sequences * min(context, 128))
    even, full_s, local_s = times.decode(sequences)
    closed = even + full_s * work.full_tokens + local_s * work.local_tokens
    assert closed == pytest.approx(times.seconds(work), rel=1e-12)


@given(CONFIGURATIONS, works(), works())
def test_more_work_is_never_faster(configuration: tuple[str, str, int, int], one: Work, other: Work) -> None:
    """A step that does the work of two steps takes at least as long as each (one accelerator deep)."""
    model, accelerator, tp, _ = configuration
    times = step_time(engine(model, accelerator, tp=tp))
    both = times.seconds(Work(*map(sum, zip(one, other, strict=True))))
    assert both >= max(times.seconds(one), times.seconds(other))


def test_an_8b_on_an_h100_decodes_as_measured() -> None:
    """Alone, a published run gives 6.5 ms a token; the prior is within 5 %."""
    assert step_time(engine("dense-8b", "big")).seconds(Work(1, 1, 512, 0)) == pytest.approx(6.5e-3, rel=0.05)


def test_experts_are_read_as_they_are_touched() -> None:
    """One token reads its own experts, many tokens all: 32 (1 - (1 - 4/32)^T) of 32."""
    spec = engine("mixture-20b", "big")
    dense, experts = read_bytes(spec)
    for tokens in (1, 8, 64):
        touched = 32 * (1 - (1 - 4 / 32) ** tokens)
        at_bandwidth = (dense + experts * touched / 32) / 3350e9
        assert floor(spec, Work(tokens, 1, 0, 0)) == pytest.approx(at_bandwidth, rel=1e-9)
    assert dense + experts == pytest.approx(spec.weights_bytes - 201088 * 2880 * 2)


def test_operations_are_two_for_each_active_weight() -> None:
    """All matrices but the embedding, once a token; the output matrix once a sequence."""
    model = engine("dense-8b").model
    shared, routed, head = matrix_flops(model)
    assert routed == 0
    assert shared + head == pytest.approx(2 * (model.parameters - 128256 * 4096))


def test_tensor_parallel_ranks_share_the_work_but_talk() -> None:
    """Eight ranks read faster than one, but not eight times: all-reduces cost, more over a slow link."""
    work = Work(64, 64, 64 * 1000, 0)
    alone, fast = step_time(engine("dense-8b", "big")), step_time(engine("dense-8b", "big", tp=8))
    assert alone.seconds(work) / 8 < fast.seconds(work) < alone.seconds(work)
    slow_link = step_time(engine("dense-8b", "small", tp=8))
    assert slow_link.reduce_token_s > 10 * fast.reduce_token_s


def test_latent_attention_keeps_one_vector_a_layer_on_every_rank() -> None:
    """576 values of 2 bytes a token in each of 27 layers, however many ranks; a 7th of what its heads would need."""
    alone, ranks = engine("latent-16b", "big"), engine("latent-16b", "big", tp=4)
    for spec in (alone, ranks):
        assert spec.layout.unit_bytes / spec.layout.block_size == 27 * 576 * 2
    assert step_time(ranks).full_s == pytest.approx(step_time(alone).full_s)
    assert 7 * alone.model.kv_values_per_token() < 27 * 2 * 16 * 128


def test_few_tokens_cost_an_expert_a_whole_tile() -> None:
    """The smallest tiles of all 32 experts are the work of 16 x 32 / 4 tokens, which choose 4 each."""
    times = step_time(engine("mixture-20b", "big"))
    assert times.tiles_s == pytest.approx(16 * 32 / 4 * times.routed_s)


def test_a_tpu_pays_for_padding() -> None:
    """Steps between two powers of two tokens cost the same matrix work."""
    times = step_time(engine("dense-8b", "tensor"))
    assert bucket(1) == 16
    assert [bucket(tokens) for tokens in (16, 17, 512, 513)] == [16, 32, 512, 1024]
    assert times.seconds(Work(600, 1, 0, 0)) == times.seconds(Work(1024, 1, 0, 0))
    assert times.seconds(Work(600, 1, 0, 0)) > times.seconds(Work(512, 1, 0, 0))


@given(st.integers(0, 300), st.integers(0, 300), st.integers(1, 200))
def test_pairs_in_a_window_are_counted(start: int, count: int, window: int) -> None:
    """Each token sees itself and what came before it, up to the window."""
    assert window_pairs(start, count, window) == sum(min(start + i + 1, window) for i in range(count))


@given(works(), st.floats(0.1, 3))
@settings(max_examples=30)
def test_shifting_a_calibration_shifts_the_step(work: Work, deviations: float) -> None:
    """Slower is slower and faster is faster, and the middle is the calibration itself."""
    spec = engine("mixture-20b", "big", tp=2)
    fast, plain, slow = (step_time(spec.shifted(shift)).seconds(work) for shift in (-deviations, 0.0, deviations))
    assert fast < plain < slow


def test_the_prior_states_the_doubt_of_published_comparisons() -> None:
    """Where no point checked the prior, 90 % bounds are a factor of 1.41 for steps and 2.0 for TTFT."""
    for calibration in (UNCHECKED_GPU_PRIOR, TPU_PRIOR):
        slow = calibration.shifted(Z90)
        assert calibration.layer_s * 1.41 == pytest.approx(slow.layer_s, rel=0.01)
        assert calibration.weight_read / slow.weight_read == pytest.approx(1.41, rel=0.01)
        low, high = interval_with((1 / 1.41, 1.0, 1.41), calibration.ttft_sigma)
        assert high == pytest.approx(2.0, rel=0.01)
        assert low == pytest.approx(0.5, rel=0.01)
    assert GPU_PRIOR.shifted(Z90).layer_s < UNCHECKED_GPU_PRIOR.shifted(Z90).layer_s
    assert len({GPU_PRIOR.calibration_id, UNCHECKED_GPU_PRIOR.calibration_id, TPU_PRIOR.calibration_id}) == 3


def test_a_calibration_is_trusted_less_beyond_what_it_was_fitted_on() -> None:
    """Inside the fitted loads and lengths its own doubt; outside more, the farther the more."""
    reach = Reach(in_flight=(4, 64), input_tokens=(100, 1000), output_tokens=(100, 1000), prior_sigmas=(0.1, 0.17))
    fitted = replace(GPU_PRIOR, decode_sigma=0.04, prefill_sigma=0.08, reach=reach)
    assert fitted.at(16, 500, 500) == fitted
    near, far = fitted.at(128, 500, 500), fitted.at(512, 8000, 500)
    assert fitted.decode_sigma < near.decode_sigma < far.decode_sigma
    assert fitted.prefill_sigma < near.prefill_sigma < far.prefill_sigma
    assert fitted.at(1, 10**6, 10**6).decode_sigma == 0.1


def test_a_fitted_calibration_is_surest_with_few_requests_in_flight() -> None:
    """TPOT's doubt grows from the quiet share to all of it with the requests in flight; TTFT's whole stays as it is."""
    fitted = replace(GPU_PRIOR, decode_sigma=0.04, prefill_sigma=0.08, quiet_share=0.5)
    sigmas = [fitted.at(running, 500, 500).decode_sigma for running in (0.1, 4, 8, 16, 32, 1000)]

    assert sigmas == sorted(sigmas)
    assert (sigmas[0], sigmas[1], sigmas[-2], sigmas[-1]) == pytest.approx((0.02, 0.02, 0.04, 0.04))
    assert {fitted.at(running, 500, 500).prefill_sigma for running in (1, 32)} == {0.08}
    assert GPU_PRIOR.at(1, 500, 500) == GPU_PRIOR


def test_a_share_above_one_is_no_calibration() -> None:
    """More than the hardware's peak cannot be fitted by mistake."""
    with pytest.raises(ValueError, match=r"kv_read is 1\.2"):
        replace(GPU_PRIOR, kv_read=1.2)
