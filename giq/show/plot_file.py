"""Curves as a PNG or SVG file, drawn by matplotlib, which comes with `giq[plot]`."""

from __future__ import annotations

import importlib.util
import io
import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from giq.errors import UsageError
from giq.show.picture import Panel, Picture, Series

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis
    from matplotlib.figure import Figure

FORMS = (".svg", ".png")
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
"""Told apart by all kinds of colour vision (Okabe and Ito, "Color Universal Design", 2008)."""
MARKERS = "os^DvPX"
_LINE_IN = 0.19
"""Height of a line of text in inches."""
_BOUND_LINES: dict[str, Any] = {"saturation": ":", "capacity": "-"}
_STYLE: Any = {
    "font.size": 9, "axes.spines.top": False, "axes.spines.right": False, "axes.grid": True, "grid.alpha": 0.25,
    "svg.hashsalt": "giq", "svg.fonttype": "none", "text.parse_math": False,
}  # fmt: skip


def check_plot_file(path: Path) -> None:
    """Refuse a file that could not be drawn, before anything else is done.

    Raises:
        UsageError: its name ends neither in .svg nor in .png, or matplotlib is not installed.
    """
    if path.suffix.lower() not in FORMS:
        raise UsageError(f"{path.name!r} is no picture", hint="Give a name that ends in .svg or .png.")
    if importlib.util.find_spec("matplotlib") is None:
        raise UsageError(
            "drawing a file needs matplotlib, which is not installed",
            hint='Install it with: pip install "giq[plot]". Without --plot the curve is drawn on the terminal.',
        )


def drawn(picture: Picture, form: str) -> bytes:
    """*picture* as the bytes of a file of *form* (`.svg` or `.png`); the same picture gives the same bytes."""
    import matplotlib
    from matplotlib.figure import Figure

    with matplotlib.rc_context(_STYLE):
        count, lines = len(picture.panels), len(picture.lines)
        height = 4.9 + _LINE_IN * lines
        figure = Figure(figsize=(4.3 * count + 0.4, height), dpi=150)
        figure.set_layout_engine("constrained", rect=(0, 0, 1, 1 - (0.38 + _LINE_IN * lines) / height))
        axes = figure.subplots(1, count, squeeze=False)[0]
        for panel, place in zip(picture.panels, axes, strict=True):
            _draw_panel(panel, picture, place)
        figure.text(0.01, 1 - 0.12 / height, picture.title, fontsize=12, fontweight="bold", va="top")
        figure.text(0.01, 1 - 0.38 / height, "\n".join(picture.lines), va="top", linespacing=1.3)
        _legend(picture, figure, axes)
        return _bytes(figure, form)


def _bytes(figure: Figure, form: str) -> bytes:
    sink = io.BytesIO()
    metadata: dict[str, Any] = {"Date": None, "Creator": "giq"} if form == ".svg" else {"Software": "giq"}
    figure.savefig(sink, format=form.removeprefix("."), metadata=metadata)
    return sink.getvalue()


def _draw_panel(panel: Panel, picture: Picture, axes: Axes) -> None:
    axes.set_title(panel.title, fontsize=10)
    axes.set_xlabel(panel.x_label)
    axes.set_ylabel(panel.y_label)
    if panel.log_y:
        axes.set_yscale("log")
        _plain_numbers(axes.yaxis)
    if panel.log_x:
        axes.set_xscale("log")
        _plain_numbers(axes.xaxis)
    for limit, words in panel.limits:
        axes.axhline(limit, color="#444444", linewidth=1, linestyle="--")
        axes.annotate(words, (0.01, limit), xycoords=("axes fraction", "data"), va="bottom", fontsize=8)
    for series in panel.series:
        _draw_bounds(series, axes)
        _draw_series(series, picture, axes)
    if not panel.log_x:
        axes.set_xlim(left=0)
    if not panel.log_y:
        axes.set_ylim(bottom=0)


def _plain_numbers(axis: Axis) -> None:
    """Numbers as people write them on a logarithmic axis: 1,000 and no powers of ten."""
    from matplotlib.ticker import NullFormatter, StrMethodFormatter

    axis.set_major_formatter(StrMethodFormatter("{x:,g}"))
    axis.set_minor_formatter(NullFormatter())


def _draw_bounds(series: Series, axes: Axes) -> None:
    colour = _colour(series.index)
    for bound in series.bounds:
        axes.axvline(bound.rate.value, color=colour, linestyle=_BOUND_LINES[bound.name], linewidth=1.2)
        low, high = bound.rate.lo, bound.rate.hi
        if low is not None and high is not None and bound.reached:
            axes.axvspan(low, high, color=colour, alpha=0.06 if bound.name == "saturation" else 0.13, linewidth=0)


def _draw_series(series: Series, picture: Picture, axes: Axes) -> None:
    colour, estimated = _colour(series.index), picture.labels[series.index].estimated
    line = "--" if estimated else "-"
    finite = [mark for mark in series.marks if math.isfinite(mark.y)]
    joined = [mark for mark in finite if mark.joined]
    axes.plot([mark.x for mark in joined], [mark.y for mark in joined], line, color=colour, linewidth=1.4)
    for mark in finite:
        if mark.lo is not None and mark.hi is not None:
            high = mark.hi if math.isfinite(mark.hi) else mark.y
            axes.errorbar(
                mark.x, mark.y, yerr=[[mark.y - mark.lo], [high - mark.y]], color=colour, capsize=2.5, linewidth=1,
                alpha=1.0 if mark.valid else 0.4,
            )  # fmt: skip
        if mark.valid:
            face = "white" if estimated else colour
            axes.plot(mark.x, mark.y, _marker(series.index), color=colour, markerfacecolor=face, markersize=5)
        else:
            axes.plot(mark.x, mark.y, "x", color=colour, markersize=6, alpha=0.7)
    for mark in series.marks:
        if math.isinf(mark.y):
            top = axes.get_xaxis_transform()
            axes.plot(mark.x, 0.985, "^", color=colour, markersize=6, transform=top, clip_on=False)


def _legend(picture: Picture, figure: Figure, axes: Sequence[Axes]) -> None:
    """Below the panels: each curve with its marked rates, and what the signs mean."""
    from matplotlib.lines import Line2D

    handles, names = [], []
    bounds = {one.index: one.bounds for one in picture.panels[0].series}
    for index, label in enumerate(picture.labels):
        face = "white" if label.estimated else _colour(index)
        handles.append(
            Line2D([], [], color=_colour(index), marker=_marker(index), markerfacecolor=face,
                   linestyle="--" if label.estimated else "-")
        )  # fmt: skip
        names.append(label.text)
        for bound in bounds.get(index, ()):
            handles.append(Line2D([], [], color=_colour(index), linestyle=_BOUND_LINES[bound.name], linewidth=1.2))
            names.append(str(bound))
    marks = [mark for panel in picture.panels for one in panel.series for mark in one.marks]
    if any(not mark.valid for mark in marks):
        handles.append(Line2D([], [], color="#444444", marker="x", linestyle=""))
        names.append("flagged, not used")
    if any(math.isinf(mark.y) for mark in marks):
        handles.append(Line2D([], [], color="#444444", marker="^", linestyle=""))
        names.append("infinite (requests failed)")
    if any(mark.lo is not None for mark in marks):
        handles.append(Line2D([], [], color="#444444", marker="|", markersize=9, linestyle=""))
        names.append("90 % interval; shaded: of a rate")
    figure.legend(handles, names, loc="outside lower center", ncols=len(picture.panels), fontsize=8, frameon=False)


def _marker(index: int) -> str:
    return MARKERS[index % len(MARKERS)]


def _colour(index: int) -> str:
    return COLOURS[index % len(COLOURS)]
