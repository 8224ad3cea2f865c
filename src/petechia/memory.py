"""Memory for large arrays: kept by the process instead of given back and taken anew.

An image of a head is 30 to 200 MB. The C library hands such a block back to the system as soon as it is free
and the next one comes page by page, zeroed: a third of a simulation's CPU. A reading takes too few to gain.
"""

from __future__ import annotations

import ctypes
import os
import sys

_TRIM_THRESHOLD, _TOP_PAD, _MMAP_MAX = -1, -2, -4  # of mallopt(3)
_AHEAD_BYTES = 64 * 1024**2  # taken with each growth


def keep_freed_memory() -> None:
    """From now on freed blocks stay with this process, where glibc on Linux gives its memory.

    Asks for large pages for torch's large tensors too, where the system gives them on request: torch reads
    that when it first allocates. What the user has set stays.
    """
    os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if mallopt is None:  # another C library has another way
        return
    mallopt(_MMAP_MAX, 0)
    mallopt(_TRIM_THRESHOLD, -1)
    mallopt(_TOP_PAD, _AHEAD_BYTES)
