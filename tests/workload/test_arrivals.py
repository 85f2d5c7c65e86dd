"""Arrivals follow the law that is named: rate, variation of the gaps, dispersion of the counts."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from giq.documents import replace
from giq.errors import UsageError
from giq.workload import Arrival, Stop, arrival_times

N = 40_000
LAWS = st.sampled_from(
    [Arrival(), Arrival(law="constant"), Arrival(law="gamma", shape=0.3), Arrival(law="gamma", shape=4.0)]
)


def arrivals(arrival: Arrival, rate: float, stop: Stop, seed: int = 5) -> NDArray[np.int64]:
    """Arrivals of a fresh generator."""
    return arrival_times(arrival, rate, stop, np.random.default_rng(seed))


def gap_cv(times: NDArray[np.int64]) -> float:
    """Coefficient of variation of the gaps."""
    gaps = np.diff(times)
    return float(gaps.std() / gaps.mean())


def dispersion(times: NDArray[np.int64], width_s: float) -> float:
    """Variance over mean of the counts in consecutive intervals: 1 for a Poisson process."""
    counts = np.bincount((times // round(width_s * 1e9)).astype(np.intp))[:-1]
    return float(counts.var() / counts.mean())


@pytest.mark.parametrize("rate", [0.5, 20.0, 5000.0])
@pytest.mark.parametrize(("law", "shape", "cv"), [("poisson", None, 1.0), ("gamma", 4.0, 0.5), ("gamma", 0.25, 2.0)])
def test_gaps_have_the_rate_and_variation_of_their_law(law: str, shape: float | None, cv: float, rate: float) -> None:
    """The mean gap is 1/rate and its coefficient of variation 1/sqrt(k), within 4 standard errors."""
    times = arrivals(Arrival(law=law, shape=shape), rate, Stop(requests=N))  # type: ignore[arg-type]
    assert len(times) == N
    assert N / (times[-1] / 1e9) == pytest.approx(rate, rel=4 * cv / math.sqrt(N))
    assert gap_cv(times) == pytest.approx(cv, rel=0.05)


@pytest.mark.parametrize("width_s", [0.1, 1.0, 10.0])
def test_poisson_counts_disperse_like_poisson_at_every_scale(width_s: float) -> None:
    """Counts per interval have variance = mean, whichever the length of the interval."""
    times = arrivals(Arrival(), 20.0, Stop(requests=N))
    intervals = times[-1] / 1e9 / width_s
    assert dispersion(times, width_s) == pytest.approx(1.0, abs=4 * math.sqrt(2 / intervals))


def test_poisson_gaps_are_exponential_and_independent() -> None:
    """The gaps pass a Kolmogorov-Smirnov test against the exponential law and are not autocorrelated."""
    gaps = np.diff(arrivals(Arrival(), 50.0, Stop(requests=N))) / 1e9
    ordered = np.sort(gaps)
    distance = np.abs(1 - np.exp(-ordered * 50.0) - np.arange(1, N) / (N - 1)).max()
    assert distance < 1.63 / math.sqrt(N)
    assert abs(np.corrcoef(gaps[:-1], gaps[1:])[0, 1]) < 4 / math.sqrt(N)


RAMPS = [Arrival(law="ramp", from_rps=5, to_rps=15), Arrival(law="ramp", from_rps=15, to_rps=0)]


@pytest.mark.parametrize("even", [False, True])
@pytest.mark.parametrize("ramp", RAMPS, ids=str)
def test_a_ramp_goes_in_a_straight_line(ramp: Arrival, even: bool) -> None:
    """In each tenth of the point as many arrivals as the line has under it, whether random or even."""
    times = arrivals(replace(ramp, even=even), ramp.mean_rps or 0, Stop(duration_s=4000))
    first, last = ramp.from_rps or 0, ramp.to_rps or 0
    middles = first + (last - first) * (np.arange(10) + 0.5) / 10
    counts = np.histogram(times, np.linspace(0, 4000e9, 11))[0]
    bound = np.full(10, 1.5) if even else 4.5 * np.sqrt(middles * 400)
    assert (np.abs(counts - middles * 400) <= bound).all()
    assert (np.diff(times) >= 0).all()
    assert 0 <= times[0] <= times[-1] < 4000e9


@pytest.mark.parametrize("ramp", RAMPS, ids=str)
def test_a_ramp_is_poisson_in_the_time_of_its_rate(ramp: Arrival) -> None:
    """Where the expected number of requests is the clock, gaps are exponential with mean 1 and counts disperse so."""
    first, last = ramp.from_rps or 0, ramp.to_rps or 0
    seconds = arrivals(ramp, ramp.mean_rps or 0, Stop(duration_s=4000)) / 1e9
    due = first * seconds + (last - first) / 8000 * seconds**2
    gaps = np.diff(due)
    assert gaps.mean() == pytest.approx(1, rel=0.03)
    assert gaps.std() == pytest.approx(1, rel=0.05)
    assert dispersion((due * 1e9).astype(np.int64), 10.0) == pytest.approx(1, abs=0.15)


def test_a_ramp_of_so_many_requests_takes_the_time_they_need() -> None:
    """Without a duration a ramp is over when the requests have fallen due; any mean rate stretches it; both cut it."""
    for even in (False, True):
        ramp = Arrival(law="ramp", from_rps=5, to_rps=15, even=even)
        times = arrivals(ramp, 10, Stop(requests=1000))
        assert len(times) == 1000
        assert 95e9 < times[-1] < 100e9
        assert arrivals(ramp, 20, Stop(requests=1000))[-1] < 50e9
        assert len(arrivals(ramp, 10, Stop(requests=50, duration_s=100))) == 50
        assert len(arrivals(ramp, 10, Stop(requests=5000, duration_s=100))) == pytest.approx(1000, abs=150)


def test_gamma_of_shape_one_is_poisson() -> None:
    """With k = 1 the counts disperse like those of a Poisson process."""
    times = arrivals(Arrival(law="gamma", shape=1.0), 20.0, Stop(requests=N))
    assert dispersion(times, 1.0) == pytest.approx(1.0, abs=0.15)
    assert gap_cv(times) == pytest.approx(1.0, abs=0.05)


@given(st.floats(0.01, 10_000), st.integers(1, 3000))
def test_constant_is_constant_without_drift(rate: float, count: int) -> None:
    """Arrival i falls due at round(i * 1e9 / rate), the first at 0."""
    times = arrivals(Arrival(law="constant"), rate, Stop(requests=count))
    assert times.tolist() == [round(i * 1e9 / rate) for i in range(count)]


@given(st.integers(1, 200), st.integers(1, 30))
def test_a_constant_rate_fills_its_duration_exactly(rate: int, seconds: int) -> None:
    """At a whole rate a duration of whole seconds holds rate * seconds arrivals."""
    times = arrivals(Arrival(law="constant"), float(rate), Stop(duration_s=float(seconds)))
    assert len(times) == rate * seconds


@given(LAWS, st.floats(0.1, 500), st.one_of(st.none(), st.integers(1, 300)), st.floats(0.01, 20), st.integers(0, 2**63))
def test_whichever_limit_comes_first_ends_the_point(
    arrival: Arrival, rate: float, requests: int | None, duration_s: float, seed: int
) -> None:
    """Arrivals are sorted, not negative, before the duration, at most so many, and none is missing."""
    limited = arrivals(arrival, rate, Stop(requests=requests, duration_s=duration_s), seed)
    endless = arrivals(arrival, rate, Stop(requests=len(limited) + 1), seed)
    assert np.all(np.diff(limited) >= 0)
    assert len(limited) == 0 or (limited[0] >= 0 and limited[-1] < duration_s * 1e9)
    assert requests is None or len(limited) <= requests
    assert np.array_equal(limited, endless[:-1])
    assert len(limited) == requests or endless[-1] >= round(duration_s * 1e9)


def test_a_duration_holds_the_poisson_number_of_arrivals() -> None:
    """Over many seeds the count in a duration has mean and variance rate * duration."""
    counts = [len(arrivals(Arrival(), 4.0, Stop(duration_s=10.0), seed)) for seed in range(1500)]
    assert np.mean(counts) == pytest.approx(40, abs=4 * math.sqrt(40 / 1500))
    assert np.var(counts) == pytest.approx(40, rel=0.15)


def test_what_cannot_be_scheduled_is_refused() -> None:
    """No limit, too many requests, gamma without a shape and a trace without its file are usage errors."""
    for arrival, stop in [
        (Arrival(), Stop()),
        (Arrival(), Stop(requests=2_000_001)),
        (Arrival(law="gamma"), Stop(requests=5)),
        (Arrival(law="trace", trace_id="00"), Stop(requests=5)),
    ]:
        with pytest.raises(UsageError):
            arrivals(arrival, 1.0, stop)
