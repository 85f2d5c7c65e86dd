"""`import giq`: light, typed, the same functions as the command line, and the documentation's examples run."""

from __future__ import annotations

import doctest
import re
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

import giq
from giq.errors import IncompatibleError, UsageError
from tests.curve.measured_curves import config, curve, workload

README = Path(__file__).resolve().parents[2] / "README.md"
TARGETS = [giq.target("ttft", "300ms")]


def test_importing_giq_loads_nothing() -> None:
    """Neither numpy, pandas nor pyarrow, nor any room but the package itself."""
    code = "import sys, giq; print(sorted(m for m in sys.modules if m.split('.')[0] in "
    code += "('numpy', 'pandas', 'pyarrow', 'msgspec', 'rich', 'typer') or m.startswith('giq.')))"

    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == "[]"


def test_every_name_is_there_documented_and_sorted() -> None:
    """`from giq import *` gives exactly the names of giq.api, each with a docstring; no room is hidden by one."""
    import giq.api

    names: dict[str, object] = {}
    exec("from giq import *", names)  # noqa: S102 - what a user writes at the top of a notebook

    assert sorted(giq.__all__) == giq.__all__ == dir(giq)
    assert set(names) - {"__builtins__"} == {*giq.api.__all__, "__version__"}
    assert all(getattr(giq.api, name).__doc__ for name in giq.api.__all__)
    rooms = {path.stem for path in (README.parent / "giq").iterdir()}
    assert not rooms & set(giq.api.__all__)
    with pytest.raises(AttributeError):
        _ = giq.nothing


def test_curves_are_dataframes_with_units_in_their_columns() -> None:
    """One row a point, the values of the points."""
    one = curve()

    frame = giq.read_points(one)

    assert isinstance(frame, pd.DataFrame)
    assert len(frame) == len(one.points)
    assert frame.offered_rps.tolist() == [point.offered_rps for point in one.points]
    assert {"ttft_p90_s", "ttft_p90_s_lo", "output_tps", "flags"} <= set(frame.columns)


def test_questions_to_curves_are_those_of_the_command_line(tmp_path: Path) -> None:
    """Capacity, doubts, differences and pictures from Python."""
    one, slow = curve(), curve(slowness=1.5)

    assert (giq.capacity(one, TARGETS).rate or giq.Estimate(value=0)).value > 1
    assert giq.saturation(one).reached
    assert any(item.severity == "doubtful" for item in giq.check(one, TARGETS))
    assert giq.diff(one, slow, TARGETS).differs
    assert not giq.diff(one, one, TARGETS).differs
    with pytest.raises(IncompatibleError):
        giq.diff(one, giq.Curve(config(), workload(output_tokens=256), one.points))
    assert giq.plot([one, slow], tmp_path / "c.png", TARGETS).read_bytes().startswith(b"\x89PNG")


def test_a_profile_gives_its_curve(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The simulated engine is measured in a process of its own; errors come back as giq's."""
    monkeypatch.setenv("GIQ_HOME", str(tmp_path / "home"))

    found = giq.profile(
        simulate=True, model="llama-3-8b", accelerator="h100", input_tokens=64, output_tokens=8, concurrency=[4],
        results_dir=tmp_path / "results", options=["--requests", "60"], quiet=True,
    )  # fmt: skip

    assert found.evidence == "estimated"
    assert [point.concurrency for point in found.points] == [4]
    records = giq.read_requests(tmp_path / "results")
    assert (records.outcome == "ok").all()
    assert len(records) == 60
    with pytest.raises(UsageError, match="no-such-model"):
        giq.profile(simulate=True, model="no-such-model", accelerator="h100", results_dir=tmp_path / "r")


def test_the_docstrings_examples_run(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """What a docstring shows is what comes."""
    import giq.api.answers
    import giq.store.frames

    monkeypatch.setenv("GIQ_HOME", str(tmp_path))
    for module in (giq.api.answers, giq.store.frames):
        result = doctest.testmod(module)
        assert result.attempted > 0
        assert result.failed == 0


def test_the_readmes_python_runs(tmp_path: Path) -> None:
    """Every Python block of the README, in order, in an empty folder."""
    blocks = re.findall(r"```python\n(.*?)```", README.read_text(), re.DOTALL)

    result = subprocess.run(
        [sys.executable, "-c", "\n".join(blocks)], cwd=tmp_path, capture_output=True, text=True,
        env={"GIQ_HOME": str(tmp_path / "home"), "PATH": "/usr/bin:/bin"}, check=False,
    )  # fmt: skip

    assert blocks
    assert result.returncode == 0, result.stderr
    assert (tmp_path / "curves.svg").exists()
