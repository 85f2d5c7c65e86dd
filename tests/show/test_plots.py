"""Drawn curves: on a terminal and in files; what is estimated or flagged stands out."""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import pytest
from rich.console import Console

from giq.curve.curve import Curve
from giq.curve.targets import Target
from giq.errors import UsageError
from giq.show.picture import picture_of
from giq.show.plot_file import check_plot_file, drawn
from giq.show.text_plot import draw
from tests.curve.measured_curves import config, curve, open_point, provenance, workload

GOLDEN = Path(__file__).resolve().parent.parent / "golden"
TARGETS = (Target("ttft", 0.3), Target("tpot", 0.06))
ESTIMATED = provenance("estimated", source="giq simulated engine", measured_at=None)


def printed(curves: Sequence[Curve], targets: Sequence[Target] = TARGETS, terminal: bool = False) -> str:
    """What `draw` prints on 100 columns."""
    text = io.StringIO()
    colours: Literal["truecolor", "auto"] = "truecolor" if terminal else "auto"
    console = Console(file=text, width=100, highlight=False, force_terminal=terminal, color_system=colours)
    draw(picture_of(curves, targets), console)
    return text.getvalue()


@pytest.mark.parametrize(
    ("name", "curves"),
    [
        ("one", [curve(slots=(1, 4, 16))]),
        ("two", [curve(), curve(slowness=1.4, accelerator="nvidia-h100-80gb", provenance=ESTIMATED)]),
    ],
)
def test_curves_look_on_a_terminal_as_agreed(name: str, curves: Sequence[Curve]) -> None:
    """Axes with units, percentile, intervals, targets, saturation and capacity: the golden file, byte for byte."""
    path = GOLDEN / f"plot.{name}.txt"
    text = printed(curves)
    if os.environ.get("GIQ_UPDATE_GOLDEN"):
        path.write_text(text)

    assert text == path.read_text()


def test_without_a_terminal_there_is_no_colour_and_no_line_is_wider_than_it() -> None:
    """Piped text is plain; on a terminal the same signs are coloured."""
    plain = printed([curve()])

    assert "\x1b" not in plain
    assert max(map(len, plain.splitlines())) <= 100
    assert "\x1b[" in printed([curve()], terminal=True)


def test_what_is_estimated_is_marked_in_words_and_by_its_sign() -> None:
    """Hollow markers, and ESTIMATED in the title and beside the curve."""
    estimated, measured = printed([curve(provenance=ESTIMATED)]), printed([curve()])

    assert "ESTIMATED, not measured" in estimated.splitlines()[0]
    assert "○" in estimated
    assert "●" not in estimated
    assert "●" in measured
    assert "ESTIMATED" not in measured


def test_nothing_to_draw_is_said() -> None:
    """A metric that no point tells leaves its panel empty, with words."""
    assert "nothing to draw" in printed([curve()], (Target("itl", 0.1),))


@pytest.mark.parametrize("form", [".svg", ".png"])
def test_files_are_whole_and_always_the_same(form: str) -> None:
    """Drawn twice a picture gives the same bytes, of the kind its name says."""
    picture = picture_of([curve(slots=(1, 4, 16)), curve(slowness=1.4, provenance=ESTIMATED)], TARGETS)

    data = drawn(picture, form)

    assert data == drawn(picture, form)
    assert data.startswith(b"\x89PNG" if form == ".png" else b"<?xml")


def test_the_svg_holds_its_words_and_takes_no_markup_from_names() -> None:
    """Title, axes, units, evidence and source can be read in it; a hostile name stays text."""
    main = config(model="<script>$x_1^2$</script>")
    text = drawn(picture_of([Curve(main, workload(), curve().points)], TARGETS), ".svg").decode()

    for words in ("p90 TTFT (ms)", "requests/s per unit", "output (tokens/s)", "vllm 0.32.0", "measured, hardware"):
        assert words in text
    assert "&lt;script&gt;$x_1^2$&lt;/script&gt;" in text
    assert "<script>" not in text


def test_infinite_latency_is_drawn_at_the_top_and_told(tmp_path: Path) -> None:
    """A point where more failed than the percentile leaves out has no place on the axis but is not hidden."""
    from giq.documents import replace

    point = open_point(4.7, flags=("ERRORS",))
    failed = replace(point, ttft_scheduled=replace(point.ttft, p90=replace(point.ttft.p90, value=float("inf"))))  # type: ignore[type-var]
    one = Curve(config(), workload(), (*curve().points, failed))

    assert "↑ infinite" in printed([one])
    assert b"infinite (requests failed)" in drawn(picture_of([one], TARGETS), ".svg")


def test_a_missing_library_or_another_kind_of_file_is_told_before_anything(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without matplotlib the error says what to install; a .pdf is refused."""
    with pytest.raises(UsageError, match=r"\.svg or \.png"):
        check_plot_file(Path("curve.pdf"))
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(UsageError, match=r'pip install "giq\[plot\]"'):
        check_plot_file(Path("curve.svg"))
