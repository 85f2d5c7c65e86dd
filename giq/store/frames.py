"""The tables as pandas DataFrames: what users get back in Python."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from giq.curve.curve import Curve
from giq.store.at_hand import DEFAULT_RESULTS, named_curves, runs_of
from giq.store.export import TableName, points_of, records_of_runs

if TYPE_CHECKING:
    import pandas as pd


def curves(*which: str | Path, results_dir: str | Path = DEFAULT_RESULTS) -> list[Curve]:
    """The curves that *which* names, without it all at hand: measured ones that ship, imported ones, and your runs.

    Each of *which* is a run's folder, a folder or file of points, a URI that pyarrow opens, or (the beginning of) a
    curve's id, followed by `:measured`, `:published` or `:estimated` where one is meant.

    Raises:
        DataError: a place holds nothing that can be read.
        UnknownNameError: an id that no curve at hand has.

    Example:
        >>> import giq
        >>> isinstance(giq.curves(), list)
        True
    """
    return named_curves([str(word) for word in which], Path(results_dir))


def read_points(*which: str | Path | Curve, results_dir: str | Path = DEFAULT_RESULTS) -> pd.DataFrame:
    """The table `points` as a DataFrame: one row a load point, columns with their unit (`ttft_p90_s` is seconds).

    *which* as in `curves`, or curves themselves.
    """
    words = [str(item) for item in which if not isinstance(item, Curve)]
    given = [item for item in which if isinstance(item, Curve)]
    found = named_curves(words, Path(results_dir)) if words or not given else []
    frame: pd.DataFrame = points_of([*given, *found]).to_pandas()
    return frame


def read_requests(*which: str | Path, results_dir: str | Path = DEFAULT_RESULTS) -> pd.DataFrame:
    """The table `requests` of runs as a DataFrame: one row a request, times in ns since the run's zero.

    *which* names runs, folders of runs, or curves by their id; without it all runs in *results_dir*.

    Raises:
        DataError: no run is there: curves that ship or were imported have no records.
    """
    return _records(which, "requests", results_dir)


def read_server(*which: str | Path, results_dir: str | Path = DEFAULT_RESULTS) -> pd.DataFrame:
    """The table `server` of runs as a DataFrame: one row a sample of one of the server's metrics.

    *which*, and what is raised, as in `read_requests`.
    """
    return _records(which, "server", results_dir)


def _records(which: Sequence[str | Path], table: TableName, results_dir: str | Path) -> pd.DataFrame:
    runs = runs_of([str(word) for word in which], Path(results_dir))
    frame: pd.DataFrame = records_of_runs(runs, table).to_pandas()
    return frame
