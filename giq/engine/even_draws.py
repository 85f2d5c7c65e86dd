"""Schedules whose draws are spread evenly, so that a simulation needs fewer requests for the same sureness."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from giq.units import NS_PER_S
from giq.workload.schedule import Schedule
from giq.workload.workload import OpenLoad


def even(schedule: Schedule, sample: Schedule) -> Schedule:
    """*schedule* with its lengths moved to even quantiles of those in *sample*, and with exactly its rate on average.

    Their order stays as drawn, and so does all that makes queues in the short run: bursts, and long requests next to
    each other. What goes is the chance by which a few hundred requests together ask for more or less than the workload
    does (stratified sampling). Conversations and shared prefixes stay as they are: their lengths hang together.
    """
    if schedule.session_id is not None or schedule.prefix_tokens is not None:
        return schedule
    arrivals = schedule.arrival_ns
    if arrivals is not None and isinstance(schedule.load, OpenLoad) and len(arrivals) > 1 and arrivals[-1] > 0:
        whole_ns = len(arrivals) / schedule.load.rate_rps * NS_PER_S
        arrivals = np.rint(arrivals * (whole_ns / arrivals[-1])).astype(np.int64)
    return replace(
        schedule,
        arrival_ns=arrivals,
        input_tokens=_even(schedule.input_tokens, sample.input_tokens),
        output_tokens=_even(schedule.output_tokens, sample.output_tokens),
    )


def _even(drawn: NDArray[np.int32], sample: NDArray[np.int32]) -> NDArray[np.int32]:
    """The middle of as many equal strata of *sample* as there are draws, in the order of *drawn*."""
    ranks = np.empty(len(drawn), dtype=np.intp)
    ranks[np.argsort(drawn, kind="stable")] = np.arange(len(drawn))
    places = (2 * ranks + 1) * len(sample) // (2 * len(drawn))
    evenly: NDArray[np.int32] = np.sort(sample)[places]
    return evenly
