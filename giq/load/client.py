"""Sends a load point to a server and stamps its answers: the room's front door."""

from __future__ import annotations

from giq.load.job import Hooks, Lateness, LoadJob, LoadResult, Progress, Timeouts

__all__ = ["Hooks", "Lateness", "LoadJob", "LoadResult", "Progress", "Timeouts"]
