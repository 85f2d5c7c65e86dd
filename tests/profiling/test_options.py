"""What the words of a profile mean."""

from __future__ import annotations

import pytest

from giq.curve.point import Point, Provenance
from giq.errors import UsageError
from giq.profiling.options import AcceleratorRequest, parse_accelerator, parse_engine_args
from giq.profiling.stopping import cost_words, expected_seconds, measured_s
from giq.workload.workload import ClosedLoad, OpenLoad, Stop


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("nvidia-l4", AcceleratorRequest(name="nvidia-l4")),
        ("nvidia-l4:4", AcceleratorRequest(name="nvidia-l4", count=4)),
        ("v6e:2x4", AcceleratorRequest(name="v6e", topology="2x4")),
    ],
)
def test_an_accelerator_has_a_name_and_a_count_or_a_topology(text: str, expected: AcceleratorRequest) -> None:
    """A count or a topology follows the name after a colon."""
    assert parse_accelerator(text) == expected


@pytest.mark.parametrize("text", ["l4:", "l4:0", "l4:x", "l4:2x", "l4:-1"])
def test_a_strange_size_is_refused(text: str) -> None:
    """What follows the colon must be a count or a topology."""
    with pytest.raises(UsageError, match="no count or topology"):
        parse_accelerator(text)


def test_engine_arguments_have_types() -> None:
    """Numbers and booleans become such; everything else stays text."""
    pairs = ("max-num-seqs=128", "gpu_memory_utilization=0.9", "enforce_eager=true", "quantization=fp8")

    found = parse_engine_args(pairs)

    assert found == {
        "max_num_seqs": 128,
        "gpu_memory_utilization": 0.9,
        "enforce_eager": True,
        "quantization": "fp8",
    }


@pytest.mark.parametrize("pair", ["max_num_seqs", "=3", "--x=3"])
def test_an_engine_argument_needs_key_and_value(pair: str) -> None:
    """A pair without a key or an equals sign is refused."""
    with pytest.raises(UsageError, match="not an engine argument"):
        parse_engine_args((pair,))


def test_the_time_of_a_load_is_known_when_its_rate_is() -> None:
    """200 requests at 4 a second take 50 s; without any rate only the limit is known."""
    stop = Stop(requests=200, duration_s=300)

    assert expected_seconds(OpenLoad(rate_rps=4), stop, []) == 50
    assert expected_seconds(ClosedLoad(concurrency=4), stop, []) == 300
    assert expected_seconds(ClosedLoad(concurrency=4), stop, [_point(rate=2.0)]) == 100


def test_the_cost_counts_accelerators_and_idle_time() -> None:
    """100 s on two accelerators are 200 accelerator-seconds, whatever part of it a load was held."""
    points = [_point(rate=2.0), _point(rate=3.0)]

    assert measured_s(points, 2) == 10
    assert cost_words(points, 100.0, 2).startswith("Cost: 200 accelerator-seconds (1 min 40 s x 2")


def _point(rate: float) -> Point:
    return Point(
        point_id="p001",
        provenance=Provenance(evidence="measured", hardware_source="detected", source="test", giq_version="0"),
        load_kind="closed",
        concurrency=1,
        achieved_rps=rate,
        in_flight_mean=1,
        error_share=0,
        window_s=10,
        n_requests=20,
        input_tokens_mean=1,
        output_tokens_mean=1,
        input_tps=1,
        output_tps=1,
        total_tps=2,
        accelerator_seconds=10,
    )
