"""Columns hold what the records say."""

from __future__ import annotations

from giq.curve import NULL, Record, Requests
from giq.documents import replace


def test_columns_hold_the_records() -> None:
    """Unknown values become NULL, and gaps and chunks of each request are found by its offsets."""
    asked = Record(
        run_id="r", point_id="p", request_id=4, scheduled_ns=1, sent_ns=2, outcome="ok", first_token_ns=3,
        token_gaps_ns=[7, 8], chunk_tokens=[1, 2, 3], requested_input_tokens=5, requested_output_tokens=6,
    )  # fmt: skip
    silent = replace(asked, first_token_ns=None, token_gaps_ns=None, chunk_tokens=None)
    records = [
        asked,
        replace(silent, request_id=5, outcome="refused", phase="drain"),
        replace(silent, request_id=6, token_gaps_ns=[10]),
    ]
    requests = Requests.of(records)
    assert len(requests) == 3
    assert requests.request_id.tolist() == [4, 5, 6]
    assert requests.first_token_ns.tolist() == [3, NULL, NULL]
    assert requests.ok.tolist() == [True, False, True]
    assert requests.measured.tolist() == [True, False, True]
    assert (requests.gaps_ns.tolist(), requests.gap_offsets.tolist()) == ([7, 8, 10], [0, 2, 2, 3])
    assert (requests.chunk_tokens.tolist(), requests.chunk_offsets.tolist()) == ([1, 2, 3], [0, 3, 3, 3])
