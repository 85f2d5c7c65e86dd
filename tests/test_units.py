"""Durations, percentiles and numbers: parsed and printed in one place."""

from __future__ import annotations

import contextlib
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from giq.errors import UsageError
from giq.units import (
    format_rate,
    format_seconds,
    format_share,
    format_span,
    format_usd,
    parse_duration,
    parse_numbers,
    parse_percentile,
)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("300ms", 0.3), ("1.5s", 1.5), ("10m", 600), ("2h", 7200), ("250us", 0.00025), (" 5 s ", 5), ("3MIN", 180)],
)
def test_a_duration_is_a_number_with_its_unit(text: str, seconds: float) -> None:
    """Milliseconds to hours become seconds."""
    assert parse_duration(text) == pytest.approx(seconds)


@pytest.mark.parametrize("text", ["300", "", "ms", "-5ms", "0s", "5 parsecs", "1e3ms", "five s", "nan s", "1,5s"])
def test_a_duration_without_a_known_unit_is_refused(text: str) -> None:
    """No unit, an unknown one, no number or none above zero: a usage error that shows how to write it."""
    with pytest.raises(UsageError) as told:
        parse_duration(text)
    assert told.value.hint


@given(st.text(max_size=20))
def test_any_text_is_a_positive_duration_or_a_usage_error(text: str) -> None:
    """Nothing else than `UsageError` comes out of strange input, and never zero, negative or infinite seconds."""
    with contextlib.suppress(UsageError):
        assert 0 < parse_duration(text) < math.inf


@pytest.mark.parametrize(("text", "name"), [("p90", "p90"), ("99", "p99"), ("P50", "p50"), (" p95 ", "p95")])
def test_a_percentile_has_one_name(text: str, name: str) -> None:
    """However it is written, a percentile gets its one name."""
    assert parse_percentile(text) == name


@pytest.mark.parametrize("text", ["mean", "p100", "p", "0.9", ""])
def test_what_is_no_percentile_is_refused(text: str) -> None:
    """A mean is no percentile."""
    with pytest.raises(UsageError, match="percentile"):
        parse_percentile(text)


def test_numbers_come_in_the_order_given() -> None:
    """A list of loads keeps its order."""
    assert parse_numbers("8,1, 64", "--concurrency") == (8, 1, 64)


@pytest.mark.parametrize("text", ["", "1,", "1,x", "0", "-1", "inf", "nan"])
def test_a_list_with_anything_else_is_refused(text: str) -> None:
    """What is no finite number above zero is refused."""
    with pytest.raises(UsageError, match="--concurrency"):
        parse_numbers(text, "--concurrency")


@pytest.mark.parametrize(
    ("shown", "text"),
    [
        (format_seconds(0.0542), "54.2 ms"),
        (format_seconds(1.6667), "1,667 ms"),
        (format_seconds(0.00123456), "1.23 ms"),
        (format_seconds(None), "–"),
        (format_seconds(math.inf), "∞"),
        (format_rate(12.345), "12.3 req/s"),
        (format_rate(15234.5, "tok/s"), "15,234 tok/s"),
        (format_rate(None), "–"),
        (format_usd(11.0612), "$11.06"),
        (format_usd(0.1933), "$0.193"),
        (format_usd(0.0809), "$0.0809"),
        (format_usd(None), "no price"),
        (format_share(0.9293), "92.9 %"),
        (format_span(4.2), "4.20 s"),
        (format_span(75), "1 min 15 s"),
        (format_span(7500), "2 h 5 min"),
    ],
)
def test_quantities_are_printed_with_their_units(shown: str, text: str) -> None:
    """Every quantity has its unit and three significant digits, and what is unknown is a dash."""
    assert shown == text
