"""What a campaign has and what it lacks, read off its folder: an item is there when its result is whole."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from giq.errors import DamagedFileError
from giq.store.run import Run, open_run
from tests.campaign.campaign import Bench, Campaign, Client, Profile, Serve

State = Literal["done", "begun", "missing"]

FAILURE = "failed.txt"
"""In the folder of a step or item: why it failed the last time; removed when it is there."""


@dataclass(frozen=True)
class Item:
    """One measurement, where its results lie, and what it is of; `step` is None of what needs no server."""

    task: Profile | Bench | Client
    step: Serve | None
    folder: Path

    @property
    def name(self) -> str:
        """How it is called in what is printed."""
        return self.task.name if self.step is None else f"{self.step.name}/{self.task.name}"

    @property
    def result(self) -> Path:
        """The file that a measurement which is no profile writes when it is whole."""
        return self.folder / f"{'client' if isinstance(self.task, Client) else 'vllm-bench'}.json"

    @property
    def state(self) -> State:
        """Whether its result is whole, was begun and can be gone on with, or is missing."""
        if not isinstance(self.task, Profile):
            return "done" if self.result.exists() else "missing"
        states = [run.manifest.state for run in self.runs() if run.points()]
        return "done" if "done" in states else "begun" if self.interrupted() is not None else "missing"

    def runs(self) -> list[Run]:
        """Its runs, the earliest first; damaged ones are left aside."""
        found = []
        for path in sorted(self.folder.glob("run=*")):
            try:
                found.append(open_run(path))
            except DamagedFileError:
                continue
        return found

    def interrupted(self) -> Run | None:
        """The run to go on with: the latest that has points and is not done."""
        left = [run for run in self.runs() if run.manifest.state != "done" and run.points()]
        return left[-1] if left else None

    @property
    def failure(self) -> str:
        """Why it, or its server, failed the last time: one line; empty where nothing failed."""
        for file in (self.folder / FAILURE, self.folder.parent / FAILURE):
            if file.exists() and (lines := file.read_text().strip().splitlines()):
                return lines[0]
        return ""


def items_of(step: Serve | Client, folder: Path) -> list[Item]:
    """The items of *step* of a campaign whose results are in *folder*, in their order."""
    if isinstance(step, Client):
        return [Item(step, None, folder / step.name)]
    return [Item(item, step, folder / step.name / item.name) for item in step.items]


def all_items(campaign: Campaign, folder: Path) -> Iterator[Item]:
    """All items in their order."""
    for step in campaign.steps:
        yield from items_of(step, folder)


def missing(campaign: Campaign, folder: Path) -> list[str]:
    """What is not whole yet, one line each."""
    lines = []
    for item in all_items(campaign, folder):
        if item.state != "done":
            why = f": {item.failure}" if item.failure else ""
            points = f", {len(run.points())} points saved" if (run := _begun(item)) else ""
            lines.append(f"{item.name} ({item.state}{points}){why}")
    return lines


def _begun(item: Item) -> Run | None:
    return item.interrupted() if isinstance(item.task, Profile) else None
