"""A small catalog and curves of a known form, shared by the tests of this room."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from giq.catalog.accelerators import Accelerator, Shape
from giq.catalog.catalog import Catalog
from giq.catalog.configuration import Component, ServingConfiguration
from giq.catalog.models import Model, Peaks, Source, Weights
from giq.catalog.prices import PriceList, PricingModel
from giq.catalog.servers import MetricNames, ModelServer, ServerVersion
from giq.catalog.use_cases import Lengths
from giq.curve.curve import Curve
from giq.curve.point import Attainment, Distribution, Estimate, Evidence, HardwareSource, Point, Provenance
from giq.workload.workload import Workload

SOURCE = Source(title="made for a test", date="2026-11-01")
INPUT, OUTPUT = 108, 132
CHATBOT = Workload(
    use_case="chatbot", input_tokens=Lengths(mean=INPUT), output_tokens=Lengths(mean=OUTPUT)
)  # GIQ's chatbot: ShareGPT's medians


def _machines(name: str, counts: tuple[int, ...]) -> tuple[Shape, ...]:
    return tuple(Shape(machine_type=f"{name}-{count}g", accelerators=count) for count in counts)


def _accelerator(name: str, **fields: Any) -> Accelerator:
    known: dict[str, Any] = {
        "name": name, "title": name.upper(), "kind": "gpu", "generation": "test", "memory_gb": 80.0,
        "bandwidth_gb_s": 3350.0, "peak_tflops": Peaks(bf16=989.0, fp8=1979.0), "on_gke": True,
        "shapes": _machines(name, (1, 2, 4, 8)), "source": SOURCE,
    }  # fmt: skip
    return Accelerator(**(known | fields))


def _model(name: str, **fields: Any) -> Model:
    known: dict[str, Any] = {
        "name": name, "title": name, "parameters": 8_030_261_248, "active_parameters": 8_030_261_248, "layers": 32,
        "hidden_size": 4096, "intermediate_size": 14336, "attention_heads": 32, "kv_heads": 8, "head_dim": 128,
        "vocab_size": 128_256, "max_context": 8192, "source": SOURCE,
        "weights": (Weights(repository=f"owner/{name}", precision="bf16", bytes=16_060_522_496),),
    }  # fmt: skip
    return Model(**(known | fields))


def _server() -> ModelServer:
    names = {field: f"vllm:{field}" for field in MetricNames.__struct_fields__}
    version = ServerVersion(
        version="0.20.0", released="2026-10-01", images={"gpu": "vllm/vllm-openai:v0.20.0"}, command=("vllm", "serve"),
        flags={}, metrics=MetricNames(**names), source=SOURCE,
    )  # fmt: skip
    return ModelServer(name="vllm", title="vLLM", versions=(version,))


@pytest.fixture(scope="session")
def catalog() -> Catalog:
    """Two GPUs with prices (alpha at 1 USD/h a chip, beta at 4), one without, a TPU, one not on GKE, a CPU."""
    tpu_shapes = (
        Shape(machine_type="ct-1t", accelerators=1, topology="1x1"),
        Shape(machine_type="ct-4t", accelerators=4, topology="2x2"),
        Shape(machine_type="ct-4t", accelerators=4, hosts=4, topology="4x4"),
    )
    wide = Shape(machine_type="alpha-1g-wide", accelerators=1)
    alpha = _accelerator("alpha", shapes=(wide, *_machines("alpha", (1, 2, 4, 8))), peak_tflops=Peaks(bf16=312.0))
    prices: dict[str, dict[PricingModel, float]] = {"alpha-1g-wide": {"on-demand": 1.5}}
    prices |= {f"alpha-{n}g": {"on-demand": 1.0 * n, "spot": 0.5 * n} for n in (1, 2, 4, 8)}
    prices |= {f"beta-{n}g": {"on-demand": 4.0 * n} for n in (1, 2, 4, 8)}
    return Catalog(
        models=(_model("tiny-8b", aliases=("tiny",)), _model("odd-12h", attention_heads=12)),
        accelerators=(
            alpha,
            _accelerator("beta"),
            _accelerator("cpu", kind="cpu", on_gke=False, shapes=()),
            _accelerator("gamma"),
            _accelerator("gh", on_gke=False, shapes=()),
            _accelerator("tpu", kind="tpu", shapes=tpu_shapes),
        ),
        price_lists=(PriceList(region="us-central1", unit="machine", usd_per_hour=prices, source=SOURCE),),
        servers=(_server(),),
    )


def _config(accelerator: str, count: int = 1, **fields: Any) -> ServingConfiguration:
    known: dict[str, Any] = {
        "model": "tiny-8b", "precision": "bf16", "server": "vllm", "server_version": "0.20.0",
        "accelerator": accelerator, "accelerators_per_host": count, "tp": count,
    }  # fmt: skip
    return ServingConfiguration(components=(Component(**(known | fields)),))


def _near(value: float, share: float) -> Estimate:
    return Estimate(value=value, lo=value * (1 - share), hi=value * (1 + share))


def _latency(mean: float, spread: float) -> Distribution:
    """A distribution whose mean lies far below its 90th percentile."""
    return Distribution(
        mean=_near(mean, spread), p50=_near(mean * 0.7, spread), p90=_near(mean * 2, spread),
        p95=_near(mean * 2.5, spread), p99=_near(mean * 3, spread),
    )  # fmt: skip


def _point(name: str, rate: float, knee: float, base_s: float, **fields: Any) -> Point:
    """An open-loop point of a queue that saturates at *knee*: TTFT grows as base / (1 - load), then without end."""
    load = min(rate / knee, 0.999)
    stable = rate < knee
    ttft = _latency(base_s / (1 - load) if stable else 60.0 + rate, fields.pop("spread", 0.02))
    known: dict[str, Any] = {
        "point_id": name, "load_kind": "open", "offered_rps": rate, "achieved_rps": min(rate, knee),
        "in_flight_mean": 10 * load, "error_share": 0.0, "window_s": 100.0, "n_requests": 1000, "n_batches": 20,
        "in_flight_slope": _near(1e-6, 0.0) if stable else _near(rate - knee, 0.1),
        "input_tokens_mean": INPUT, "output_tokens_mean": OUTPUT, "input_tps": INPUT * min(rate, knee),
        "output_tps": OUTPUT * min(rate, knee), "total_tps": (INPUT + OUTPUT) * min(rate, knee),
        "ttft": ttft, "ttft_scheduled": ttft, "tpot": _latency(0.02 + 0.02 * load, 0.02),
        "latency": _latency(3.0 / (1 - load), 0.02), "latency_scheduled": _latency(3.0 / (1 - load), 0.02),
        "running_mean": 10 * load, "waiting_mean": load / (1 - load), "kv_usage_mean": 0.5 * load,
        "accelerator_seconds": 100.0,
    }  # fmt: skip
    return Point(**(known | fields))


@pytest.fixture(scope="session")
def make_config() -> Callable[..., ServingConfiguration]:
    """Makes the unit of an accelerator and count; other fields of its component by name."""
    return _config


@pytest.fixture(scope="session")
def make_curve() -> Callable[..., Curve]:
    """Makes a curve that saturates at `knee` req/s with an unloaded mean TTFT of `base_s`."""

    def curve(
        config: ServingConfiguration,
        knee: float = 10.0,
        base_s: float = 0.05,
        loads: tuple[float, ...] = (0.1, 0.25, 0.5, 0.7, 0.8, 0.9, 1.1, 1.3),
        evidence: Evidence = "measured",
        hardware: HardwareSource = "detected",
        workload: Workload = CHATBOT,
        **fields: Any,
    ) -> Curve:
        provenance = Provenance(
            evidence=evidence, hardware_source=hardware, source="test", giq_version="0.1.0",
            measured_at="2026-11-20T10:00:00Z" if evidence == "measured" else None,
            calibration_id="prior" if evidence == "estimated" else None,
        )  # fmt: skip
        name = f"{evidence}-{config.config_id}-{workload.workload_id}"
        points = tuple(
            _point(f"{name}-{load}", load * knee, knee, base_s, provenance=provenance, **fields) for load in loads
        )
        return Curve(config, workload, points)

    return curve


@pytest.fixture(scope="session")
def attained() -> Callable[[str, float], tuple[Attainment, ...]]:
    """Makes what a point records of targets met jointly."""
    return lambda targets, share: (Attainment(targets=targets, joint=share, goodput_rps=1.0),)


@pytest.fixture(scope="session")
def chatbot() -> Workload:
    """GIQ's chatbot with fixed lengths: 108 tokens in, 132 out."""
    return CHATBOT
