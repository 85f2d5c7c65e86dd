"""The seeded schedule of one load point, computed before anything is sent."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from giq.workload.workload import Load

MAX_REQUESTS = 2_000_000


@dataclass(frozen=True, eq=False)
class Schedule:
    """What is sent in one load point: one entry per request, in order.

    `arrival_ns` (int64, from the point's start) is None in a closed loop, where times follow the answers.
    `input_tokens` and `output_tokens` are int32. `duration_ns` is None when only the number of requests
    ends the point. `seed` fixes all of it.
    """

    load: Load
    seed: int
    arrival_ns: NDArray[np.int64] | None
    input_tokens: NDArray[np.int32]
    output_tokens: NDArray[np.int32]
    duration_ns: int | None

    def __len__(self) -> int:
        return len(self.input_tokens)
