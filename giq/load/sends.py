"""What a loop asks of the sender, and what the sender asks of a loop."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from giq.curve.requests import Record
from giq.load.connection import Exchange
from giq.load.job import Ending
from giq.load.request_bytes import Request

SENDS_AT_ONCE = 64
"""Requests sent in one go before answers get their turn again, where many fall due together."""


class Sends(Protocol):
    """What a loop asks of the sender."""

    def send(self, scheduled_ns: int, request: Request | None = None) -> bool:
        """Send *request*, by default the next of the share; False when there is none, or sending is over."""
        ...

    def end_sending(self, ending: Ending) -> None:
        """Send no more."""
        ...


class Loop(Protocol):
    """One way to decide when to send.

    `request_ids` are those of this worker's share of the schedule that are sent in order, `ahead` how many of them to
    make ahead of time; so many `connections` are opened before the start, and `spare_connections` idle ones kept.
    `planned` is how many requests will be sent in all, None when only time ends it.
    """

    request_ids: Sequence[int]
    ahead: int
    connections: int
    spare_connections: int
    planned: int | None

    def start(self, anchor_ns: int) -> None:
        """Send from *anchor_ns* on."""
        ...

    def freed(self, exchange: Exchange) -> None:
        """A request ended."""
        ...

    def answered(self, record: Record, token_ids: list[int]) -> None:
        """Its answer was decoded; its tokens are told where the server tells them."""
        ...

    def close(self) -> None:
        """Ask for nothing more."""
        ...
