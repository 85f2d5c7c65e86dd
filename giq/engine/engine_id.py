"""What a simulated engine is made of, as an id: where it is another, so may be everything that it predicts."""

from __future__ import annotations

import hashlib

from giq.engine.pace import pace
from giq.engine.scheduler import Limits
from giq.engine.spec import EngineSpec


def engine_id(spec: EngineSpec) -> str:
    """16 hex digits made from every number that a simulation of *spec* goes by.

    Its step times (so its model and accelerator, as the catalog describes them now), limits, KV cache, calibration with
    its doubt, and how requests reach it. Not of the code: that it still predicts the same is a matter of tests.
    """
    facts = (
        pace(spec), Limits.of(spec), spec.calibration, spec.cores, spec.router, spec.max_model_len,
        spec.transfer_token_s, "" if spec.decode_pool is None else engine_id(spec.decode_pool),
    )  # fmt: skip
    return hashlib.sha256(repr(facts).encode()).hexdigest()[:16]
