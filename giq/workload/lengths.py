"""Token lengths: draws from a distribution, and its mean."""

from __future__ import annotations

import math
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from giq.catalog.use_cases import Lengths
from giq.errors import UsageError

_LARGEST = 2**31 - 1
_STANDARD = NormalDist()


def draw_lengths(lengths: Lengths, count: int, rng: np.random.Generator) -> NDArray[np.int32]:
    """*count* token lengths, each rounded and then clipped to [minimum, maximum].

    The draws of a smaller *count* are the first of those of a larger one.

    Raises:
        UsageError: a uniform distribution without a maximum, or a minimum above the maximum.
    """
    low, high = _bounds(lengths)
    if lengths.distribution == "uniform":
        return rng.integers(low, high, size=count, endpoint=True).astype(np.int32)
    if lengths.distribution == "normal":
        raw = rng.normal(lengths.mean, lengths.spread, size=count)
    elif lengths.distribution == "lognormal":
        raw = rng.lognormal(_log_mean(lengths), lengths.spread, size=count)
    else:
        raw = np.full(count, lengths.mean)
    return np.clip(np.rint(raw), low, high).astype(np.int32)


def mean_length(lengths: Lengths) -> float:
    """The expected length after clipping, in tokens.

    In closed form for the unrounded distribution (rounding moves it by less than half a token), exact for
    fixed and uniform lengths.

    Raises:
        UsageError: as `draw_lengths`.
    """
    low, high = _bounds(lengths)
    if lengths.distribution == "uniform":
        return (low + high) / 2
    if lengths.distribution == "fixed" or lengths.spread == 0:
        return float(min(max(round(lengths.mean), low), high))
    if lengths.distribution == "normal":
        mean = _clipped_normal_mean(lengths.mean, lengths.spread, low, high)
    else:
        mean = _clipped_lognormal_mean(_log_mean(lengths), lengths.spread, low, high)
    return min(max(mean, low), high)  # against rounding where the bounds are close


def _bounds(lengths: Lengths) -> tuple[int, int]:
    if lengths.distribution == "uniform" and lengths.maximum is None:
        raise UsageError("a uniform length has no maximum", hint="Give both minimum and maximum.")
    high = _LARGEST if lengths.maximum is None else lengths.maximum
    if lengths.minimum > high:
        raise UsageError(f"minimum length {lengths.minimum} is above the maximum {high}", hint="Swap them.")
    return lengths.minimum, high


def _log_mean(lengths: Lengths) -> float:
    """The mean of the logarithm for which the arithmetic mean is `mean`: ln(mean) - spread^2 / 2."""
    return math.log(lengths.mean) - lengths.spread**2 / 2


def _clipped_normal_mean(mean: float, spread: float, low: int, high: int) -> float:
    """E[min(max(X, low), high)] of a normal X, by its partial expectations."""
    a, b = (low - mean) / spread, (high - mean) / spread
    below, above = _STANDARD.cdf(a), _STANDARD.cdf(-b)
    inside = mean * (1 - below - above) - spread * (_STANDARD.pdf(b) - _STANDARD.pdf(a))
    return low * below + inside + high * above


def _clipped_lognormal_mean(mu: float, sigma: float, low: int, high: int) -> float:
    """E[min(max(X, low), high)] of a lognormal X, by its partial expectations."""
    a, b = (math.log(low) - mu) / sigma, (math.log(high) - mu) / sigma
    inside = math.exp(mu + sigma**2 / 2) * (_STANDARD.cdf(b - sigma) - _STANDARD.cdf(a - sigma))
    return low * _STANDARD.cdf(a) + inside + high * _STANDARD.cdf(-b)
