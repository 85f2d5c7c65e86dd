"""Whether the server counted what the client counted, over one load point."""

from __future__ import annotations

from dataclasses import dataclass

from giq.catalog.servers import MetricNames
from giq.load.job import CounterDeltas
from giq.load.scraper import Reading
from giq.load.tally import Tally

NOT_SUCCEEDED = {"finished_reason": frozenset({"abort", "error"})}


@dataclass(frozen=True)
class Finding:
    """A flag of `curve.point`, and why it was set."""

    flag: str
    reason: str


def deltas(before: Reading, after: Reading, names: MetricNames) -> CounterDeltas:
    """What the counters grew by between two readings."""

    def grown(name: str, exclude: bool = False) -> float | None:
        without = NOT_SUCCEEDED if exclude else None
        first, last = before.total(name, without), after.total(name, without)
        if last is None:
            return None
        return last - (first or 0.0)  # a labelled counter appears with its first count

    return CounterDeltas(
        requests=grown(names.request_success, exclude=True),
        prompt_tokens=grown(names.prompt_tokens),
        generation_tokens=grown(names.generation_tokens),
    )


def reconcile(counted: CounterDeltas | None, tally: Tally) -> list[Finding]:
    """What is wrong between the server's counts and ours; nothing when they agree.

    Requests that ended badly on our side (timed out, cancelled, cut off) may or may not have been counted by the
    server: they give room upwards. More requests than that are somebody else's: FOREIGN_TRAFFIC. Anything else that
    differs is COUNTERS_DISAGREE. A server without counters is COUNTERS_UNAVAILABLE, which does not invalidate.
    """
    if counted is None or counted.requests is None:
        return [Finding("COUNTERS_UNAVAILABLE", "the server has no counters of requests to compare with")]
    if counted.requests < 0:
        return [Finding("COUNTERS_DISAGREE", "the server's counters went back: it was started again")]
    if counted.requests > tally.ok + tally.unsure:
        foreign = counted.requests - tally.ok - tally.unsure
        return [Finding("FOREIGN_TRAFFIC", f"the server finished {foreign:.0f} requests that were not ours")]
    findings = []
    if counted.requests < tally.ok:
        findings.append(f"{tally.ok} requests succeeded here, {counted.requests:.0f} there")
    pairs = (
        ("prompt", counted.prompt_tokens, tally.input_tokens, tally.unsure_input_tokens),
        ("output", counted.generation_tokens, tally.output_tokens, tally.unsure_output_tokens),
    )
    for what, theirs, ours, unsure in pairs:
        if theirs is not None and not tally.uncounted and not ours <= theirs <= ours + unsure:
            findings.append(f"{ours} {what} tokens were counted here, {theirs:.0f} there")
    return [Finding("COUNTERS_DISAGREE", reason) for reason in findings]
