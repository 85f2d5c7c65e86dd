"""Doubts about curves: each is found where it is, and none where nothing is wrong."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from typing import Any

import pytest

from giq.curve.curve import Curve
from giq.curve.doubts import Doubt, doubts
from giq.curve.flags import FLAGS
from giq.curve.point import INFORMING, INVALIDATING, Estimate, Point
from giq.curve.targets import Target
from giq.documents import replace
from tests.curve.measured_curves import closed_point, config, curve, open_point, overloaded_point, provenance, workload

TODAY = date(2026, 11, 22)
TTFT = (Target("ttft", 0.4),)
CLOSE = (1.0, 1.2, 1.44, 1.7, 2.0, 2.4, 2.8, 3.3, 3.9, 4.2, 4.5)


def found(one: Curve, targets: Sequence[Target] = TTFT, **more: Any) -> list[Doubt]:
    """What `doubts` says on the day after the measurement."""
    return doubts(one, targets, today=TODAY, **more)


def with_point(point: Point) -> Curve:
    """A sound curve with one more point."""
    return Curve(config(), workload(), (*curve(rates=CLOSE).points, point))


def test_a_sound_curve_has_nothing_but_notes() -> None:
    """Close rates, long windows, narrow intervals, detected hardware: only the overloaded point's flag is noted."""
    items = found(curve(rates=CLOSE, width=0.02, window_s=3600.0, n_requests=3600))

    assert [item.severity for item in items] == ["note"]
    assert items[0].finding.startswith("NOT_STEADY")
    assert "saturation begins" in items[0].advice


@pytest.mark.parametrize(
    ("point", "severity", "words"),
    [
        (open_point(3.0, prefix_hit_share=0.4), "invalid", "40.0 % of the prompt tokens"),
        (open_point(3.0, client_error_s=0.5), "invalid", "client's own error bound is 500 ms"),
        (open_point(3.0, client_error_s=0.05), "doubtful", "client's own error bound is 50.0 ms"),
        (open_point(3.0, rtt_s=0.1), "doubtful", "round trip to the server is 100 ms"),
        (open_point(3.0, n_requests=60), "doubtful", "60 requests"),
        (open_point(3.0, width=0.6), "doubtful", "p90 TTFT is known only as"),
        (open_point(3.0, flags=("FOREIGN_TRAFFIC",)), "doubtful", "FOREIGN_TRAFFIC: others used the server"),
        (open_point(3.0, flags=("COUNTERS_UNAVAILABLE",)), "note", "COUNTERS_UNAVAILABLE"),
        (open_point(4.7, output_tps=300.0), "doubtful", "output falls with rate: 300 tok/s"),
        (open_point(3.3, slowness=1.5, run_id="r2", point_id="again"), "doubtful", "the intervals do not touch"),
    ],
)
def test_what_is_wrong_with_a_point_is_found(point: Point, severity: str, words: str) -> None:
    """Each fault of one point is told with the load it is about and advice."""
    items = [item for item in found(with_point(point)) if words in item.finding]

    assert len(items) == 1
    assert items[0].severity == severity
    assert items[0].subject.endswith("req/s")
    assert items[0].advice


def test_throughput_that_falls_with_concurrency_is_explained_by_preemptions() -> None:
    """More in flight and fewer tokens per second: with preemptions the KV cache is named."""
    rungs = (closed_point(4), closed_point(8), replace(closed_point(16), output_tps=200.0, preemptions=31.0))

    (item,) = [
        item for item in found(Curve(config(), workload(), rungs), ()) if item.finding.startswith("output falls")
    ]

    assert item.subject == "16 in flight"
    assert "preempts" in item.advice


def test_gaps_are_told_where_the_answer_lies_and_with_the_rate_to_add() -> None:
    """Between 1 and 4 requests/s, where the capacity lies, a point at 2 is asked for."""
    items = [item for item in found(curve(rates=(1.0, 4.0)), (Target("ttft", 0.2),)) if "nothing valid" in item.finding]

    assert [item.severity for item in items] == ["doubtful"]
    assert items[0].advice == "add --request-rate 2"


def test_answers_outside_the_measured_range_are_doubtful() -> None:
    """All loads meet the target, or none does: a higher or a lower rate is asked for."""
    easy = Curve(config(), workload(), tuple(open_point(rate) for rate in CLOSE))
    beyond, unmet = found(easy, (Target("ttft", 30.0),)), found(easy, (Target("ttft", 0.01),))

    assert any("add a higher --request-rate until" in item.advice for item in beyond)
    assert any("add a lower --request-rate" in item.advice for item in unmet)
    assert any(item.finding.startswith("saturation not reached") for item in beyond)


def test_a_curve_without_a_valid_point_is_invalid_and_so_is_one_that_does_not_tell_the_target() -> None:
    """No answer can rest on flagged points alone, nor on points without the metric."""
    flagged = Curve(config(), workload(), (overloaded_point(),))
    silent = Curve(config(), workload(), (open_point(2.0), open_point(3.0)))

    assert found(flagged)[0].severity == "invalid"
    assert any(
        item.severity == "invalid" and "no valid point tells" in item.finding
        for item in found(silent, (Target("itl", 0.1),))
    )


def test_where_numbers_come_from_is_told() -> None:
    """Estimated, published, declared and old curves say so; one without server metrics too."""

    def said(evidence: Any, **fields: Any) -> str:
        origin = provenance(evidence, **fields)
        return "\n".join(item.finding for item in found(curve(rates=CLOSE, provenance=origin)))

    assert "estimated by the simulated engine" in said("estimated")
    assert "taken from GuideLLM" in said("published", source="GuideLLM 0.8.1")
    assert "nvidia-l4) was declared" in said("measured", hardware_source="declared")
    assert "measured 387 days ago" in said("measured", measured_at="2025-10-31")
    assert "queue and KV cache" in "\n".join(item.finding for item in found(curve(running_mean=None)))


def test_drift_is_doubtful_where_its_interval_excludes_none() -> None:
    """A rise of latency within a point is told, one that may be chance is not."""
    drifts = {"open-2": Estimate(value=0.3, lo=0.1, hi=0.5), "open-2.8": Estimate(value=0.3, lo=-0.1, hi=0.7)}

    items = [item for item in found(curve(rates=CLOSE), drifts=drifts) if item.finding.startswith("latency")]

    assert [(item.subject, item.finding) for item in items] == [
        ("2.00 req/s", "latency rises by 30.0 % of its mean while the load stands")
    ]


def test_the_worst_is_said_first_and_the_order_of_points_makes_no_difference() -> None:
    """Invalid before doubtful before notes, the same list for shuffled points."""
    one = with_point(open_point(3.0, prefix_hit_share=0.4, rtt_s=0.2))
    items = found(one)

    ranks = ["invalid", "doubtful", "note"]
    assert [ranks.index(item.severity) for item in items] == sorted(ranks.index(item.severity) for item in items)
    assert found(Curve(one.config, one.workload, one.points[::-1])) == items


def test_every_flag_is_explained() -> None:
    """Each flag of the schema has a reason and an advice."""
    assert set(FLAGS) == {*INVALIDATING, *INFORMING}
    assert all(flag.reason and flag.advice for flag in FLAGS.values())
