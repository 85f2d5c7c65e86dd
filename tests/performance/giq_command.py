"""The installed `giq profile` at a terminal, pinned to one core, and what its run says of one load."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import numpy as np

from giq.curve.point import Point
from giq.curve.requests import Requests
from giq.store.run import open_run
from tests.performance.figures import Cell, Figures, figures
from tests.performance.pinned import Ended, run


def command() -> str:
    """The installed command, beside this interpreter or on the path."""
    beside = Path(sys.executable).parent / "giq"
    found = str(beside) if beside.exists() else shutil.which("giq")
    if found is None:
        raise SystemExit("giq is not installed: make dev.")
    return found


def profile(
    cell: Cell, url: str, core: int, folder: Path, stop: tuple[str, ...], *, limit_s: float, workers: int = 1
) -> tuple[Ended, Figures, Point]:
    """Hold the load of *cell* with everything on, until *stop* (options of the command).

    Raises:
        ValueError: the command failed; its last words.
    """
    load = ("--concurrency", str(cell.streams)) if cell.streams else ("--request-rate", f"{cell.rate_rps:g}")
    ended = run(
        [
            command(), "profile", "--endpoint", url, *load, *stop, "--input-tokens", str(cell.input_tokens),
            "--output-tokens", str(cell.output_tokens), "--workers", str(workers), "--results-dir", folder / "results",
        ],
        core, limit_s=limit_s, cwd=folder, env={"GIQ_HOME": str(folder / "home")}, terminal=True,
    )  # fmt: skip
    if ended.code != 0:
        raise ValueError(f"exit code {ended.code}: {ended.said.strip()[-300:]}")
    (path,) = (folder / "results").glob("run=*")
    saved = open_run(path)
    (point,) = saved.points()
    return ended, figures_of(cell, saved.requests(point.point_id), point), point


def figures_of(cell: Cell, requests: Requests, point: Point) -> Figures:
    """The figures of all the requests of a point, those of warm-up and drain too."""
    good = requests.ok
    sent, last = requests.sent_ns[good], requests.last_token_ns[good]
    delays = (requests.sent_ns - requests.scheduled_ns) / 1e6
    return figures(
        cell, sent / 1e9, last / 1e9, (requests.first_token_ns[good] - sent) / 1e9, requests.gaps_ns / 1e9,
        failed=int(np.sum(~good)), schedule_delay_p99_ms=float(np.quantile(delays, 0.99)),
        rate_error=rate_error(requests), flags=list(point.flags),
    )  # fmt: skip


def rate_error(requests: Requests) -> float:
    """How far the rate of sending was off the schedule's, as a share."""
    scheduled, sent = np.ptp(requests.scheduled_ns), np.ptp(requests.sent_ns)
    return abs(float(scheduled / sent) - 1) if sent else 0.0
