"""What is at hand: measured curves that ship, imported ones and those of the user's runs; and, asked for, estimates."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from giq.catalog.shipped import shipped, user_home
from giq.curve.curve import Curve
from giq.errors import DataError, UnknownNameError, UsageError
from giq.store.compact import estimates_file
from giq.store.database import OnDamage, file_of, read_curves, write_points
from giq.store.run import FOLDER_PREFIX
from giq.store.run_manifest import FILE_NAME

DEFAULT_RESULTS = Path("results")


def imports_folder(home: Path | None = None) -> Path:
    """Where imported curves lie, below *home* (default `$GIQ_HOME`)."""
    return (home or user_home()) / "benchmarks"


def curves_at_hand(results_dir: Path, on_damage: OnDamage | None = None) -> list[Curve]:
    """The measured curves that ship, the imported ones, and those of the runs in *results_dir*, in this order."""
    places = (shipped("benchmarks") / "points", imports_folder(), results_dir)
    return [curve for folder in places if folder.is_dir() for curve in read_curves(folder, on_damage)]


def shipped_published() -> list[Curve]:
    """The published points that ship, as curves.

    Raises:
        DataError: they are damaged.
    """
    file = shipped("benchmarks") / "published.parquet"
    return read_curves(file) if file.is_file() else []


def shipped_estimates(model: str, only: Mapping[str, str] | None = None) -> list[Curve]:
    """The estimates of *model* that ship, with *only* as in `read_curves`; of a model outside the catalog none.

    Raises:
        DataError: they are damaged.
    """
    file = estimates_file(shipped("benchmarks"), model)
    return read_curves(file, only=only) if file.is_file() else []


def named_curves(words: Sequence[str], results_dir: Path, on_damage: OnDamage | None = None) -> list[Curve]:
    """The curves that *words* name, in their order; without words all at hand.

    A word is a run, a folder or file of points, a URI, or the beginning of a curve's id; an id may be followed by
    what its curve rests on, like `1a2b3c4d:measured`. What is not at hand is looked for among all that ships.

    Raises:
        DataError: a place holds nothing that can be read.
        UnknownNameError: an id that no curve at hand has.
        UsageError: the beginning of several ids, which are named.
    """
    if not words:
        return curves_at_hand(results_dir, on_damage)
    found: list[Curve] = []
    known: list[Curve] | None = None
    for word in words:
        if is_place(word):
            found += read_curves(word, on_damage)
            continue
        known = curves_at_hand(results_dir, on_damage) if known is None else known
        found += _with_id(word, known)
    return found


def is_place(word: str) -> bool:
    """Whether *word* names a file, a folder or a URI, and not a curve's id."""
    return "/" in word or (word != "" and Path(word).expanduser().exists())


def _with_id(word: str, known: Sequence[Curve]) -> list[Curve]:
    begin, _, evidence = word.partition(":")
    found = [
        curve
        for curve in known
        if curve.curve_id.startswith(begin) and curve.points and evidence in ("", curve.evidence)
    ]
    found = found or [curve for curve in _shipped_with_id(begin) if evidence in ("", curve.evidence)]
    if not found:
        raise UnknownNameError("curve", word, (curve.curve_id for curve in known))
    ids = sorted({curve.curve_id for curve in found})
    if len(ids) > 1:
        raise UsageError(f"{word!r} begins several curves' ids", hint=f"They are: {', '.join(ids)}.")
    return found


def _shipped_with_id(begin: str) -> list[Curve]:
    """The published and estimated curves that ship whose id begins so."""
    places = [shipped("benchmarks") / "published.parquet", shipped("benchmarks") / "estimates"]
    return [curve for place in places if place.exists() for curve in read_curves(place, only={"curve_id": begin})]


def runs_of(words: Sequence[str], results_dir: Path) -> list[Path]:
    """The folders of the runs that *words* name, each once: runs, folders of runs, or ids of curves in *results_dir*.

    Raises:
        DataError: there is no run, so no records: curves that were imported or ship have none.
    """
    found: list[Path] = []
    for word in words or [str(results_dir)]:
        if is_place(word):
            place = Path(word).expanduser()
            found += [place] if (place / FILE_NAME).exists() else sorted(place.glob(f"{FOLDER_PREFIX}*"))
        else:
            found += folders_of(named_curves([word], results_dir), words, results_dir).values()
    if not found:
        raise DataError(
            "no run is there, so there are no records",
            where=", ".join(words) or str(results_dir),
            hint="Name a run's folder; curves that ship or were imported have points only.",
        )
    return list(dict.fromkeys(found))


def folders_of(curves: Sequence[Curve], words: Sequence[str], results_dir: Path) -> dict[str, Path]:
    """The folders of those runs of *curves* that are in *results_dir*, or where *words* say, by the runs' ids."""
    ids = {point.run_id for curve in curves for point in curve.points}
    places = [results_dir, *(Path(word).expanduser() for word in words if is_place(word))]
    near = [folder for place in places for folder in (place, *(place / f"{FOLDER_PREFIX}{run}" for run in ids))]
    found = {folder.name.removeprefix(FOLDER_PREFIX): folder for folder in near if (folder / FILE_NAME).exists()}
    return {run: found[run] for run in sorted(filter(None, ids)) if run in found}


def keep_imported(curves: Sequence[Curve], home: Path | None = None) -> list[str]:
    """Put *curves* among those imported before; a point that is there already is replaced. Returns the files.

    So a result that is imported again, declared as something else, is there once.

    Raises:
        DamagedFileError: what was imported before is damaged; nothing is written.
        StorageError: it cannot be written.
    """
    folder = imports_folder(home)
    before = read_curves(folder) if folder.is_dir() else []
    left = [_without(curve, curves) for curve in before]
    written = write_points(folder, [*left, *curves])
    for old, new in zip(before, left, strict=True):
        if not new.points and str(folder / file_of(old)) not in written:
            (folder / file_of(old)).unlink(missing_ok=True)
    return written


def _without(curve: Curve, newer: Sequence[Curve]) -> Curve:
    """*curve* without the points that one of *newer* has anew."""
    anew = {(point.run_id, point.point_id) for other in newer for point in other.points}
    left = tuple(point for point in curve.points if (point.run_id, point.point_id) not in anew)
    return Curve(curve.config, curve.workload, left)
