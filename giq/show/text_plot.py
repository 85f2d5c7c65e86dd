"""Curves on a terminal: a picture in characters, told apart by their markers where there is no colour."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

from rich.console import Console
from rich.text import Text

from giq.show.picture import Panel, Picture, Series

MEASURED, ESTIMATED = "●■▲◆", "○□△◇"
FLAGGED, INFINITE = "×", "↑"
COLOURS = ("#56B4E9", "#E69F00", "#009E73", "#CC79A7")
"""Told apart by all kinds of colour vision (Okabe and Ito, "Color Universal Design", 2008)."""
BOUND_SIGNS = {"saturation": "┊", "capacity": "┃"}
HEIGHT, WIDEST, LABEL = 14, 100, 9
_ROOM = 0.06


@dataclass
class _Canvas:
    """Characters with styles, row 0 on top; later ones replace earlier ones."""

    width: int
    height: int
    cells: dict[tuple[int, int], tuple[str, str]] = field(default_factory=dict)

    def put(self, x: int, y: int, sign: str, style: str = "") -> None:
        if 0 <= x < self.width and 0 <= y < self.height:
            self.cells[x, y] = (sign, style)

    def row(self, y: int) -> Text:
        text = Text()
        for x in range(self.width):
            text.append(*self.cells.get((x, y), (" ", "")))
        return text


@dataclass(frozen=True)
class _Scale:
    """From values to cells of one axis."""

    low: float
    high: float
    cells: int
    log: bool

    def cell(self, value: float) -> int:
        low, high, at = (self._placed(item) for item in (self.low, self.high, value))
        return round((at - low) / (high - low) * (self.cells - 1)) if high > low else 0

    def value(self, cell: int) -> float:
        low, high = self._placed(self.low), self._placed(self.high)
        at = low + (high - low) * cell / max(self.cells - 1, 1)
        return 10**at if self.log else at

    def _placed(self, value: float) -> float:
        return math.log10(max(value, self.low * 1e-3 or 1e-9)) if self.log else value


def draw(picture: Picture, console: Console) -> None:
    """Print *picture*: panels one below the other, then what their signs mean."""
    console.print(Text(picture.title, style="bold"), soft_wrap=True)
    for line in picture.lines:
        console.print(Text(line), soft_wrap=True)
    width = min(console.width, WIDEST) - LABEL - 2
    for panel in picture.panels:
        console.print()
        console.print(Text(f"{panel.y_label}{', logarithmic' if panel.log_y else ''}"), soft_wrap=True)
        for row in _rows(panel, picture, width):
            console.print(row, soft_wrap=True)
    console.print()
    for row in _legend(picture):
        console.print(row, soft_wrap=True)
    console.print()


def _rows(panel: Panel, picture: Picture, width: int) -> Iterator[Text]:
    x, y = _x_scale(panel, width), _y_scale(panel)
    if x is None or y is None or not any(series.marks for series in panel.series):
        yield Text(" " * LABEL + "nothing to draw: no point tells it")
        return
    canvas = _Canvas(width, HEIGHT)
    for limit, _ in panel.limits:
        for column in range(0, width, 2):
            canvas.put(column, HEIGHT - 1 - y.cell(limit), "╌", "bold")
    for series in panel.series:
        _draw_bounds(series, canvas, x)
    for series in panel.series:
        _draw_series(series, picture, canvas, x, y)
    ticks = {HEIGHT - 1 - row: y.value(row) for row in (0, HEIGHT // 3, 2 * HEIGHT // 3, HEIGHT - 1)}
    for row in range(HEIGHT):
        label = f"{_short(ticks[row]):>{LABEL}} ┤" if row in ticks else " " * LABEL + " │"
        words = next((f" {words}" for limit, words in panel.limits if HEIGHT - 1 - y.cell(limit) == row), "")
        line = canvas.row(row)
        if words:
            line = line[: max(width - len(words), 0)]
            line.append(words, "bold")
        yield Text(label) + line
    yield Text(" " * LABEL + " └") + _ground(panel, x)
    yield Text(" " * (LABEL + 2) + _x_words(x, panel.x_label + (", logarithmic" if panel.log_x else "")))


def _x_scale(panel: Panel, width: int) -> _Scale | None:
    values = [mark.x for series in panel.series for mark in series.marks]
    values += [bound.rate.value for series in panel.series for bound in series.bounds]
    values = [value for value in values if value > 0]
    if not values:
        return None
    if panel.log_x:
        return _Scale(min(values) / 1.1, max(values) * 1.1, width, True)
    return _Scale(0.0, max(values) * (1 + _ROOM), width, False)


def _y_scale(panel: Panel) -> _Scale | None:
    """From 0, or logarithmic; the upper ends of intervals are drawn as far as they fit."""
    values = [mark.y for series in panel.series for mark in series.marks if math.isfinite(mark.y) and mark.y > 0]
    values += [limit for limit, _ in panel.limits]
    if not values:
        return None
    if panel.log_y:
        return _Scale(min(values) / 1.3, max(values) * 1.3, HEIGHT, True)
    return _Scale(0.0, max(values) * (1 + _ROOM), HEIGHT, False)


def _draw_bounds(series: Series, canvas: _Canvas, x: _Scale) -> None:
    for bound in series.bounds:
        for row in range(HEIGHT):
            canvas.put(x.cell(bound.rate.value), row, BOUND_SIGNS[bound.name], _colour(series.index))


def _draw_series(series: Series, picture: Picture, canvas: _Canvas, x: _Scale, y: _Scale) -> None:
    colour = _colour(series.index)
    joined = [mark for mark in series.marks if mark.joined and math.isfinite(mark.y)]
    for left, right in pairwise((x.cell(mark.x), y.cell(mark.y)) for mark in joined):
        for column in range(left[0] + 1, right[0]):
            share = (column - left[0]) / (right[0] - left[0])
            canvas.put(column, HEIGHT - 1 - round(left[1] + share * (right[1] - left[1])), "·", colour)
    for mark in series.marks:
        if mark.lo is not None and mark.hi is not None and math.isfinite(mark.y):
            top = y.cell(min(mark.hi, y.high))
            for row in range(y.cell(max(mark.lo, y.low)), top + 1):
                canvas.put(x.cell(mark.x), HEIGHT - 1 - row, "│", colour)
    for mark in series.marks:
        if math.isinf(mark.y):
            canvas.put(x.cell(mark.x), 0, INFINITE, colour)
        else:
            sign = _marker(picture, series.index) if mark.valid else FLAGGED
            canvas.put(x.cell(mark.x), HEIGHT - 1 - y.cell(mark.y), sign, colour)


def _ground(panel: Panel, x: _Scale) -> Text:
    """The lower axis, heavy where the interval of a bound lies."""
    heavy: dict[int, str] = {}
    for series in panel.series:
        for bound in series.bounds:
            low, high = bound.rate.lo, bound.rate.hi
            if low is not None and high is not None and bound.reached:
                cells = range(max(x.cell(low), 0), min(x.cell(high), x.cells - 1) + 1)
                heavy |= dict.fromkeys(cells, _colour(series.index))
    text = Text()
    for cell in range(x.cells):
        text.append("━" if cell in heavy else "─", heavy.get(cell, ""))
    return text


def _x_words(x: _Scale, label: str) -> str:
    """Numbers below the axis as far as there is room, and its label behind the last one."""
    end = f"{_short(x.high)} {label}"
    line = ""
    for share in (0.0, 0.25, 0.5, 0.75):
        cell = round(share * (x.cells - 1))
        number = _short(x.value(cell))
        if cell + len(number) < x.cells - len(end):
            line = line.ljust(cell) + number
    return line.ljust(x.cells - len(end)) + end


def _short(value: float) -> str:
    """Three significant digits, for an axis."""
    rounded = float(f"{value:.3g}")
    return f"{rounded:,.0f}" if abs(rounded) >= 100 else f"{rounded:g}"


def _legend(picture: Picture) -> Iterator[Text]:
    series = [one for panel in picture.panels for one in panel.series]
    for index, label in enumerate(picture.labels):
        yield Text(f"{_marker(picture, index)} {label.text}", style=_colour(index))
        bounds = dict.fromkeys(bound for one in series if one.index == index for bound in one.bounds)
        for bound in bounds:
            yield Text(f"  {BOUND_SIGNS[bound.name]} {bound}", style=_colour(index))
    yield Text("  ".join(_signs(series)), style="dim")


def _signs(series: Sequence[Series]) -> Iterator[str]:
    """What the signs mean that are not curves; only those that are there."""
    found = [mark for one in series for mark in one.marks]
    if any(mark.lo is not None for mark in found):
        yield "│ 90 % interval"
    if any(not mark.valid for mark in found):
        yield f"{FLAGGED} flagged, not used"
    if any(math.isinf(mark.y) for mark in found):
        yield f"{INFINITE} infinite: more requests failed than the percentile leaves out"
    if any(bound.rate.lo is not None and bound.reached for one in series for bound in one.bounds):
        yield "━ 90 % interval of the rate"


def _marker(picture: Picture, index: int) -> str:
    signs = ESTIMATED if picture.labels[index].estimated else MEASURED
    return signs[index % len(signs)]


def _colour(index: int) -> str:
    return COLOURS[index % len(COLOURS)]
