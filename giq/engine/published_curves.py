"""Published points as curves: what others measured, with where it is from and under which licence."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable

from giq import __version__
from giq.curve.curve import Curve
from giq.curve.point import Distribution, Estimate, Point, Provenance
from giq.engine.observation import Observation
from giq.engine.published import PublishedRow
from giq.errors import DataError

PERMISSIVE = frozenset({"Apache-2.0", "MIT", "BSD-3-Clause"})
"""The licences under which points may be passed on."""


def published_curves(rows: Iterable[PublishedRow]) -> list[Curve]:
    """The curves of those of *rows* that are observations of a unit and a load that giq can name.

    Raises:
        DataError: the licence of one does not allow to pass it on.
    """
    points: dict[str, list[Point]] = defaultdict(list)
    first: dict[str, Observation] = {}
    for row in rows:
        if row.observation is None:
            continue
        if row.licence not in PERMISSIVE:
            raise DataError(
                f"the licence {row.licence or 'nobody names'!r} does not allow to pass it on",
                where=row.name,
                hint=f"Leave the row out; {', '.join(sorted(PERMISSIVE))} allow it.",
            )
        place = Curve(row.observation.config, row.observation.workload, ()).curve_id
        first.setdefault(place, row.observation)
        points[place].append(_point(row, row.observation))
    return [Curve(first[place].config, first[place].workload, tuple(points[place])) for place in sorted(points)]


def _point(row: PublishedRow, observation: Observation) -> Point:
    """The point: a closed loop completes as many requests a second as it has slots over their latency (Little)."""
    means, work = observation.observed, observation.workload
    rate = row.concurrency / means.latency_s
    prompt, output = work.input_tokens.mean, work.output_tokens.mean
    requests = observation.requests
    return Point(
        point_id=row.name,
        provenance=Provenance(
            evidence="published",
            hardware_source="published",
            source=row.source,
            licence=row.licence,
            measured_at=row.measured_date or None,
            giq_version=__version__,
        ),
        load_kind="closed",
        concurrency=float(row.concurrency),
        achieved_rps=rate,
        in_flight_mean=float(row.concurrency),
        error_share=0.0,
        window_s=requests / rate,
        n_requests=requests,
        input_tokens_mean=prompt,
        output_tokens_mean=output,
        input_tps=rate * prompt,
        output_tps=rate * output,
        total_tps=rate * (prompt + output),
        ttft=Distribution(mean=Estimate(value=means.ttft_s)),
        tpot=Distribution(mean=Estimate(value=means.tpot_s)),
        latency=Distribution(mean=Estimate(value=means.latency_s)),
        accelerator_seconds=observation.config.accelerators_total * requests / rate,
        flags=("COUNTERS_UNAVAILABLE",),
    )
