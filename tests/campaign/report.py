"""A campaign's results as a page for the repository: what was measured, where, how, and how the engine does on it."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from giq.catalog.configuration import draws_weights
from giq.curve.curve import Curve
from giq.curve.saturation import saturation
from giq.profiling.random_weights import random_weights_words
from giq.store.run import Run
from tests.campaign.campaign import Bench, Campaign, Client, Profile
from tests.campaign.progress import Item, all_items, missing
from tests.campaign.scoring import FIGURES, FITTED, ConfigurationScore


def page(campaign: Campaign, results: Path, scores: Sequence[ConfigurationScore]) -> str:
    """The page in Markdown; every figure is of the runs in *results*."""
    items = list(all_items(campaign, results))
    runs = {item.name: item.runs() for item in items if isinstance(item.task, Profile)}
    parts = [
        [f"# {campaign.title}", "", campaign.about.strip()],
        _machine([run for found in runs.values() for run in found]),
        _measured(items),
        _missing(campaign, results),
        *_others(items),
        score_lines(scores),
        _commands([run for found in runs.values() for run in found]),
    ]
    return "\n\n".join("\n".join(lines) for lines in parts if lines) + "\n"


def _machine(runs: Sequence[Run]) -> list[str]:
    if not runs:
        return []
    seen = dict.fromkeys(
        f"- {run.manifest.config.accelerators_total} x {run.manifest.accelerator_name} "
        f"({run.manifest.hardware_source}); {run.manifest.server.name} {run.manifest.server.version}"
        + "".join(f", {name} {version}" for name, version in run.manifest.versions.items())
        + f"; giq {run.manifest.giq_version} on {run.manifest.host.cores} cores, Python {run.manifest.host.python}"
        for run in runs
    )
    random = any(draws_weights(run.manifest.config.main.engine_args) for run in runs)
    return ["## Machine", "", *seen, *(["", random_weights_words(None)] if random else [])]


def _measured(items: Sequence[Item]) -> list[str]:
    lines = ["## Measured", "", "| item | state | run | points (valid) | most output tokens/s | saturation |"]
    lines.append("|---|---|---|---|---|---|")
    for item in items:
        if isinstance(item.task, Profile):
            lines += [_run_row(item, run) for run in item.runs()] or [f"| {item.name} | {item.state} | | | | |"]
    return lines


def _run_row(item: Item, run: Run) -> str:
    points = run.points()
    valid = [point for point in points if point.valid]
    most = f"{max(point.output_tps for point in valid):,.0f}" if valid else ""
    reason = saturation(Curve(run.manifest.config, run.manifest.workload, tuple(points))).reason if points else ""
    state = run.manifest.state
    return f"| {item.name} | {state} | {run.manifest.run_id} | {len(points)} ({len(valid)}) | {most} | {reason} |"


def _missing(campaign: Campaign, results: Path) -> list[str]:
    left = missing(campaign, results)
    return ["## Missing", "", *(f"- {line}" for line in left)] if left else []


def _others(items: Sequence[Item]) -> Iterator[list[str]]:
    for item in items:
        if isinstance(item.task, Profile) or not item.result.exists():
            continue
        found = json.loads(item.result.read_text())
        if isinstance(item.task, Client):
            yield ["## giq's own error at the highest load", "", *_client(found)]
        elif isinstance(item.task, Bench):
            rows = [row for load in found["loads"] for row in load["table"]]
            yield [f"## giq beside `vllm bench serve`: {item.name}", "", *found["head"].splitlines(), *rows]


def _client(found: dict[str, Any]) -> list[str]:
    lines = ["| figure | |", "|---|---|"]
    for name, value in found.items():
        words, unit = (name.removesuffix("_ms"), " ms") if name.endswith("_ms") else (name, "")
        lines.append(f"| {words.replace('_', ' ')} | {_shown(value)}{unit} |")
    return lines


def _shown(value: object) -> str:
    if isinstance(value, float):
        return f"{value:,.0f}" if value >= 1000 else f"{value:.2f}"
    return ", ".join(map(str, value)) or "none" if isinstance(value, list) else f"{value}"


def score_lines(scores: Sequence[ConfigurationScore]) -> list[str]:
    """The engine's score: a row a configuration, then each judged point."""
    if not scores:
        return []
    head = " | ".join(f"{name}, median error" for name in FIGURES)
    lines = [
        "## The simulated engine on these points",
        "",
        f"Calibrated on at most {FITTED} points of each configuration, chosen by load and lengths alone "
        "(tests/campaign/scoring.py), judged on its other valid points, on the requests that were sent. Errors are "
        "predicted / measured - 1.",
        "",
        f"| configuration | fitted | judged | {head} | intervals that hold (of 90 %) |",
        "|---|---|---|" + "---|" * (len(FIGURES) + 1),
    ]
    for found in scores:
        held, told = found.coverage
        errors = " | ".join(_share(found.median_error(name)) for name in FIGURES) if found.judged else found.reason
        share = f"{held} of {told}" if told else ""
        lines.append(f"| {found.title} | {len(found.fitted_on)} | {len(found.judged)} | {errors} | {share} |")
    for found in scores:
        lines += ["", f"{found.title}: fitted on {'; '.join(found.fitted_on)}.", ""] if found.judged else []
        lines += _point_lines(found)
    return lines


def _point_lines(found: ConfigurationScore) -> list[str]:
    if not found.judged:
        return []
    lines = ["| workload, load | in flight | " + " | ".join(FIGURES) + " |", "|---|---|" + "---|" * len(FIGURES)]
    for point in found.judged:
        by_name = {figure.name: figure for figure in point.figures}
        cells = [_cell(by_name[name]) if name in by_name else "" for name in FIGURES]
        lines.append(f"| {point.workload}, {point.load} | {point.in_flight:.1f} | " + " | ".join(cells) + " |")
    return lines


def _cell(figure: Any) -> str:
    unit = 1.0 if figure.name.endswith("/s") else 1e3
    mark = {True: "", False: " (outside)", None: ""}[figure.covered]
    return f"{figure.measured * unit:,.4g} → {figure.predicted * unit:,.4g} ({figure.error:+.1%}){mark}"


def _share(value: float) -> str:
    return "–" if value != value else f"{value:.1%}"


def _commands(runs: Sequence[Run]) -> list[str]:
    lines = ["## Commands", ""]
    for server in dict.fromkeys(run.manifest.server_command for run in runs):
        shown = [Path(word).name if word.startswith("/") else word for word in server]
        lines.append(f"    {shlex.join(shown)}")
        for run in runs:
            if run.manifest.server_command == server:
                shown = [Path(word).name if word.startswith("/") else word for word in run.manifest.command]
                lines.append(f"      {shlex.join(shown)}")
    return lines if runs else []
