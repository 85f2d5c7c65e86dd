"""The checks of arrivals do what they are for: right ones pass, those that known tools send do not."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from giq.workload import Stop, arrival_times, parse_arrival
from tests.load import laws
from tests.load.laws import NAMED, Named, Rate, Times, complaints

SAMPLES = 60


def delivered(times: Times, rng: np.random.Generator) -> Times:
    """*times* as a busy machine delivers them: most within a millisecond, one in twenty up to 30 ms late."""
    late = rng.exponential(0.0005, len(times)) + np.where(rng.random(len(times)) < 0.05, rng.uniform(0, 0.03), 0)
    return np.asarray(np.maximum.accumulate(times + late))


def sample(named: Named, seed: int) -> list[Times]:
    """What giq sends of a law, in as many points as are looked at together."""
    rng = np.random.default_rng([1, seed])
    stop = Stop(duration_s=named.rate.span_s)
    drawn = [arrival_times(parse_arrival(named.words), 10.0, stop, rng) / 1e9 for _ in range(named.points)]
    return [delivered(times, rng) for times in drawn]


@pytest.mark.parametrize("named", NAMED, ids=lambda named: named.words)
def test_right_arrivals_pass(named: Named) -> None:
    """Arrivals that follow their law, delivered late now and then, are found to do so, whichever the seed."""
    for seed in range(SAMPLES):
        assert not complaints(sample(named, seed), named.rate, named.law), seed


@pytest.mark.parametrize(
    ("generate", "words", "said"),
    [
        (laws.rescaled_gaps, "constant", "even"),
        (laws.second_by_second, "poisson", "grid"),
        (laws.one_seed_for_all, "poisson", "sent again"),
        (laws.one_seed_for_all, "poisson", "autocorrelation"),
        (laws.same_schedule_twice, "poisson", "from their law"),
        (laws.in_heaps, "poisson", "dispersion"),
        (laws.sleeping, "constant", "rate"),
        (laws.without_ramp, "ramp:0-20", "shape"),
    ],
)
def test_wrong_arrivals_never_pass(
    generate: Callable[[Rate, np.random.Generator], Times], words: str, said: str
) -> None:
    """What tools send that name one law and follow another is found out every time."""
    named = next(named for named in NAMED if named.words == words)
    for seed in range(SAMPLES):
        rng = np.random.default_rng([2, seed])
        points = [delivered(generate(named.rate, rng), rng) for _ in range(named.points)]
        found = complaints(points, named.rate, named.law)
        assert any(said in complaint for complaint in found), (seed, found)
