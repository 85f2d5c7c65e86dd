"""Where a request stands among others: its session, its turn, the prefix that it shares."""

from __future__ import annotations

from giq.curve.requests import Record
from giq.documents import replace
from giq.workload.schedule import Schedule


def placed(record: Record, schedule: Schedule) -> Record:
    """*record* with its place in *schedule*'s conversations and shared prefixes; as it is where there are none."""
    at = record.request_id
    if schedule.prefix_group is not None:
        record = replace(record, prefix_group=int(schedule.prefix_group[at]))
    if schedule.session_id is None or schedule.turn is None or schedule.parent is None or schedule.think_ns is None:
        return record
    follows = schedule.parent[at] >= 0
    return replace(
        record,
        session_id=int(schedule.session_id[at]),
        turn=int(schedule.turn[at]),
        parent_id=int(schedule.parent[at]) if follows else None,
        think_ns=int(schedule.think_ns[at]) if follows else None,
    )
