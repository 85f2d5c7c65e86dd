"""Workloads are named by what they ask, and arrival laws are spelled as on the command line."""

from __future__ import annotations

import re

import pytest

import giq.workload
from giq.catalog.use_cases import Lengths
from giq.documents import decode_json, replace
from giq.errors import UsageError
from giq.workload import Arrival, ClosedLoad, OpenLoad, Workload, parse_arrival

WORKLOAD = Workload(input_tokens=Lengths(mean=512), output_tokens=Lengths(mean=128))


@pytest.mark.parametrize("text", ["poisson", "constant", "gamma:2", "gamma:0.5"])
def test_an_arrival_law_is_printed_as_it_is_written(text: str) -> None:
    """Parsing and printing are inverse."""
    assert str(parse_arrival(text)) == text


@pytest.mark.parametrize("text", ["", "burst", "gamma", "gamma:", "gamma:0", "gamma:-1", "gamma:x", "Poisson "])
def test_an_unknown_arrival_law_is_refused(text: str) -> None:
    """Anything else is a usage error that names the known ones."""
    with pytest.raises(UsageError, match="gamma:K"):
        parse_arrival(text)


def test_a_trace_is_named_by_its_id() -> None:
    """A trace law prints the trace's id."""
    assert str(Arrival(law="trace", trace_id="ab12")) == "trace:ab12"


def test_loads_are_printed_with_their_unit() -> None:
    """Rates and concurrency say what they are."""
    assert (str(OpenLoad(rate_rps=2.5)), str(ClosedLoad(concurrency=8))) == ("2.5 req/s", "8 in flight")


def test_a_workload_is_named_by_its_content() -> None:
    """Equal workloads have one id, however they are spelled and wherever they come from; any change is another id."""
    spelled = replace(WORKLOAD, arrival=parse_arrival("poisson"), input_tokens=Lengths(mean=512.0, spread=float("0.0")))
    assert spelled.workload_id == WORKLOAD.workload_id
    assert decode_json(WORKLOAD.canonical(), Workload, "a file").workload_id == WORKLOAD.workload_id
    assert re.fullmatch(r"[0-9a-f]{16}", WORKLOAD.workload_id)
    changed = [
        replace(WORKLOAD, use_case="chatbot"),
        replace(WORKLOAD, arrival=Arrival(law="gamma", shape=1.0)),
        replace(WORKLOAD, input_tokens=Lengths(mean=513)),
    ]
    assert len({WORKLOAD.workload_id, *(workload.workload_id for workload in changed)}) == 4


def test_public_names_are_sorted() -> None:
    """The room's public names are listed in order."""
    assert giq.workload.__all__ == sorted(giq.workload.__all__)
