"""What comes to a server, stays a while and leaves: a request, or in conversations a whole session."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from giq.curve.requests import NULL, Requests


@dataclass(frozen=True, eq=False)
class Stays:
    """When each stay fell due, began (int64, ns) and ended (NULL: not known), and whether all of it succeeded."""

    scheduled_ns: NDArray[np.int64]
    sent_ns: NDArray[np.int64]
    end_ns: NDArray[np.int64]
    ok: NDArray[np.bool_]

    @classmethod
    def of(cls, requests: Requests) -> Stays:
        """The stays of *requests*: sessions where there are any, from their first turn to the end of their last."""
        if requests.session_id is None:
            return cls(requests.scheduled_ns, requests.sent_ns, requests.end_ns, requests.ok)
        order = np.lexsort((requests.request_id, requests.session_id))
        sessions = requests.session_id[order]
        first = np.flatnonzero(np.concatenate([[True], sessions[1:] != sessions[:-1]]))
        last = np.concatenate([first[1:], [len(sessions)]]) - 1
        return cls(
            requests.scheduled_ns[order][first],
            requests.sent_ns[order][first],
            np.where(requests.end_ns[order][last] == NULL, NULL, np.maximum.reduceat(requests.end_ns[order], first)),
            np.logical_and.reduceat(requests.ok[order], first),
        )
