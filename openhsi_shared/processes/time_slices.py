"""Time slices of threads: which of those that wake up gets a processor first. Linux 6.12 and later.

Among threads with the same right to a processor, the scheduler runs the one whose slice ends first, also instead of one
that runs at this moment. So a short slice is for a thread that needs little time, but soon. It takes no processor time
from others, needs no privilege, and is no niceness. Older kernels and other systems have no slices: nothing changes.
"""

import ctypes
import os
import platform
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

from openhsi_shared.renaming import function_of_libc

__all__ = ["CAPTURE_US", "DEFAULT_US", "WRITER_US", "set_slice", "slice_for_a_while", "slice_of_thread"]

CAPTURE_US, WRITER_US = 200, 500
"""Of the thread that captures, and of the writer: longer than that of the camera, shorter than the system's."""
DEFAULT_US = 0
"""The system's own, 0.7 to 2.8 ms by the number of processors."""

_NUMBERS = {"x86_64": (315, 314), "aarch64": (275, 274), "riscv64": (275, 274)}
"""System calls sched_getattr and sched_setattr; most versions of libc have no functions for them."""


class _Attributes(ctypes.Structure):
    """`struct sched_attr`, see sched_setattr(2)."""

    _fields_ = (
        ("size", ctypes.c_uint32),
        ("policy", ctypes.c_uint32),
        ("flags", ctypes.c_uint64),
        ("nice", ctypes.c_int32),
        ("priority", ctypes.c_uint32),
        ("runtime_ns", ctypes.c_uint64),
        ("deadline_ns", ctypes.c_uint64),
        ("period_ns", ctypes.c_uint64),
    )


def set_slice(microseconds: int) -> bool:
    """Set the slice of this thread, and of those that it starts: 100 to 100 000 us, or `DEFAULT_US`.

    Whether it has this one now: not if the system has no slices, refuses it, or the thread is in real time.
    """
    attributes = _attributes()
    if attributes is None:
        return False
    attributes.runtime_ns = microseconds * 1000
    number = _NUMBERS[platform.machine()][1]
    if _system_call()(number, 0, ctypes.byref(attributes), 0) != 0:
        return False
    return slice_of_thread() == microseconds


def slice_of_thread() -> int | None:
    """The slice of this thread in us; None if it has none, or it is not known."""
    attributes = _attributes()
    return None if attributes is None else attributes.runtime_ns // 1000 or None


def _attributes() -> _Attributes | None:
    """Of this thread, if it is scheduled by slices."""
    if sys.platform != "linux" or sys.maxsize < 2**32 or platform.machine() not in _NUMBERS:
        return None  # the numbers are those of 64-bit programs
    attributes = _Attributes()
    number, size = _NUMBERS[platform.machine()][0], ctypes.sizeof(_Attributes)
    if _system_call()(number, 0, ctypes.byref(attributes), size, 0) != 0:
        return None
    return attributes if attributes.policy in (os.SCHED_OTHER, os.SCHED_BATCH) else None


@cache
def _system_call() -> Any:
    return function_of_libc("syscall")


@contextmanager
def slice_for_a_while(microseconds: int) -> Iterator[None]:
    """Set the slice of this thread in the block."""
    before = slice_of_thread()
    try:
        set_slice(microseconds)
        yield
    finally:
        if before is not None:
            set_slice(before)
