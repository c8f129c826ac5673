"""Calls of the system on open files, also where Python does not have them."""

import ctypes
import errno
import os
import threading
from collections.abc import Iterable

import numpy as np

from openhsi_shared.renaming import function_of_libc

__all__ = ["address_of", "allocate", "close_all", "read_at", "write_at"]

SEEK_LOCK = threading.Lock()


def read_at(fd: int, n_bytes: int, offset: int) -> bytes:
    """Read what is stored at `offset`: fewer bytes at the end of the file."""
    if hasattr(os, "pread"):
        return os.pread(fd, n_bytes, offset)
    with SEEK_LOCK:  # Windows: the file position is shared by threads
        os.lseek(fd, offset, os.SEEK_SET)
        return os.read(fd, n_bytes)


def write_at(fd: int, data: memoryview, offset: int) -> int:
    """Write at `offset`; returns how many bytes the system has accepted."""
    if hasattr(os, "pwrite"):
        return os.pwrite(fd, data, offset)
    os.lseek(fd, offset, os.SEEK_SET)  # Windows; no other process has the file open
    return os.write(fd, data)


def close_all(descriptors: Iterable[int]) -> None:
    """Close descriptors of this process. OSError."""
    for descriptor in descriptors:
        os.close(descriptor)


def address_of(data: memoryview) -> int:
    """Address of `data` in memory, also where it is read-only; 1, which is never aligned, if it is empty."""
    address: int = np.frombuffer(data, np.uint8).ctypes.data if data else 1
    return address


def allocate(fd: int, n_bytes: int) -> None:
    """Allocate blocks. Not by `posix_fallocate`, which writes them one by one on file systems without support."""
    function = function_of_libc("fallocate64") or function_of_libc("fallocate")
    if function is None:
        return
    function.argtypes = (ctypes.c_int, ctypes.c_int, ctypes.c_int64, ctypes.c_int64)
    while function(fd, 0, 0, n_bytes) != 0:
        number = ctypes.get_errno()
        if number in (errno.EOPNOTSUPP, errno.ENOSYS):
            return
        if number != errno.EINTR:
            raise OSError(number, os.strerror(number))
