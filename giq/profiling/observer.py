"""What the loop of a profile tells while it runs; the terminal and tests listen."""

from __future__ import annotations

from typing import Protocol

from giq.curve.point import Point
from giq.load.job import Progress
from giq.workload.workload import Load


class Observer(Protocol):
    """Hears of a profile's progress; every method returns at once."""

    def say(self, text: str) -> None:
        """Hear a sentence for the user."""

    def warn(self, text: str) -> None:
        """Hear a sentence the user should act on."""

    def point_started(self, number: int, load: Load, about_s: float | None) -> None:
        """Hear that load point *number* (from 1) begins and about how long it takes."""

    def progress(self, progress: Progress) -> None:
        """Hear how the point stands, a few times a second."""

    def point_ended(self, point: Point) -> None:
        """Hear that the point is saved."""
