"""Workloads are named by what they ask, and arrival laws are spelled as on the command line."""

from __future__ import annotations

import re

import pytest

import giq.workload
from giq.catalog.use_cases import Lengths
from giq.documents import decode_json, replace
from giq.errors import UsageError
from giq.workload import (
    Arrival,
    ClosedLoad,
    Conversation,
    OpenLoad,
    SharedPrefix,
    ThinkTime,
    Workload,
    parse_arrival,
    parse_shared_prefix,
    parse_think_time,
)

WORKLOAD = Workload(input_tokens=Lengths(mean=512), output_tokens=Lengths(mean=128))


@pytest.mark.parametrize(
    "text", ["poisson", "constant", "gamma:2", "gamma:0.5", "ramp:2-20", "ramp:20-0.5", "ramp:0-20,constant"]
)
def test_an_arrival_law_is_printed_as_it_is_written(text: str) -> None:
    """Parsing and printing are inverse."""
    assert str(parse_arrival(text)) == text


@pytest.mark.parametrize("text", ["", "burst", "gamma", "gamma:", "gamma:0", "gamma:-1", "gamma:x", "Poisson "])
def test_an_unknown_arrival_law_is_refused(text: str) -> None:
    """Anything else is a usage error that names the known ones."""
    with pytest.raises(UsageError, match="gamma:K"):
        parse_arrival(text)


@pytest.mark.parametrize(
    "text", ["ramp:", "ramp:2", "ramp:2-2", "ramp:0-0", "ramp:-2-3", "ramp:2-20,gamma", "ramp:2-20,", "ramp:a-b"]
)
def test_what_is_no_ramp_is_refused(text: str) -> None:
    """A ramp needs two different rates."""
    with pytest.raises(UsageError, match="ramp:2-20"):
        parse_arrival(text)


@pytest.mark.parametrize("text", ["512:1", "512:8", "1:3,zipf:1.1", "16:2,zipf:2"])
def test_a_shared_prefix_is_printed_as_it_is_written(text: str) -> None:
    """Parsing and printing are inverse."""
    assert str(parse_shared_prefix(text)) == text


def test_one_prefix_needs_no_number() -> None:
    """Tokens alone mean one prefix that all share."""
    assert parse_shared_prefix("512") == SharedPrefix(tokens=512, groups=1)


@pytest.mark.parametrize("text", ["", "0", "8:0", "-1", "8:2:3", "8:2,zipf", "8:2,zipf:-1", "many"])
def test_what_is_no_prefix_is_refused(text: str) -> None:
    """Anything else is a usage error with an example."""
    with pytest.raises(UsageError, match="512:8"):
        parse_shared_prefix(text)


@pytest.mark.parametrize("text", ["5s", "0.25s", "0s", "uniform:0s-10s", "exponential:5s", "lognormal:5s,0.7"])
def test_a_think_time_is_printed_as_it_is_written(text: str) -> None:
    """Parsing and printing are inverse."""
    assert str(parse_think_time(text)) == text


def test_think_times_are_printed_in_seconds() -> None:
    """Other units come out in seconds; none at all needs no unit."""
    assert (str(parse_think_time("1m")), str(parse_think_time("250ms"))) == ("60s", "0.25s")
    assert parse_think_time("0") == ThinkTime()


@pytest.mark.parametrize(
    "text",
    ["5", "", "-1s", "uniform:5s", "uniform:10s-1s", "gamma:5s", "lognormal:5s", "lognormal:0,1", "exponential:x"],
)
def test_what_is_no_think_time_is_refused(text: str) -> None:
    """Anything else is a usage error."""
    with pytest.raises(UsageError):
        parse_think_time(text)


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
        replace(WORKLOAD, arrival=parse_arrival("ramp:2-20")),
        replace(WORKLOAD, arrival=parse_arrival("ramp:2-20,constant")),
        replace(WORKLOAD, shared_prefix=SharedPrefix(tokens=64)),
        replace(WORKLOAD, shared_prefix=SharedPrefix(tokens=64, groups=2)),
        replace(WORKLOAD, conversation=Conversation(turns=Lengths(mean=4))),
        replace(WORKLOAD, conversation=Conversation(turns=Lengths(mean=4), think=parse_think_time("5s"))),
    ]
    assert len({WORKLOAD.workload_id, *(workload.workload_id for workload in changed)}) == len(changed) + 1
    for workload in changed:
        assert decode_json(workload.canonical(), Workload, "a file") == workload


def test_what_is_not_asked_for_is_no_part_of_the_name() -> None:
    """Prefixes, turns and ramps, which came later, leave the names of workloads without them as they were."""
    assert WORKLOAD.canonical() == '{"input_tokens":{"mean":512},"output_tokens":{"mean":128}}'
    assert WORKLOAD.workload_id == "7d43e9fbb945712a"


def test_public_names_are_sorted() -> None:
    """The room's public names are listed in order."""
    assert giq.workload.__all__ == sorted(giq.workload.__all__)
