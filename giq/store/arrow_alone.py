"""Arrow without pandas, for as long as nobody asks for a frame."""

from __future__ import annotations

import sys

import pyarrow as pa


class _NoPandas:
    """A finder of modules, first in line, by which there is no pandas."""

    @staticmethod
    def find_spec(name: str, path: object = None, target: object = None) -> None:
        """Nothing is found here; pandas nowhere."""
        if name == "pandas":
            raise ImportError("pandas is not wanted now")


def forgo_pandas() -> None:
    """Keep Arrow from importing pandas only to find out whether something that it converts is a Series.

    It would do so once, when it converts for the first time, and take half a second and 40 MB. What is asked to be a
    frame later (`to_pandas`) imports pandas then, as ever.
    """
    if "pandas" in sys.modules:
        return
    sys.meta_path.insert(0, _NoPandas)
    try:
        pa.array([0])
    finally:
        sys.meta_path.remove(_NoPandas)
