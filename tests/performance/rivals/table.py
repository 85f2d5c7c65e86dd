"""The table of rivals in Markdown, and the same as JSON."""

from __future__ import annotations

import dataclasses
import json
import os
import platform
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from tests.performance.figures import Cell, Figures

HEAD = (
    "| load | client | tokens/s held | requests/s | TTFT p50 / p99 ms | ITL p99 ms | server late p99 ms |\n"
    "|---|---|---|---|---|---|---|"
)


@dataclass(frozen=True)
class Row:
    """What one tool did on one cell: the figures of each repeat, or what went wrong."""

    cell: Cell
    tool: str
    repeats: Sequence[Figures]
    problem: str | None = None

    def __str__(self) -> str:
        if not self.repeats:
            return f"| {self.cell.name} | {self.tool} | failed: {self.problem} | | | | |"
        gaps = [one.itl_p99_ms for one in self.repeats if one.itl_p99_ms is not None]
        failed = sum(one.failed for one in self.repeats)
        tool = self.tool + (f" ({failed} failed)" if failed else "")
        return (
            f"| {self.cell.name} | {tool} | {self._median('tokens_per_s'):,.0f} | "
            f"{self._median('requests_per_s'):,.0f} | {self._median('ttft_p50_ms'):.1f} / "
            f"{self._median('ttft_p99_ms'):.1f} | {f'{median(gaps):.1f}' if gaps else 'not kept'} | "
            f"{median(one.extra['server_late_p99_ms'] for one in self.repeats):.1f} |"
        )

    def _median(self, name: str) -> float:
        return float(median(getattr(one, name) for one in self.repeats))


def save(path: Path, rows: Sequence[Row], versions: dict[str, str]) -> None:
    """Write everything that was measured to *path*."""
    told: dict[str, Any] = {
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        "kernel": platform.release(),
        "versions": versions,
        "rows": [dataclasses.asdict(row) for row in rows],
    }
    path.write_text(json.dumps(told, indent=1) + "\n")
