"""Memory that was freed, but that the allocators below Python keep for later: handed back to the system."""

from __future__ import annotations

import contextlib
import ctypes

import pyarrow as pa

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3
_LARGE_BYTES = 1024 * 1024
_KEPT_BYTES = 4 * _LARGE_BYTES
"""At the end of the heap, for smaller arrays: without them each would be handed back, and asked for again."""


def give_back() -> None:
    """Hand back what Arrow and the C library hold without using it, and from now on large arrays as they are freed.

    Reading a million records frees hundreds of megabytes, which would stay with this process: glibc keeps what it
    once handed out in blocks of up to 32 MB. Where there is another C library nothing is done about that.
    """
    pa.default_memory_pool().release_unused()
    with contextlib.suppress(AttributeError, OSError):
        libc = ctypes.CDLL(None)
        libc.mallopt(_MMAP_THRESHOLD, _LARGE_BYTES)
        libc.mallopt(_TRIM_THRESHOLD, _KEPT_BYTES)
        libc.malloc_trim(0)
