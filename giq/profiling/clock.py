"""Whose clock the records of a run count on, so that several machines can be joined."""

from __future__ import annotations

import hashlib
import time
import uuid
from pathlib import Path

from giq.store.run_manifest import Worker

UNKNOWN = "unknown"


def this_worker(zero_ns: int, worker_id: int = 0) -> Worker:
    """Describe this process as a worker: host and boot as opaque ids, and the Unix time of monotonic *zero_ns*."""
    unix_zero = time.time_ns() - time.monotonic_ns() + zero_ns
    return Worker(
        worker_id=worker_id, host_id=_host_id(), boot_id=_boot_id(), zero_unix_ns=unix_zero, zero_monotonic_ns=zero_ns
    )


def _host_id() -> str:
    """A number that stays with the machine, hashed so that it says nothing else about it."""
    try:
        known = Path("/etc/machine-id").read_text().strip()
    except OSError:
        known = str(uuid.getnode())
    return hashlib.sha256(f"giq:{known}".encode()).hexdigest()[:16]


def _boot_id() -> str:
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return UNKNOWN
