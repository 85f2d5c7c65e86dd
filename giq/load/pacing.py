"""Wakes the sender at absolute times, closer than the millisecond that an event loop's own timers keep."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import os
import sys
from collections.abc import Callable
from time import monotonic_ns
from typing import ClassVar

from giq.units import NS_PER_S

_CLOCK_MONOTONIC = 1
_TFD_NONBLOCK = 0o4000
_TFD_CLOEXEC = 0o2000000
_TFD_TIMER_ABSTIME = 1
_LIBC = ctypes.CDLL(None, use_errno=True)


class _Timespec(ctypes.Structure):
    _fields_: ClassVar = [("seconds", ctypes.c_long), ("nanoseconds", ctypes.c_long)]


class _Itimerspec(ctypes.Structure):
    _fields_: ClassVar = [("interval", _Timespec), ("value", _Timespec)]


class Alarm:
    """Calls *ring* once at each time it is set to; setting it again replaces the time before.

    On Linux it is a timerfd in the event loop (late by some ten microseconds, and idle while it waits); elsewhere
    a timer of the loop.
    """

    def __init__(self, ring: Callable[[], None]) -> None:
        self._ring = ring
        self._loop = asyncio.get_running_loop()
        self._handle: asyncio.TimerHandle | None = None
        self._closed = False
        self._timer = _timerfd()
        if self._timer is not None:
            self._loop.add_reader(self._timer, self._timer_rang)

    def set(self, at_ns: int) -> None:
        """Ring at *at_ns* on the monotonic clock; at once when that is over."""
        if self._closed:
            return
        if self._timer is not None:
            _arm(self._timer, max(1, at_ns))
            return
        if self._handle is not None:
            self._handle.cancel()
        self._handle = self._loop.call_later(max(0.0, (at_ns - monotonic_ns()) / NS_PER_S), self._ring)

    def close(self) -> None:
        """Never ring again."""
        self._closed = True
        if self._timer is not None:
            self._loop.remove_reader(self._timer)
            os.close(self._timer)
            self._timer = None
        if self._handle is not None:
            self._handle.cancel()

    def _timer_rang(self) -> None:
        if self._timer is not None:
            with contextlib.suppress(BlockingIOError):  # set again since it rang
                os.read(self._timer, 8)
                self._ring()


def _timerfd() -> int | None:
    """A timer that can be polled, on the monotonic clock; None where the system has none."""
    if not sys.platform.startswith("linux"):
        return None
    timer = int(_LIBC.timerfd_create(_CLOCK_MONOTONIC, _TFD_NONBLOCK | _TFD_CLOEXEC))
    return timer if timer >= 0 else None


def _arm(timer: int, at_ns: int) -> None:
    setting = _Itimerspec(value=_Timespec(*divmod(at_ns, NS_PER_S)))
    if _LIBC.timerfd_settime(timer, _TFD_TIMER_ABSTIME, ctypes.byref(setting), None) != 0:
        raise OSError(ctypes.get_errno(), "timerfd_settime")
