"""When a client says against itself that it was late or overloaded."""

from __future__ import annotations

import pytest

from giq.load.connection import Exchange
from giq.load.job import Progress
from giq.load.live import joined
from giq.load.request_bytes import Request
from giq.load.tally import Tally
from giq.load.verdict import findings
from giq.workload.workload import ClosedLoad, OpenLoad

MS = 1_000_000
S = 1_000_000_000


def tally(
    delays_ms: list[float], lags_ms: list[float] | None = None, cpu_s: float = 0.0, stretch: float = 1.0
) -> Tally:
    """Ten seconds of sending with these delays."""
    whole = Tally(started_ns=0, ended_ns=10 * S, cpu_s=cpu_s)
    whole.delays_ns.extend(int(delay * MS) for delay in delays_ms)
    whole.lags_ns.extend(int(lag * MS) for lag in lags_ms or [0.1])
    whole.scheduled_span, whole.sent_span = (0, 10 * S), (0, int(10 * S * stretch))
    return whole


@pytest.mark.parametrize(
    ("rate", "given", "flags"),
    [
        (100.0, tally([0.1] * 1000), []),
        (100.0, tally([0.1] * 980 + [3.0] * 20), ["GENERATOR_LATE"]),
        (1.0, tally([0.1] * 980 + [3.0] * 20), []),
        (1.0, tally([0.1] * 980 + [30.0] * 20), ["GENERATOR_LATE"]),
        (100.0, tally([0.1] * 5 + [9.0]), []),
        (100.0, tally([0.1] * 1000, stretch=1.02), ["GENERATOR_LATE"]),
        (100.0, tally([0.1] * 1000, cpu_s=9.7), ["CLIENT_BOUND"]),
    ],
)
def test_an_open_loop_is_late_or_bound(rate: float, given: Tally, flags: list[str]) -> None:
    """Beyond 2 ms or 2 % of the mean gap at the 99th percentile, 1 % in the rate, 95 % of the core."""
    found = findings(OpenLoad(rate_rps=rate), given, given.lateness())
    assert [finding.flag for finding in found] == flags


def test_a_closed_loop_is_not_late() -> None:
    """A closed loop has no schedule to be late for; its slots are filled when they fall free."""
    given = tally([50.0] * 100, stretch=1.5)
    assert findings(ClosedLoad(concurrency=4), given, given.lateness()) == []


def test_lag_of_the_loop_is_told_and_not_judged_here() -> None:
    """What lag does depends on what is measured: the verdict on it falls when the figures are known."""
    given = tally([0.1] * 1000, lags_ms=[1.0] * 80 + [50.0] * 20)
    lag = given.lateness().loop_lag
    assert (lag.p50, lag.p90, lag.p99) == (0.001, 0.05, 0.05)
    assert lag.mean == pytest.approx(0.0108)
    assert findings(OpenLoad(rate_rps=100.0), given, given.lateness()) == []


def test_two_workers_have_a_core_each() -> None:
    """CPU time is shared out over the workers before it is judged."""
    given = tally([0.1] * 1000, cpu_s=12.0)
    assert given.lateness(workers=2).cpu_share == pytest.approx(0.6)


def test_progress_of_workers_adds_up() -> None:
    """Counts and rates add; medians are weighted by the answers behind them, and unknown ones count for nothing."""

    def part(done: int, ttft_s: float | None) -> Progress:
        return Progress(
            elapsed_s=done / 10, sent=done + 1, done=done, failed=0, in_flight=1, planned=50, rate_rps=2.0,
            ttft_p50_s=ttft_s, tpot_p50_s=None, output_tps=5.0,
        )  # fmt: skip

    whole = joined([part(30, 0.1), part(10, 0.5), part(5, None)])
    assert (whole.sent, whole.done, whole.in_flight, whole.planned, whole.rate_rps) == (48, 45, 3, 150, 6.0)
    assert whole.ttft_p50_s == pytest.approx(0.2)
    assert whole.tpot_p50_s is None
    assert whole.elapsed_s == 3.0


def test_a_warm_start_makes_no_generator_late() -> None:
    """Of 300 requests begun at one moment the last is sent 15 ms later: that is no lateness of what follows."""
    whole = Tally(started_ns=0, ended_ns=10 * S, cpu_s=1.0)
    for number in range(1300):
        begun = number < 300
        exchange = Exchange(Request(number, b"GET", 1, 1), S if begun else S + (number - 299) * 10 * MS)
        exchange.sent_ns = exchange.scheduled_ns + (number * MS // 20 if begun else MS // 10)
        whole.note_sent(exchange)
    whole.lags_ns.append(MS // 10)

    assert whole.sent == 1300
    assert len(whole.delays_ns) == 1001
    assert findings(OpenLoad(rate_rps=100.0), whole, whole.lateness(1)) == []
