"""Memory: the budget adds up, agrees with what vLLM measured, and refuses what does not fit."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from giq.catalog import Component, ServingConfiguration
from giq.engine.memory import GB, DoesNotFitError, KvLayout, kv_layout
from giq.engine.spec import EngineSpec
from tests.engine.engines import CATALOG, engine

GIB = 2**30

layouts = st.builds(
    KvLayout,
    block_size=st.sampled_from([8, 16, 32]),
    unit_bytes=st.just(1.0),
    full_units=st.integers(1, 5),
    local_units=st.integers(0, 6),
    window=st.sampled_from([64, 128, 1000]),
)


def test_the_kv_cache_of_an_8b_on_an_h100_is_what_vllm_measured() -> None:
    """VLLM's profile left 51.38 GiB (421k tokens) on 79.18 GiB x 0.9 with 8,192 batched tokens and 1,024 sequences."""
    budget = engine("dense-8b", "big").memory
    assert budget.kv_bytes / GIB == pytest.approx(51.38, rel=0.02)
    assert budget.kv_tokens == pytest.approx(421_000, rel=0.02)


def test_the_kv_cache_of_a_70b_on_two_h100_is_what_vllm_measured() -> None:
    """VLLM's profile left 32.0 GiB on each accelerator."""
    assert engine("dense-70b", "big", tp=2).memory.kv_bytes / GIB == pytest.approx(32.0, rel=0.04)


def test_an_8b_fits_a_24_gb_gpu_with_a_few_ten_thousand_tokens() -> None:
    """With the small step that vLLM takes there, 20,000 to 35,000 tokens are left for the KV cache."""
    assert 20_000 < engine("dense-8b", "small").memory.kv_tokens < 35_000


def test_the_budget_adds_up() -> None:
    """What is usable is weights, activations, runtime and KV cache, and nothing else."""
    budget = engine("mixture-20b", "big").memory
    parts = budget.weights_bytes + budget.activations_bytes + budget.runtime_bytes + budget.kv_bytes
    assert parts == pytest.approx(budget.memory_bytes * budget.utilization)


def test_what_does_not_fit_is_refused_with_the_arithmetic() -> None:
    """A 70B on a 24 GB GPU: the message has memory, weights and what is left, in GB, and it is a usage error."""
    with pytest.raises(DoesNotFitError) as caught:
        engine("dense-70b", "small")
    message = str(caught.value)
    assert "23.6 GB x 0.9 usable - 72.7 GB weights" in message
    assert "dense-70b" in message
    assert caught.value.exit_code == 2


def test_a_context_that_the_cache_cannot_hold_is_refused() -> None:
    """A context asked for must fit; one not asked for is cut to what does."""
    with pytest.raises(DoesNotFitError, match="with a context of 131,072 tokens"):
        engine("dense-70b", "big", tp=1, max_model_len=131072)
    cut = engine("dense-70b", "big", tp=2, gpu_memory_utilization=0.6, max_model_len="auto")
    assert 1024 <= cut.max_model_len < cut.model.max_context
    assert cut.layout.blocks(cut.max_model_len) <= cut.memory.kv_blocks


@given(share=st.floats(0.5, 0.99), less=st.floats(0.01, 0.2))
def test_less_memory_is_never_more_blocks(share: float, less: float) -> None:
    """A smaller share of the memory leaves fewer KV blocks."""
    more = engine("dense-8b", "big", gpu_memory_utilization=share)
    fewer = engine("dense-8b", "big", gpu_memory_utilization=share - less)
    assert fewer.memory.kv_blocks < more.memory.kv_blocks


@given(share=st.floats(0.3, 1.0))
def test_a_fraction_of_an_accelerator_holds_less(share: float) -> None:
    """A slice of an accelerator has that share of its memory and bandwidth."""
    component = Component(model="dense-8b", accelerator="big", fraction=share, server="vllm")
    spec = EngineSpec.of(ServingConfiguration(components=(component,)), CATALOG)
    assert spec.hardware.memory_bytes == pytest.approx(85.02 * GB * share)
    assert spec.hardware.bandwidth_bytes_s == pytest.approx(3350e9 * share)


def test_kv_heads_are_copied_when_there_are_more_ranks() -> None:
    """With 8 KV heads, 8 and 16 ranks keep the same KV per token each."""
    model = CATALOG.model("dense-8b")
    by_ranks = {tp: kv_layout(model, 16, 2.0, tp, 1).unit_bytes for tp in (1, 4, 8, 16)}
    assert by_ranks[1] == 16 * 2 * 32 * 8 * 128 * 2
    assert by_ranks[4] == by_ranks[1] / 4
    assert by_ranks[16] == by_ranks[8] == by_ranks[1] / 8


def test_layers_with_a_window_hold_no_more_than_it() -> None:
    """Half of the layers see 128 tokens: beyond those only the other half grows."""
    layout = kv_layout(CATALOG.model("mixture-20b"), 16, 2.0, 1, 1)
    assert layout.blocks(128) == 8 * 2
    assert layout.blocks(128 + 1600) == 8 * 2 + 100


@given(layouts, st.integers(1, 5000))
def test_capacity_is_the_longest_context_that_fits(layout: KvLayout, blocks: int) -> None:
    """The context that is said to fit does, and one block of tokens more does not."""
    longest = layout.capacity(blocks)
    assert layout.blocks(longest) <= blocks
    assert layout.blocks(longest + layout.block_size) > blocks


def test_quantised_kv_is_half_as_large() -> None:
    """With an 8-bit KV cache twice as many tokens fit."""
    plain, small = engine("dense-8b"), engine("dense-8b", kv_cache_dtype="fp8")
    assert small.memory.kv_tokens == pytest.approx(2 * plain.memory.kv_tokens, rel=1e-3)
