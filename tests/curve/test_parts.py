"""Requests taken a part at a time say what they say as a whole."""

from __future__ import annotations

from dataclasses import fields, replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from giq.curve import intervals
from giq.curve import requests as requests_module
from giq.curve.intervals import pool, pool_of_gaps
from giq.curve.requests import Record, Requests
from giq.curve.throughput import output_tokens_in
from giq.curve.window import Window


def _requests(lengths: list[int], seed: int) -> Requests:
    """Requests with so many gaps each, the gaps drawn between 0 and 40 ns (so that many are equal)."""
    rng = np.random.default_rng(seed)
    return Requests.of(
        [
            Record(
                run_id="r", point_id="p", request_id=number, scheduled_ns=number, sent_ns=number, outcome="ok",
                requested_input_tokens=1, requested_output_tokens=length + 1, first_token_ns=number + 5,
                token_gaps_ns=rng.integers(0, 40, length).tolist(), chunk_tokens=[1] * (length + 1),
            )
            for number, length in enumerate(lengths)
        ]
    )  # fmt: skip


@settings(max_examples=60, deadline=None)
@given(lengths=st.lists(st.integers(0, 9), max_size=12), at_once=st.integers(1, 30))
def test_the_parts_together_are_the_whole(lengths: list[int], at_once: int) -> None:
    """However few tokens are taken at once, each column of the parts, joined, is the column of the whole."""
    whole = _requests(lengths, 1)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(requests_module, "_TOKENS_AT_ONCE", at_once)
        parts = list(whole.parts())
    assert sum(map(len, parts)) == len(whole)
    for name in (field.name for field in fields(whole)):
        if name.endswith("_offsets"):
            joined = np.concatenate([np.zeros(0, np.int64), *(np.diff(getattr(part, name)) for part in parts)])
            assert np.array_equal(joined, np.diff(getattr(whole, name)))
        elif getattr(whole, name) is not None:
            joined = np.concatenate([np.zeros(0, np.int64), *(getattr(part, name) for part in parts)])
            assert np.array_equal(joined, getattr(whole, name))


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 9), st.integers(-1, 3)), min_size=1, max_size=12),
    st.integers(0, 99),
    st.sampled_from([1, 10_000]),
)
def test_gaps_pool_as_their_seconds_do(drawn: list[tuple[int, int]], seed: int, few: int) -> None:
    """The pool of the gaps of chosen requests is that of the same values in seconds, batch by batch, few or many."""
    requests = _requests([length for length, _ in drawn], seed)
    batch = np.array([number for _, number in drawn], dtype=np.int8)
    none = np.zeros(4, dtype=np.int64)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(intervals, "_FEW", few)
        found = pool_of_gaps(requests, batch, none)
    of = np.repeat(batch, np.diff(requests.gap_offsets))
    wanted = pool(requests.gaps_ns[of >= 0] / 1e9, of[of >= 0].astype(np.intp), none)
    assert len(found) == len(wanted)
    assert found.counts.tolist() == wanted.counts.tolist()
    assert found.within.tolist() == wanted.within.tolist()
    assert np.allclose(found.sums, wanted.sums)
    assert [found.order_statistic(p) for p in range(101)] == [wanted.order_statistic(p) for p in range(101)]


@settings(max_examples=100, deadline=None)
@given(st.lists(st.integers(0, 9), min_size=1, max_size=12), st.integers(0, 99), st.integers(0, 60), st.integers(1, 90))
def test_tokens_are_counted_where_they_came(lengths: list[int], seed: int, start: int, long: int) -> None:
    """A window has the tokens that came from its start to before its end, of requests with many, one or unknown."""
    requests = replace(_requests(lengths, seed), chunk_tokens=np.arange(sum(lengths) + len(lengths)) % 3)
    came = [
        int(requests.first_token_ns[row] + requests.gaps_ns[begin : begin + number].sum())
        for row, begin in enumerate(requests.gap_offsets[:-1])
        for number in range(lengths[row] + 1)
    ]
    wanted = sum(int(at % 3) for at, time in enumerate(came) if start <= time < start + long)
    assert output_tokens_in(requests, Window(start, start + long, True, "")) == wanted
