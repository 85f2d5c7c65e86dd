"""Curves as a server of known speed would give them: for what is said of curves, not how they come about."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from giq.catalog.configuration import Component, ServingConfiguration
from giq.catalog.use_cases import Lengths
from giq.curve.curve import Curve
from giq.curve.point import Distribution, Estimate, Evidence, Point, Provenance
from giq.workload.workload import Workload

RATES = (1.0, 2.0, 3.0, 4.0, 4.5)
SLOTS = (1, 4, 16)
SATURATION = 5.0


def distribution(value: float, width: float) -> Distribution:
    """A metric whose p50, p90 and mean stand in a fixed ratio, each known to ± *width* of itself."""

    def known(share: float) -> Estimate:
        at = value * share
        return Estimate(value=at, lo=at * (1 - width), hi=at * (1 + width))

    return Distribution(mean=known(0.6), p50=known(0.5), p90=known(1.0), p95=known(1.2), p99=known(1.5))


def config(accelerator: str = "nvidia-l4", **fields: Any) -> ServingConfiguration:
    """One unit of llama-3-8b."""
    known: dict[str, Any] = {
        "model": "llama-3-8b", "precision": "bf16", "server": "vllm", "server_version": "0.32.0",
        "accelerator": accelerator,
    }  # fmt: skip
    return ServingConfiguration(components=(Component(**(known | fields)),))


def workload(output_tokens: int = 128) -> Workload:
    """512 tokens in, *output_tokens* out."""
    return Workload(input_tokens=Lengths(mean=512.0), output_tokens=Lengths(mean=float(output_tokens)))


def open_point(rate: float, slowness: float = 1.0, width: float = 0.05, **fields: Any) -> Point:
    """An open-loop point of a server that saturates at SATURATION; latencies times *slowness*."""
    load = rate / SATURATION
    ttft = distribution(0.1 * slowness / (1.05 - min(load, 1.0)), width)
    known: dict[str, Any] = {
        "point_id": f"open-{rate:g}", "run_id": "r1", "load_kind": "open", "offered_rps": rate, "achieved_rps": rate,
        "in_flight_mean": 4 * rate, "error_share": 0.0, "window_s": 120.0, "n_requests": int(120 * rate),
        "input_tokens_mean": 512.0, "output_tokens_mean": 128.0, "input_tps": 512 * rate, "output_tps": 128 * rate,
        "total_tps": 640 * rate, "ttft": ttft, "ttft_scheduled": ttft,
        "tpot": distribution(0.03 * slowness * (1 + load), width),
        "latency": distribution(4 * slowness * (1 + load), width),
        "latency_scheduled": distribution(4 * slowness * (1 + load), width),
        "running_mean": 4 * rate, "prefix_hit_share": 0.0, "rtt_s": 0.0005, "client_error_s": 0.0002,
        "accelerator_seconds": 130.0, "provenance": provenance(),
    }  # fmt: skip
    return Point(**(known | fields))


def closed_point(slots: int, slowness: float = 1.0, width: float = 0.05, **fields: Any) -> Point:
    """A closed-loop point of the same server."""
    latency = 2.0 * slowness * max(1.0, slots / (2.0 * SATURATION))
    rate = slots / latency
    known: dict[str, Any] = {
        "point_id": f"closed-{slots}", "load_kind": "closed", "offered_rps": None, "concurrency": float(slots),
        "achieved_rps": rate, "in_flight_mean": float(slots), "output_tps": 128 * rate,
        "ttft_scheduled": Distribution(), "latency_scheduled": Distribution(),
        "latency": distribution(latency / 0.6, width), "n_requests": int(120 * rate),
    }  # fmt: skip
    return open_point(rate, slowness, width, **(known | fields))


def overloaded_point(rate: float = 7.0, **fields: Any) -> Point:
    """An open-loop point past saturation: it completes SATURATION, and what is in flight grows."""
    known: dict[str, Any] = {
        "achieved_rps": SATURATION, "in_flight_slope": Estimate(value=2.0, lo=1.9, hi=2.1), "flags": ("NOT_STEADY",),
        "ttft": distribution(20.0, 0.1), "ttft_scheduled": distribution(20.0, 0.1), "in_flight_mean": 120.0,
        "output_tps": 128 * SATURATION,
    }  # fmt: skip
    return open_point(rate, **(known | fields))


def provenance(evidence: Evidence = "measured", **fields: Any) -> Provenance:
    """Measured by giq on detected hardware on 2026-11-21."""
    known: dict[str, Any] = {
        "evidence": evidence, "hardware_source": "simulated" if evidence == "estimated" else "detected",
        "source": "giq", "measured_at": "2026-11-21T12:00:00+00:00", "giq_version": "0.1.0",
    }  # fmt: skip
    return Provenance(**(known | fields))


def curve(
    slowness: float = 1.0,
    width: float = 0.05,
    rates: Sequence[float] = RATES,
    slots: Sequence[int] = (),
    accelerator: str = "nvidia-l4",
    **fields: Any,
) -> Curve:
    """A curve with points at *rates*, one past saturation, and closed loops of *slots*; *fields* are of every point."""
    points = [
        *(open_point(rate, slowness, width, **fields) for rate in rates),
        *(closed_point(number, slowness, width, **fields) for number in slots),
        overloaded_point(**fields),
    ]
    return Curve(config(accelerator), workload(), tuple(points))
