"""Arrow works without pandas until somebody asks for a frame."""

from __future__ import annotations

import subprocess
import sys

SCRIPT = """
import sys
from giq.store.columns import record_batch
from tests.store.examples import record
batch = record_batch([record(0), record(1)])
print("pandas" in sys.modules, "pyarrow" in sys.modules)
print(len(batch.to_pandas()), "pandas" in sys.modules)
"""


def test_pandas_is_imported_by_the_first_frame_and_not_before() -> None:
    """Recording takes neither the half second nor the memory that pandas takes, and frames can be had afterwards."""
    done = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "True", "2", "True"]
