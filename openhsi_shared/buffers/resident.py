"""Pages of slots that are in memory before the first line, and stay there.

A page that is not mapped yet costs the thread that captures a page fault, and one that was moved to swap space costs it
a read from the disk. So the process that fills the slots maps all their pages first, and locks them if it may.
"""

import ctypes
import os
import sys
from collections.abc import Mapping
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from openhsi_shared.loggers import safe_logger

__all__ = ["make_resident"]

logger = safe_logger(__name__)

MADV_POPULATE_WRITE = 23
"""Linux 5.14 and later; older kernels refuse it."""
PAGE = 4096


def make_resident(views: Mapping[str, NDArray[np.uint8]]) -> None:
    """Map and lock the pages of new, writeable memory. Takes 1 ms per GB, with small pages 0.3 s; never fails.

    What the system does not lock (RLIMIT_MEMLOCK) is mapped only, and logged at level debug.
    """
    if sys.platform != "linux":
        return
    libc, n_unlocked, reason = _libc(), 0, 0
    for view in views.values():
        address, n_bytes = view.ctypes.data, view.nbytes
        if libc.mlock(address, n_bytes) == 0:
            continue
        n_unlocked, reason = n_unlocked + n_bytes, ctypes.get_errno()
        begin = address // PAGE * PAGE
        if libc.madvise(begin, address + n_bytes - begin, MADV_POPULATE_WRITE) != 0:
            view[::PAGE] |= 0  # the owner has not given the memory to anyone yet
    if n_unlocked:
        logger.debug(
            "%.1f MB of slots are mapped, but not locked in memory: %s; `ulimit -l` is the limit",
            n_unlocked / 1e6,
            os.strerror(reason),
        )


@cache
def _libc() -> Any:
    libc = ctypes.CDLL(None, use_errno=True)
    libc.mlock.argtypes = (ctypes.c_void_p, ctypes.c_size_t)
    libc.madvise.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int)
    return libc
