"""Goes on with a run that ended before its time: what was asked for, what is left of it, and on whose clock."""

from __future__ import annotations

import re
import time
from collections.abc import Collection, Iterable, Sequence
from operator import attrgetter
from pathlib import Path
from typing import Any, Literal

from giq.curve.curve import first_difference
from giq.curve.point import Point
from giq.documents import Entry, plain, validate
from giq.errors import DataError, IncompatibleError, UsageError
from giq.load.identity import ServerIdentity
from giq.profiling.clock import UNKNOWN, this_worker
from giq.profiling.configuration import Measured
from giq.profiling.options import ProfileOptions
from giq.store.run_manifest import FILE_NAME, RunManifest, Worker

LATEST = "latest"

_TOLD_APART = ("workload", "seed", "loads", "targets")
"""Options that run.json holds as fields of its own."""


class Asked(Entry, frozen=True, kw_only=True):
    """What a profile was asked for: which server, by which API, and the options. Keys and files of keys are not kept.

    `python` and `trust_remote_code` belong to a server that giq launches.
    """

    source: Literal["endpoint", "launch", "simulate"]
    api: Literal["completions", "chat"]
    python: str | None = None
    trust_remote_code: bool = False
    options: ProfileOptions

    def kept(self) -> dict[str, Any]:
        """As run.json's `asked`: every field is spelled out, and those that run.json has anyway are left out."""
        options = {name: plain(getattr(self.options, name)) for name in ProfileOptions.__struct_fields__}
        for name in _TOLD_APART:
            del options[name]
        return {**{name: plain(getattr(self, name)) for name in self.__struct_fields__}, "options": options}

    @classmethod
    def of(cls, manifest: RunManifest, folder: Path) -> Asked:
        """What the run in *folder* was asked for.

        Raises:
            DataError: it was not kept, or not in a form that is understood here.
        """
        if manifest.asked is None:
            raise DataError(
                "what the run was asked for is not known: it is of an earlier giq",
                where=str(folder),
                hint="Measure anew with the command that its run.json holds.",
            )
        known = {name: plain(getattr(manifest, name)) for name in _TOLD_APART}
        options = {**manifest.asked.get("options", {}), **known}
        return validate({**manifest.asked, "options": options}, cls, str(folder / FILE_NAME))


def find_run(results_dir: Path, named: str) -> Path:
    """The folder of the run that *named* means: a folder, a run's id, or `latest` for the one begun last.

    Raises:
        UsageError: there is no such run.
    """
    if (Path(named) / FILE_NAME).is_file():
        return Path(named)
    runs = sorted((path.parent for path in results_dir.glob(f"run=*/{FILE_NAME}")), key=lambda path: path.name)
    found = runs if named == LATEST else [path for path in runs if path.name == f"run={named.removeprefix('run=')}"]
    if not found:
        known = ", ".join(path.name.removeprefix("run=") for path in runs[-5:]) or "none"
        what = "there is no run to go on with" if named == LATEST else f"there is no run {named}"
        hint = f"The latest there: {known}. Another folder of results is named by --results-dir."
        raise UsageError(what, where=str(results_dir), hint=hint)
    return found[-1]


def refuse_other_wishes(asked: Asked, now: Asked, given: Iterable[str]) -> None:
    """Refuse an option that is *given* again with another meaning than the run has.

    *given* are paths of fields from `Asked` on, like `options.workload.arrival`.

    Raises:
        UsageError: names the first such field and both values.
    """
    for path in given:
        field, before, after = first_difference(path, attrgetter(path)(asked), attrgetter(path)(now))
        if before != after:
            raise UsageError(
                f"--resume goes on as the run began: {field.removeprefix('options.')} is {_shown(before)} there, "
                f"and {_shown(after)} is asked for now",
                hint="Leave that option out, or begin a new run without --resume.",
            )


def _shown(value: object) -> str:
    if isinstance(value, tuple):
        return ", ".join(str(item) for item in value) or "not given"
    return "not given" if value is None else str(value)


def refuse_other_server(manifest: RunManifest, identity: ServerIdentity, measured: Measured) -> None:
    """Refuse to go on with a run on another server than it was begun on.

    Raises:
        IncompatibleError: another server, version, model or configuration; names the field and both values.
    """
    before, now = manifest.server, identity
    for field, old, new in (
        ("server.name", before.name, now.server),
        ("server.version", before.version, now.version or "unknown"),
        ("model", manifest.config.main.model, measured.config.main.model),
        ("server.simulated", before.simulated is not None, now.simulated is not None),
    ):
        if old != new:
            raise IncompatibleError(field, old, new)
    if manifest.config.canonical() != measured.config.canonical():
        raise IncompatibleError(*first_difference("config", manifest.config, measured.config))


def whole_points(points: Sequence[Point], cut_off: Collection[str], shared: bool) -> list[Point]:
    """Those of a run's saved *points* that were measured to their end, which need not be measured again.

    Not so: those *cut_off*, those that a load told nothing about (`tells_nothing`), and one with errors just before
    such, in which the server was dying.
    """
    whole: list[Point] = []
    for point in points:
        if not tells_nothing(point, shared):
            whole.append(point)
        elif whole and "ERRORS" in whole[-1].flags:
            whole.pop()
    return [point for point in whole if point.point_id not in cut_off]


def tells_nothing(point: Point, shared: bool) -> bool:
    """Whether nothing was answered, or others used a server that was to be ours alone (not *shared*)."""
    return point.error_share >= 1.0 or ("FOREIGN_TRAFFIC" in point.flags and not shared)


def next_number(point_ids: Collection[str]) -> int:
    """The number of a run's next point: above those of all points with records, so that no two ever share one.

    A point that is measured again gets a number of its own: its prompts, too, depend on the number, and the server may
    still have those of the first try in its prefix cache.
    """
    return 1 + max((int(found[1]) for name in point_ids if (found := re.fullmatch(r"p(\d+)", name))), default=0)


def resumed_clock(manifest: RunManifest) -> tuple[int, tuple[Worker, ...]]:
    """The run's zero on this machine's monotonic clock (ns), and the entries of run.json with this boot's added.

    On the boot that began the run it is the same reading. On another boot or host it is the reading that the
    monotonic clock had, or would have had, at the zero's Unix time: it may be negative, and times go on growing.
    """
    if not manifest.workers:
        zero_ns = time.monotonic_ns()
        return zero_ns, (this_worker(zero_ns),)
    here = this_worker(0)
    for worker in manifest.workers:
        same_boot = here.boot_id != UNKNOWN and (worker.host_id, worker.boot_id) == (here.host_id, here.boot_id)
        if same_boot and worker.zero_monotonic_ns is not None:
            return worker.zero_monotonic_ns, manifest.workers
    zero_unix_ns = manifest.workers[0].zero_unix_ns
    zero_ns = zero_unix_ns - here.zero_unix_ns
    numbers = dict.fromkeys(worker.worker_id for worker in manifest.workers)
    return zero_ns, (*manifest.workers, *(this_worker(zero_ns, number) for number in numbers))
