"""A client that is known to be exact: taken for granted where other things are tested, whatever the machine does."""

from __future__ import annotations

import time
from itertools import product
from pathlib import Path

from giq.profiling.known_client import LADDER, SEARCHED, Memory, Remembered, machine_id
from tests.curve.test_client_error import error


def remember_exact_client(home: Path) -> None:
    """Put into the memory in *home* that one and two workers add 0.1 ms, at every load that is calibrated."""
    Memory(home).add(
        [
            Remembered(
                machine=machine_id(), workers=workers, own_core=own_core, rung=rung, at_unix_s=time.time(),
                error=error(
                    0.0001, streams=rung.streams, output_tokens=rung.output_tokens,
                    tokens_per_s=rung.tokens_per_s, requests_per_s=rung.requests_per_s,
                ),
            )
            for workers, own_core, rung in product((1, 2), (True, False), {*LADDER, *SEARCHED})
        ]
    )  # fmt: skip
