"""Puts a campaign's points into the database that ships: measured, each with the command that made it."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from giq.curve.curve import Curve
from giq.curve.point import Point
from giq.documents import replace
from giq.store.database import file_of, read_curves, write_points
from giq.store.run import Run, open_run
from giq.store.run_manifest import FILE_NAME, RunManifest


def runs_in(results: Path) -> Iterator[Run]:
    """All runs below *results* that have points, by path."""
    for path in sorted(results.rglob(f"run=*/{FILE_NAME}")):
        run = open_run(path.parent)
        if run.points():
            yield run


def measured_curves(runs: Iterable[Run]) -> list[Curve]:
    """The measured points of *runs* on hardware that was detected, one curve a run, with the source spelled out."""
    found = []
    for run in runs:
        points = [point for point in run.points() if _is_measured(point)]
        source = source_of(run.manifest)
        sourced = [replace(point, provenance=replace(point.provenance, source=source)) for point in points]
        if sourced:
            found.append(Curve(run.manifest.config, run.manifest.workload, tuple(sourced)))
    return found


def _is_measured(point: Point) -> bool:
    return (point.provenance.evidence, point.provenance.hardware_source) == ("measured", "detected")


def source_of(manifest: RunManifest) -> str:
    """How a run's points were made: giq's command, the server's, the machine and its versions."""
    versions = ", ".join(f"{name} {version}" for name, version in manifest.versions.items())
    parts = [
        f"{shlex.join(_shown(manifest.command))}",
        f"server: {shlex.join(_shown(manifest.server_command))}" if manifest.server_command else "",
        f"on {manifest.config.accelerators_total} x {manifest.accelerator_name or 'unknown'}",
        versions,
        f"run {manifest.run_id}",
    ]
    return "; ".join(part for part in parts if part)


def _shown(command: Sequence[str]) -> list[str]:
    """*command* with the last part of absolute paths alone: where they lay on that machine says nothing."""
    return [Path(word).name if word.startswith("/") else word for word in command]


def add_to_database(benchmarks: Path, curves: Iterable[Curve]) -> list[str]:
    """Write *curves* into the database in *benchmarks* beside what is there; returns the files written.

    A curve that is there already keeps its points; one of the same run and name is replaced.

    Raises:
        StorageError: it cannot be written.
    """
    there = benchmarks / "points"
    before = {file_of(curve): curve for curve in read_curves(there)} if there.is_dir() else {}
    points: dict[str, dict[tuple[str | None, str], Point]] = {}
    questions: dict[str, Curve] = {}
    for curve in curves:
        file = file_of(curve)
        questions[file] = curve
        known = before[file].points if file in before and file not in points else ()
        kept = points.setdefault(file, {(point.run_id, point.point_id): point for point in known})
        kept |= {(point.run_id, point.point_id): point for point in curve.points}
    merged = [Curve(curve.config, curve.workload, tuple(points[file].values())) for file, curve in questions.items()]
    return write_points(benchmarks, merged) if merged else []
