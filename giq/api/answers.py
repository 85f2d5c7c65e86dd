"""Questions to curves: predicted, judged, compared, ranked, written as manifests, drawn."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from giq.curve.comparison import Comparison, compare, refuse_other_question
from giq.curve.doubts import Doubt, doubts
from giq.curve.targets import Target, TargetMetric
from giq.units import parse_duration, parse_percentile

if TYPE_CHECKING:
    from giq.curve.curve import Curve
    from giq.recommend.recommendation import Recommendation
    from giq.workload.workload import Workload

Length = int | str
"""Token lengths in the command line's words: 512, `uniform:64-512`, `normal:512,128`, `lognormal:512,0.7`."""


def target(metric: TargetMetric, limit: str | float, percentile: str = "p90") -> Target:
    """A latency target: *percentile* of *metric* at most *limit* (`300ms`, or seconds as a number).

    Raises:
        UsageError: an unknown metric or percentile, or a limit without a unit.

    Example:
        >>> import giq
        >>> str(giq.target("ttft", "300ms"))
        'p90 TTFT <= 300 ms'
    """
    seconds = parse_duration(limit) if isinstance(limit, str) else float(limit)
    return Target(metric=metric, seconds=seconds, percentile=parse_percentile(percentile))


def workload_of(
    use_case: str | None = None,
    input_tokens: Length | None = None,
    output_tokens: Length | None = None,
    arrival: str = "poisson",
) -> Workload:
    """A workload: a named use case, or lengths; without either the chatbot.

    Raises:
        UsageError: one length without the other, or words that mean nothing.

    Example:
        >>> import giq
        >>> giq.workload_of(use_case="chatbot", arrival="constant").arrival.law
        'constant'
    """
    from giq.catalog import load_catalog
    from giq.cli import asked

    lengths = tuple(None if length is None else str(length) for length in (input_tokens, output_tokens))
    return asked.workload_of(load_catalog(), use_case, (lengths[0], lengths[1]), arrival)[0]


def check(curve: Curve, targets: Iterable[Target] = (), results_dir: str | Path = "results") -> list[Doubt]:
    """What is doubtful in *curve* as an answer to *targets*, worst first, each with what to do next.

    Where the records of its runs are in *results_dir*, drift within the points is looked for too.
    """
    from giq.store.at_hand import folders_of
    from giq.store.drifts import drifts_of

    drifts = drifts_of(curve, folders_of([curve], (), Path(results_dir)))
    return doubts(curve, tuple(targets), today=datetime.now(UTC).date(), drifts=drifts)


def diff(
    a: Curve, b: Curve, targets: Iterable[Target] = (), percentile: str = "p90", *, force: bool = False
) -> Comparison:
    """Whether *b* really differs from *a*: ratios B / A with 90 % intervals, and a verdict for each.

    Raises:
        IncompatibleError: they are of different models or workloads, and *force* is not set.
    """
    if not force:
        refuse_other_question(a, b)
    return compare(a, b, tuple(targets), parse_percentile(percentile))


def predict(
    model: str,
    accelerator: str,
    workload: Workload | None = None,
    targets: Iterable[Target] = (),
    *,
    precision: str | None = None,
    engine_args: Mapping[str, int | float | bool | str] | None = None,
    seed: int = 0,
) -> Curve:
    """The saturation curve of *model* on *accelerator* (`nvidia-l4:2`) from the simulated engine: estimated.

    Raises:
        UnknownNameError: a name that is not in the catalog.
        UsageError: it does not fit, or does not come in that shape.
    """
    from giq.catalog import load_catalog
    from giq.cli.declared import declared_configuration
    from giq.engine.calibrations import kept_calibrations, predicting
    from giq.engine.prediction import predict_curve
    from giq.profiling.options import Declared, parse_accelerator

    catalog = load_catalog()
    asked = workload or workload_of()
    declared = Declared(
        model=model,
        accelerator=parse_accelerator(accelerator),
        precision=precision,
        engine_args=dict(engine_args or {}),
    )
    config = declared_configuration(declared, asked, catalog)
    return predict_curve(predicting(config, catalog, kept_calibrations()), asked, tuple(targets), seed)


def recommendation(
    model: str,
    targets: Iterable[Target] = (),
    workload: Workload | None = None,
    *,
    request_rate_rps: float | None = None,
    accelerators: Iterable[str] | None = None,
    region: str = "us-central1",
    pricing: str = "on-demand",
    measured_only: bool = False,
    curves: Sequence[Curve] | None = None,
) -> Recommendation:
    """Accelerators for *model* ranked by cost within *targets*, as `giq recommend` does, with reasons.

    *curves* are what is measured (default all at hand, and published points that ship); for the other units of the
    catalog the simulated engine predicts, where its curve does not ship. It is not kept for `giq manifest`.

    Raises:
        UnknownNameError: a model, accelerator or region that is not in the catalog.
        UsageError: a value that cannot be.
    """
    from giq.catalog import load_catalog
    from giq.documents import plain, validate
    from giq.recommend.answer import answer
    from giq.recommend.requirement import Requirement
    from giq.recommend.shipped_curves import shipped_curves
    from giq.store.frames import curves as all_at_hand

    catalog = load_catalog()
    asked = {
        "model": catalog.model(model).name,
        "workload": plain(workload or workload_of()),
        "targets": [plain(item) for item in targets],
        "request_rate_rps": request_rate_rps,
        "region": region,
        "pricing_model": pricing,
        "accelerators": None if accelerators is None else [catalog.accelerator(name).name for name in accelerators],
        "evidence_floor": "measured" if measured_only else None,
    }
    requirement = validate(asked, Requirement, "giq.recommendation")
    ships = shipped_curves(requirement)
    stored = [*all_at_hand(), *ships.published] if curves is None else curves
    return answer(stored, requirement, catalog, made=ships.estimates)


def manifests(found: Recommendation, rank: int = 1, *, namespace: str = "default", name: str | None = None) -> str:
    """The Kubernetes documents of row *rank* of a recommendation, as YAML; the same input gives the same text.

    Raises:
        UsageError: there is no such row.
    """
    from giq.catalog import load_catalog
    from giq.errors import UsageError
    from giq.manifest.choice import choice_of
    from giq.manifest.options import ManifestOptions
    from giq.manifest.plan import make_plan
    from giq.manifest.render import render

    row = found.row(rank)
    if row is None:
        known = ", ".join(str(item.rank) for item in found.rows if item.rank) or "none"
        raise UsageError(f"the recommendation has no rank {rank}", hint=f"It has: {known}.")
    catalog = load_catalog()
    choice = choice_of(row, found.requirement, catalog)
    return render(make_plan(choice, catalog, ManifestOptions(namespace=namespace, name=name)))


def plot(curves: Sequence[Curve], file: str | Path, targets: Iterable[Target] = (), percentile: str = "p90") -> Path:
    """Draw *curves* over each other into *file*, an .svg or .png, and return its path.

    Raises:
        StorageError: it cannot be written.
        UsageError: another kind of file, or matplotlib is not installed (`pip install "giq[plot]"`).
    """
    from giq.show.picture import picture_of
    from giq.show.plot_file import check_plot_file, drawn
    from giq.store.parquet import write_bytes

    path = Path(file)
    check_plot_file(path)
    write_bytes(path, drawn(picture_of(curves, tuple(targets), parse_percentile(percentile)), path.suffix.lower()))
    return path
