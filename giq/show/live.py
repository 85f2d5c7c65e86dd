"""A profile as it runs: a live line on a terminal, a line per point elsewhere."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from types import TracebackType

from rich.console import Console
from rich.live import Live
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.text import Text

from giq.curve.flags import FLAGS
from giq.curve.point import Point
from giq.load.job import Progress as LoadProgress
from giq.show.terminal import talk_console
from giq.units import format_rate, format_seconds, format_span
from giq.workload.workload import Load

REFRESHES_PER_S = 4


class LiveProfile:
    """Tells a profile's progress on stderr: live on a terminal, one line per finished point elsewhere."""

    def __init__(self, console: Console | None = None, *, quiet: bool = False) -> None:
        self._quiet = quiet
        self._console = console or talk_console()
        self._live = Live(console=self._console, auto_refresh=False, transient=True)
        self._point = ""
        self._about_s: float | None = None
        self._told: set[str] = set()
        self._drawn = 0.0

    def __enter__(self) -> LiveProfile:
        if self._console.is_terminal and not self._quiet:
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._live.stop()

    def rest(self) -> None:
        """Take the live line away: what follows is printed to stay."""
        self._live.stop()

    def say(self, text: str) -> None:
        """Print a sentence for the user."""
        if not self._quiet:
            self._console.print(Text(text), soft_wrap=True)

    def warn(self, text: str) -> None:
        """Print a sentence the user should act on."""
        self._console.print(Text(f"Warning: {text}", style="yellow"), soft_wrap=True)

    def point_started(self, number: int, load: Load, about_s: float | None) -> None:
        """Note what the live line is about."""
        self._point = f"Point {number}: {load}"
        self._about_s = about_s
        if not self._console.is_terminal:
            about = f", about {format_span(about_s)}" if about_s else ""
            self.say(f"{self._point}{about} ...")

    def progress(self, progress: LoadProgress) -> None:
        """Draw the live line, at most four times a second."""
        now = time.monotonic()
        if self._quiet or not self._console.is_terminal or now - self._drawn < 1 / REFRESHES_PER_S:
            return
        self._drawn = now
        self._live.update(Text(self._line(progress)), refresh=True)

    def _line(self, progress: LoadProgress) -> str:
        parts = [
            f"{self._point}",
            f"{progress.done} done of {progress.planned}" if progress.planned else f"{progress.done} done",
            f"{progress.in_flight} in flight",
            format_rate(progress.rate_rps),
            format_rate(progress.output_tps, "tok/s"),
            f"TTFT {format_seconds(progress.ttft_p50_s)}",
            f"TPOT {format_seconds(progress.tpot_p50_s)}",
        ]
        if progress.failed:
            parts.append(f"{progress.failed} failed")
        left = self._left(progress)
        return " · ".join(parts) + (f" · {format_span(left)} left" if left is not None else "")

    def _left(self, progress: LoadProgress) -> float | None:
        """Time left by the share of requests done, or by the clock, whichever ends first."""
        ends = [self._about_s - progress.elapsed_s] if self._about_s else []
        if progress.planned and progress.done > 5:
            ends.append(progress.elapsed_s * (progress.planned / progress.done - 1))
        return max(0.0, min(ends)) if ends else None

    def point_ended(self, point: Point) -> None:
        """Print what a finished point says, and the meaning of flags not met before."""
        ttft = (point.ttft_scheduled if point.load_kind == "open" else point.ttft).p90
        tpot = point.tpot.p90
        self.say(
            f"{self._point}: completed {format_rate(point.achieved_rps)}, {format_rate(point.output_tps, 'tok/s')}, "
            f"p90 TTFT {format_seconds(ttft.value if ttft else None)}, "
            f"p90 TPOT {format_seconds(tpot.value if tpot else None)}, {point.n_requests} requests"
            + (f"  [{', '.join(point.flags)}]" if point.flags else "")
        )
        for flag in point.flags:
            if flag not in self._told and not self._quiet:
                self._told.add(flag)
                self._console.print(Text(f"  {flag}: {FLAGS[flag]}", style="dim"), soft_wrap=True)


@contextlib.contextmanager
def counting(what: str) -> Iterator[Callable[[int, int], None]]:
    """A function to be called with (done, total), drawn as a bar on a terminal and silent elsewhere."""
    console = talk_console()
    with Progress(
        TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(),
        console=console, transient=True, disable=not console.is_terminal,
    ) as bar:  # fmt: skip
        task = bar.add_task(what, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)
