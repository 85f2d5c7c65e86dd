"""The command that would settle a tie is one that giq takes for the same question."""

from __future__ import annotations

from typing import Any

import pytest

from giq.catalog.catalog import Catalog, load_catalog
from giq.catalog.use_cases import Lengths
from giq.cli.asked import Sharing, targets_of, workload_of
from giq.curve.targets import Target
from giq.documents import replace
from giq.recommend.notes import client_note, profile_words
from giq.recommend.requirement import Requirement
from giq.workload.workload import Arrival, Sampling, Workload
from tests.curve.measured_curves import open_point

FIXED = Workload(input_tokens=Lengths(mean=512), output_tokens=Lengths(mean=64))


@pytest.fixture(scope="module")
def shipped() -> Catalog:
    """The catalog that ships."""
    return load_catalog()


def _understood(words: list[str], catalog: Catalog) -> tuple[Workload, tuple[Target, ...]]:
    """What giq's command line makes of the words."""
    options = dict(zip(words[::2], words[1::2], strict=True))
    lengths = options.pop("--input-tokens", None), options.pop("--output-tokens", None)
    arrival, percentile = options.pop("--arrival", "poisson"), options.pop("--percentile", "p90")
    sharing = Sharing(*(options.pop(name, None) for name in ("--shared-prefix", "--turns", "--think-time")))
    workload, _ = workload_of(catalog, options.pop("--use-case", None), lengths, arrival, sharing)
    return workload, targets_of(percentile, **{name.removeprefix("--target-"): text for name, text in options.items()})


@pytest.mark.parametrize(
    "lengths",
    [
        Lengths(mean=1000000),
        Lengths(distribution="uniform", mean=288, minimum=64, maximum=512),
        Lengths(distribution="normal", mean=512.5, spread=128),
        Lengths(distribution="lognormal", mean=512, spread=0.7),
        Lengths(distribution="lognormal", mean=1234567.25, spread=0.00001),
    ],
    ids=str,
)
@pytest.mark.parametrize("arrival", [Arrival(), Arrival(law="constant"), Arrival(law="gamma", shape=0.25)], ids=str)
def test_options_say_the_same_question(shipped: Catalog, lengths: Lengths, arrival: Arrival) -> None:
    """Read back by the command line, the words are the workload and targets that they were made from."""
    workload = Workload(input_tokens=lengths, output_tokens=Lengths(mean=64), arrival=arrival)
    targets = (Target("ttft", 0.3, "p99"), Target("tpot", 0.0123, "p99"))
    words = profile_words(workload, targets, shipped)
    assert words is not None
    understood, goals = _understood(words, shipped)
    assert understood == workload
    assert [(goal.metric, goal.percentile) for goal in goals] == [("ttft", "p99"), ("tpot", "p99")]
    assert [goal.seconds for goal in goals] == pytest.approx([0.3, 0.0123], rel=1e-12)


@pytest.mark.parametrize(
    "sharing",
    [
        Sharing(prefix="40:8"),
        Sharing(prefix="40:8,zipf:1.25"),
        Sharing(turns="4"),
        Sharing(turns="uniform:2-6", think_time="exponential:5s"),
        Sharing("40:1", "3", "uniform:0.5s-90s"),
        Sharing(turns="normal:4,1", think_time="lognormal:2.5s,0.7"),
    ],
    ids=str,
)
def test_options_say_what_requests_share(shipped: Catalog, sharing: Sharing) -> None:
    """Shared prefixes, turns and pauses are read back as they were."""
    lengths = ("64", "16")
    workload, _ = workload_of(shipped, None, lengths, "poisson", sharing)
    words = profile_words(workload, (), shipped)
    assert words is not None
    assert _understood(words, shipped)[0] == workload
    assert workload.workload_id != workload_of(shipped, None, lengths, "poisson")[0].workload_id


def test_use_cases_are_said_by_name_only_where_the_lengths_are_theirs(shipped: Catalog) -> None:
    """The name of a use case with lengths of its own would measure something else."""
    for case in shipped.use_cases:
        workload = Workload(use_case=case.name, input_tokens=case.input_tokens, output_tokens=case.output_tokens)
        words = profile_words(workload, (), shipped)
        assert words is not None
        assert words[0] == "--use-case"
        assert Requirement(model="m", workload=workload).asks_for(_understood(words, shipped)[0])
    words = profile_words(replace(FIXED, use_case="chatbot"), (), shipped)
    assert words == ["--input-tokens", "512", "--output-tokens", "64"]


@pytest.mark.parametrize(
    "fields",
    [
        {"input_tokens": Lengths(distribution="normal", mean=512, spread=128, maximum=1024)},
        {"input_tokens": Lengths(distribution="lognormal", mean=512, spread=0.7, minimum=4)},
        {"output_tokens": Lengths(mean=64.5)},
        {"output_tokens": Lengths(distribution="uniform", mean=64)},
        {"arrival": Arrival(law="trace", trace_id="0123456789abcdef")},
        {"sampling": Sampling(temperature=1.0)},
    ],
    ids=str,
)
def test_what_options_cannot_say(shipped: Catalog, fields: dict[str, Any]) -> None:
    """Bounds, traces and sampling have no options, so there is no command."""
    assert profile_words(replace(FIXED, **fields), (), shipped) is None


def test_targets_at_several_percentiles_have_no_options(shipped: Catalog) -> None:
    """One --percentile holds for all targets, and a metric has one."""
    assert profile_words(FIXED, (Target("ttft", 0.3), Target("tpot", 0.05, "p99")), shipped) is None
    assert profile_words(FIXED, (Target("ttft", 0.3), Target("ttft", 0.2)), shipped) is None
    assert profile_words(FIXED, (Target("ttft", 0.3),), shipped) == [
        "--input-tokens", "512", "--output-tokens", "64", "--target-ttft", "300ms",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("error_s", "target", "said"),
    [
        (0.004, Target("ttft", 0.3), None),
        (0.004, Target("ttft", 0.05), "8.0 % of p90 TTFT <= 50.0 ms"),
        (0.004, Target("tpot", 0.05), None),
        (None, Target("ttft", 0.001), None),
    ],
)
def test_a_client_too_slow_for_a_stricter_target_is_told(
    error_s: float | None, target: Target, said: str | None
) -> None:
    """A point measured well enough for its own targets says so where those asked for now are too strict for it."""
    note = client_note([open_point(2.0, client_error_s=error_s)], [target])

    assert note is None if said is None else said in (note or "")
