"""Points that beat the hardware are refused, and no others."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from giq.catalog.accelerators import Accelerator
from giq.catalog.configuration import Component, ServingConfiguration
from giq.catalog.models import Experts, Model, Peaks, Source, Weights
from giq.curve import Distribution, Point, implausible
from giq.curve.plausibility import decode_floor_s, peak_tflops
from giq.documents import replace

MakePoint = Callable[..., Point]
Same = Callable[..., Distribution]
SOURCE = Source(title="NVIDIA and Meta data sheets", date="2026-11-21")
H100 = Accelerator(
    name="h100", title="H100", kind="gpu", generation="hopper", memory_gb=80, bandwidth_gb_s=3350,
    peak_tflops=Peaks(bf16=989, fp8=1979, int8=1979), on_gke=False, source=SOURCE,
)  # fmt: skip
LLAMA = Model(
    name="llama-3-1-8b", title="Llama 3.1 8B", parameters=8_030_261_248, active_parameters=8_030_261_248, layers=32,
    hidden_size=4096, intermediate_size=14336, attention_heads=32, kv_heads=8, head_dim=128, vocab_size=128_256,
    max_context=131_072, weights=(Weights(repository="m", precision="bf16", bytes=16_060_556_376),), source=SOURCE,
)  # fmt: skip
MIXTRAL = replace(
    LLAMA, name="mixtral", title="Mixtral 8x7B", parameters=46_702_792_704, active_parameters=12_879_925_248,
    vocab_size=32_000, experts=Experts(count=8, per_token=2, intermediate_size=14336),
)  # fmt: skip


def served(**fields: Any) -> ServingConfiguration:
    """One component on one H100 unless said otherwise."""
    whole = {name: fields.pop(name) for name in ("speculative",) if name in fields}
    return ServingConfiguration(components=(Component(model="m", **({"precision": "bf16"} | fields)),), **whole)


def test_the_decode_floor_is_the_time_to_read_the_weights() -> None:
    """8B in bf16 on an H100: 15.0 GB without the embedding, 0.26 GB may stay on chip: 4.40 ms; half of it on two."""
    component = served().main
    assert decode_floor_s(component, LLAMA, H100) == pytest.approx(4.40e-3, rel=0.01)
    two = served(tp=2, accelerators_per_host=2).main
    assert decode_floor_s(two, LLAMA, H100) == pytest.approx(2.16e-3, rel=0.01)
    assert decode_floor_s(served(precision="fp8").main, LLAMA, H100) == pytest.approx(2.16e-3, rel=0.01)
    assert decode_floor_s(component, MIXTRAL, H100) == pytest.approx((12.88e9 - 0.131e9) * 2 / 3.35e12, rel=0.015)
    tiny = replace(LLAMA, parameters=600_000_000, active_parameters=600_000_000)
    assert decode_floor_s(component, tiny, H100) == 0.0


def test_a_measured_point_is_plausible(make_point: MakePoint, same: Same) -> None:
    """6 ms a token, as measured on H100s, and 25,000 tokens/s of prefill are possible."""
    point = make_point("open", 2.0, tpot=same(0.006), input_tps=25_000.0, prefix_hit_share=0.0)
    assert implausible(point, served(), LLAMA, H100) is None


def test_decoding_faster_than_memory_is_refused(make_point: MakePoint, same: Same) -> None:
    """3 ms a token cannot be; it is refused only when the whole interval is below the floor."""
    fast = implausible(make_point("open", 2.0, tpot=same(0.003)), served(), LLAMA, H100)
    assert fast == "p50 TPOT 3.00 ms is less than the 4.40 ms that H100 takes to read the weights of Llama 3.1 8B once"
    assert implausible(make_point("open", 2.0, tpot=same(0.003, 0.002, 0.004)), served(), LLAMA, H100) is not None
    assert implausible(make_point("open", 2.0, tpot=same(0.003, 0.002, 0.005)), served(), LLAMA, H100) is None


def test_speculation_is_not_held_against_the_floor(make_point: MakePoint, same: Same) -> None:
    """Several tokens a step, a narrower precision or more chips make 3 ms possible."""
    fast = make_point("open", 2.0, tpot=same(0.003))
    for config in (served(speculative="eagle3"), served(precision="fp8"), served(tp=2), served(precision="unknown")):
        assert implausible(fast, config, LLAMA, H100) is None


def test_of_several_components_the_decoding_one_is_judged(make_point: MakePoint, same: Same) -> None:
    """Disaggregated: TPOT is made where decoding is."""
    prefill = Component(role="prefill", model="m", precision="bf16")
    split = ServingConfiguration(
        components=(prefill, Component(role="decode", model="m", precision="bf16", tp=2, accelerators_per_host=2))
    )
    point = make_point("open", 2.0, tpot=same(0.003))
    assert implausible(point, split, LLAMA, H100) is None
    assert implausible(point, ServingConfiguration(components=(prefill,)), LLAMA, H100) is not None


def test_computing_faster_than_the_peak_is_refused(make_point: MakePoint) -> None:
    """An H100 computes at most 989e12 / (2 x 6.98e9) = 70,900 tokens/s of 8B in bf16, with doubt for few requests."""

    def told(tps: float, share: float | None = 0.0, n: int = 1_000_000, **config: Any) -> str | None:
        point = make_point("open", 2.0, input_tps=tps, output_tps=100.0, prefix_hit_share=share, n_requests=n)
        return implausible(point, served(**config), LLAMA, H100)

    assert told(70_000.0) is None
    refused = told(71_500.0)
    assert refused is not None
    assert "can compute of Llama 3.1 8B" in refused
    assert told(71_500.0, n=100) is None
    assert told(100_000.0, n=100) is not None
    assert told(71_500.0, share=0.5) is None
    assert told(71_500.0, precision="fp8") is None
    assert told(71_500.0, accelerators_per_host=2, tp=2) is None


def test_unknown_prefix_hits_are_given_the_benefit_of_the_doubt(make_point: MakePoint) -> None:
    """Without the share only output tokens count, unless caching is switched off."""
    point = make_point("open", 2.0, input_tps=900_000.0)
    assert implausible(point, served(), LLAMA, H100) is None
    assert implausible(point, served(engine_args={"enable_prefix_caching": False}), LLAMA, H100) is not None
    assert implausible(make_point("open", 2.0, output_tps=900_000.0), served(), LLAMA, H100) is not None


def test_the_peak_follows_the_precision() -> None:
    """16-bit weights run at the 16-bit rate, narrower ones at the fastest that could apply."""
    chip = replace(H100, peak_tflops=Peaks(bf16=100, fp8=200, int8=250, fp4=400))
    peaks = {name: peak_tflops(name, chip) for name in ("bf16", "fp16", "fp8", "int8", "int4", "mxfp4", "unknown")}
    assert peaks == {"bf16": 100, "fp16": 100, "fp8": 250, "int8": 250, "int4": 400, "mxfp4": 400, "unknown": 400}
    assert peak_tflops("fp8", replace(H100, peak_tflops=Peaks(bf16=312))) == 312


@given(st.floats(1e-4, 1e-1), st.floats(1, 3), st.sampled_from(["bf16", "fp8", "int4", "unknown"]), st.integers(1, 8))
def test_a_slower_point_is_never_less_plausible(
    make_point: MakePoint, same: Same, seconds: float, factor: float, precision: str, tp: int
) -> None:
    """Slowing down a plausible point, or adding chips to it, keeps it plausible."""
    config, wider = served(precision=precision, tp=tp), served(precision=precision, tp=2 * tp)
    if implausible(make_point("open", 2.0, tpot=same(seconds)), config, LLAMA, H100) is None:
        assert implausible(make_point("open", 2.0, tpot=same(seconds * factor)), config, LLAMA, H100) is None
        assert implausible(make_point("open", 2.0, tpot=same(seconds)), wider, LLAMA, H100) is None
