"""Who writes into a run's folder: a lock that lasts exactly as long as the process that holds it."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

LOCK_NAME = "run.lock"


def lock_run(folder: Path) -> int:
    """Take the lock of a run; the operating system lets go of it when the process ends, however it ends.

    Raises:
        BlockingIOError: a living process has it.
        OSError: it cannot be created.
    """
    path = folder / LOCK_NAME
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            lock_file(descriptor)
            if path.exists() and path.stat().st_ino == os.fstat(descriptor).st_ino:
                return descriptor
        except OSError:
            os.close(descriptor)
            raise
        os.close(descriptor)  # whoever had the lock took its file away meanwhile


def unlock_run(folder: Path, descriptor: int) -> None:
    """Let go of the lock and take its file away."""
    (folder / LOCK_NAME).unlink(missing_ok=True)
    os.close(descriptor)


def lock_file(descriptor: int) -> None:
    """Lock an open file until it is closed.

    Raises:
        BlockingIOError: another living process has locked it.
    """
    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)


def is_locked(path: Path) -> bool:
    """Whether a living process has locked the file at *path*."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        lock_file(descriptor)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False
