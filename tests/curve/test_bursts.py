"""A point in which everything happened at once is summarised like any other."""

from __future__ import annotations

from giq.curve.requests import Record, Requests
from giq.curve.window import Window
from giq.curve.work import work_done


def test_work_in_a_single_moment_has_no_rate() -> None:
    """A client that was starved sends all its requests in one moment: nothing can be told of the rest of the time."""
    moment = 1_900_000_000
    records = [
        Record(
            run_id="r", point_id="p", request_id=number, scheduled_ns=number, sent_ns=moment, outcome="ok",
            first_token_ns=moment + 1000, last_token_ns=moment + 2000, end_ns=moment + 3000,
            requested_input_tokens=8, requested_output_tokens=10,
        )
        for number in range(60)
    ]  # fmt: skip
    window = Window(start_ns=0, end_ns=2_000_000_000, steady=True, reason="")

    assert work_done(Requests.of(records), window, (8.0, 10.0)) is None
