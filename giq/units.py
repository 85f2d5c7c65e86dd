"""Durations, rates, tokens and money: parsed and printed in one place.

Inside giq times are seconds (records: integer nanoseconds), rates are per second and money is USD.
"""

from __future__ import annotations

import math
import re

from giq.errors import UsageError

NS_PER_S = 1_000_000_000
SECONDS_PER_HOUR = 3600.0

_DURATION_UNITS = {"us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0}
_NUMBER = r"(\d+(?:\.\d+)?)"


def parse_duration(text: str) -> float:
    """Seconds in *text*, which needs a unit: `300ms`, `1.5s`, `10m`, `2h`.

    Raises:
        UsageError: no number, no unit, an unknown unit, or not above zero.
    """
    match = re.fullmatch(rf"\s*{_NUMBER}\s*([a-zµ]*)\s*", text, re.IGNORECASE)
    if not match or not match[2]:
        raise UsageError(f"{text!r} is not a duration", hint="Give a number with its unit, like 300ms, 1.5s or 10m.")
    unit = _DURATION_UNITS.get(match[2].lower())
    if unit is None:
        known = ", ".join(_DURATION_UNITS)
        raise UsageError(f"unknown unit {match[2]!r} in the duration {text!r}", hint=f"Known units: {known}.")
    seconds = float(match[1]) * unit
    if seconds <= 0:
        raise UsageError(f"the duration {text!r} must be above zero", hint="Give a positive time, like 300ms.")
    return seconds


def parse_percentile(text: str) -> str:
    """A percentile's name among p50, p90, p95, p99 (also written `90` or `P90`).

    Raises:
        UsageError: any other.
    """
    name = "p" + text.strip().lower().removeprefix("p")
    if name not in {"p50", "p90", "p95", "p99"}:
        raise UsageError(f"unknown percentile {text!r}", hint="Known: p50, p90, p95, p99.")
    return name


def parse_numbers(text: str, what: str) -> tuple[float, ...]:
    """The positive numbers in a comma-separated list, in the order given.

    Raises:
        UsageError: one of them is no number, or not above zero.
    """
    numbers = []
    for part in text.split(","):
        try:
            number = float(part)
        except ValueError:
            number = math.nan
        if not (math.isfinite(number) and number > 0):
            raise UsageError(f"{part.strip()!r} in {what} {text!r} is not a number above zero", hint="Like 1,8,64.")
        numbers.append(number)
    return tuple(numbers)


def format_seconds(seconds: float | None) -> str:
    """A latency for the screen: milliseconds with three significant digits, `–` when unknown, `∞` when infinite."""
    if seconds is None or math.isnan(seconds):
        return "–"
    if math.isinf(seconds):
        return "∞"
    return f"{_significant(seconds * 1e3)} ms"


def format_span(seconds: float) -> str:
    """A length of time for people: `45 s`, `3 min 20 s`, `2 h 5 min`."""
    whole = round(seconds)
    if whole < 60:
        return f"{_significant(seconds)} s" if seconds < 10 else f"{whole} s"
    minutes, rest = divmod(whole, 60)
    if minutes < 60:
        return f"{minutes} min {rest} s" if rest else f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if minutes else f"{hours} h"


def format_rate(rate: float | None, unit: str = "req/s") -> str:
    """A rate with three significant digits and its unit, `–` when unknown."""
    return "–" if rate is None or math.isnan(rate) else f"{_significant(rate)} {unit}"


def format_usd(amount: float | None) -> str:
    """Money in USD: cents from a dollar on, more digits below; `no price` when unknown."""
    if amount is None or math.isnan(amount):
        return "no price"
    if math.isinf(amount):
        return "$∞"
    digits = 2 if abs(amount) >= 1 else 3 if abs(amount) >= 0.1 else 4
    return f"${amount:,.{digits}f}"


def format_share(share: float | None) -> str:
    """A share of 1 as a percentage."""
    return "–" if share is None or math.isnan(share) else f"{share * 100:.1f} %"


def _significant(value: float) -> str:
    """Three significant digits, without an exponent, with thousands separated."""
    if value == 0 or not math.isfinite(value):
        return f"{value:g}"
    digits = max(0, 2 - math.floor(math.log10(abs(value))))
    return f"{value:,.{digits}f}"
