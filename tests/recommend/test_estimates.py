"""Estimates for what nobody has measured, and the whole question, on the catalog that ships and the real engine."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from giq.catalog.catalog import Catalog, load_catalog
from giq.catalog.configuration import ServingConfiguration
from giq.catalog.use_cases import Lengths
from giq.curve.curve import Curve
from giq.curve.targets import Target
from giq.documents import encode_json, replace
from giq.errors import UnknownNameError
from giq.recommend.answer import answer
from giq.recommend.candidates import candidate_configurations
from giq.recommend.estimates import estimate_curves, unmeasured
from giq.recommend.requirement import Requirement
from giq.workload.workload import Workload

SHORT = Workload(input_tokens=Lengths(mean=64), output_tokens=Lengths(mean=8))


@pytest.fixture(scope="module")
def shipped() -> Catalog:
    """The catalog that ships."""
    return load_catalog()


def _asked(**fields: Any) -> Requirement:
    known: dict[str, Any] = {
        "model": "llama-3-8b", "workload": SHORT, "targets": (Target("ttft", 1.0),), "accelerators": ("nvidia-l4",),
    }  # fmt: skip
    return Requirement(**(known | fields))


def test_curves_in_order_and_reasons(shipped: Catalog) -> None:
    """Each candidate gives its curve in its place or the engine's reason, from two processes as from one."""
    requirement = _asked(accelerators=("nvidia-l4", "tpu-v5-lite-podslice"))
    candidates = [
        item for item in candidate_configurations(requirement, shipped).accepted if item.config.accelerators_total <= 2
    ]
    told: list[tuple[int, int]] = []
    curves, rejected = estimate_curves(candidates, requirement, shipped, lambda done, of: told.append((done, of)))
    assert [curve.config for curve in curves] == [item.config for item in candidates[:2]]
    assert {curve.evidence for curve in curves} == {"estimated"}
    assert [(item.unit, item.evidence) for item in rejected] == [("tpu-v5-lite-podslice ×1", "estimated")]
    assert "16.1 GB weights" in rejected[0].reason
    assert told == [(1, 2), (2, 2)]
    again, _ = apart = estimate_curves(candidates, requirement, shipped, processes=2)
    assert apart == (curves, rejected)
    assert [encode_json(curve.config) for curve in again] == [encode_json(curve.config) for curve in curves]


def test_what_was_made_before_is_taken_where_it_answers(shipped: Catalog) -> None:
    """A curve of the same engine is not predicted again; one of other numbers, or that tells too little, is."""
    requirement = _asked(accelerators=("nvidia-gh200",))
    candidates = candidate_configurations(requirement, shipped).accepted
    (made,), _ = estimate_curves(candidates, requirement, shipped)
    changed = [replace(point, provenance=replace(point.provenance, engine_id="another")) for point in made.points]
    other = Curve(made.config, made.workload, tuple(changed))

    def predicted(asked: Requirement, *known: Curve) -> int:
        told: list[int] = []
        (found,), _ = estimate_curves(candidates, asked, shipped, lambda done, of: told.append(of), made=known)
        assert asked is not requirement or found == made
        return len(told)

    assert predicted(requirement, made) == 0
    assert predicted(requirement, other) == 1
    assert predicted(requirement) == 1
    assert predicted(_asked(accelerators=("nvidia-gh200",), attainment=0.9), made) == 1
    assert predicted(_asked(accelerators=("nvidia-gh200",), targets=(Target("ttft", 1.0, "p99"),)), made) == 1


def test_too_long_for_the_context(shipped: Catalog) -> None:
    """A reason that the engine finds only while it predicts is a rejection too."""
    requirement = _asked(workload=replace(SHORT, input_tokens=Lengths(mean=50_000)))
    found = candidate_configurations(requirement, shipped)
    assert "requests of up to 50,008 tokens exceed the context of llama-3-8b (8,192)" in found.notes[0]
    curves, rejected = estimate_curves(found.accepted, requirement, shipped)
    assert not curves
    assert [item.config for item in rejected] == [item.config for item in found.accepted]
    assert "longer than the 8,192 tokens" in rejected[0].reason


def test_only_a_usable_measurement_spares_the_estimate(shipped: Catalog, make_curve: Callable[..., Curve]) -> None:
    """A candidate is left out for a measured curve of the same unit and workload with a valid point, for no other."""
    requirement = _asked()
    candidates = candidate_configurations(requirement, shipped).accepted
    config = candidates[0].config
    same = make_curve(config, workload=SHORT)
    others = [
        make_curve(config),
        make_curve(config, workload=SHORT, evidence="estimated", hardware="simulated"),
        make_curve(config, workload=SHORT, flags=("FOREIGN_TRAFFIC",)),
        make_curve(replace(config, adapters=1), workload=SHORT),
    ]
    assert unmeasured(candidates, others, requirement, shipped) == candidates
    assert unmeasured(candidates, [*others, same], requirement, shipped) == candidates[1:]


def test_whole_question(shipped: Catalog, make_curve: Callable[..., Curve]) -> None:
    """The answer ranks the measured unit, shows the estimate of one without a price, and says when it was made."""
    requirement = _asked(accelerators=("nvidia-gh200", "tpu-v6e-slice"))
    slices = [item for item in candidate_configurations(requirement, shipped).accepted if item.shape]
    found = answer([make_curve(item.config, workload=SHORT) for item in slices], requirement, shipped)
    assert {(row.rank, row.config.main.accelerator, row.evidence) for row in found.rows} == {
        (1, "tpu-v6e-slice", "measured"),
        (2, "tpu-v6e-slice", "measured"),
        (3, "tpu-v6e-slice", "measured"),
        (None, "nvidia-gh200", "estimated"),
    }
    assert found.made_at.endswith("+00:00")
    assert "tpu-v6e-slice: 3 slices of several hosts are left out; only single hosts are considered" in found.notes


def test_measured_only(shipped: Catalog, make_curve: Callable[..., Curve]) -> None:
    """Where only measurements count nothing is estimated, and that is said."""
    requirement = _asked(evidence_floor="measured")
    measured = make_curve(candidate_configurations(requirement, shipped).accepted[0].config, workload=SHORT)
    found = answer([measured], requirement, shipped)
    assert [row.evidence for row in found.rows] == ["measured"]
    assert "3 units without measured curves are left out, as asked" in found.notes


def test_model_outside_the_catalog(
    shipped: Catalog, make_curve: Callable[..., Curve], make_config: Callable[..., ServingConfiguration]
) -> None:
    """A model that the catalog does not know is answered from stored curves alone; a wrong accelerator is an error."""
    own = make_curve(make_config("nvidia-l4", model="someone/own"), workload=SHORT)
    found = answer([own], _asked(model="someone/own"), shipped)
    assert len(found.rows) == 1
    assert found.notes == ("someone/own is not in the catalog: only measured curves of it count",)
    with pytest.raises(UnknownNameError, match="nvidia-l4"):
        answer([own], _asked(accelerators=("nvidia-l5",)), shipped)
