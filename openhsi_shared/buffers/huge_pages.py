"""Huge pages for shared memory, where the kernel supports them.

With pages of 4 KiB, a copy into shared memory takes up to twice as long as one into private memory, for which numpy
requests huge pages: a line of 1 MB needs 252 TLB entries instead of one. Allocating the pages takes far longer, too.
`/dev/shm` has no huge pages by default; Linux 6.1 and later create them on request in a range that is mapped at a
multiple of their size. Where they are not available, small pages are used.
"""

import ctypes
import mmap
import os
import sys
import weakref
from functools import cache
from pathlib import Path
from typing import Any

__all__ = ["make_huge_pages", "map_at_huge_pages"]

MADV_HUGEPAGE = 14
MADV_COLLAPSE = 25
MIN_RANGE_BYTES = 16 << 20
"""Smaller ranges keep small pages."""
MAP_FIXED = 0x10
PROT_NONE = 0
MAX_HUGE_PAGE_BYTES = 32 << 20
"""Huge pages of this size or larger (512 MiB on ARM with pages of 64 KiB) are too large for cubes."""


def make_huge_pages(fd: int, start: int, size: int) -> None:
    """Allocate huge pages for `size` bytes from `start` on of a file in shared memory.

    Takes 0.06 s for 1 GB. The range must be unused: its contents are lost. OSError if there is not enough memory.
    """
    huge = _huge_page_bytes()
    if huge is None or size < MIN_RANGE_BYTES:
        return
    begin, end = -(-start // huge) * huge, (start + size) // huge * huge
    for page in range(begin, end, huge):
        os.pwrite(fd, b"\0", page)  # collapsing needs an existing page; not by a memory access, which may raise SIGBUS
    mapped = map_at_huge_pages(fd, end)
    if mapped is not None:
        address = ctypes.addressof(mapped)
        for advice in (MADV_HUGEPAGE, MADV_COLLAPSE):  # the first for older kernels; either may fail
            _libc().madvise(address + begin, end - begin, advice)


def map_at_huge_pages(fd: int, size: int) -> Any:
    """Map the first `size` bytes of a file so that its huge pages are used; None if that is not possible.

    Returns an array of bytes, which numpy can view. It is unmapped when the array is deleted.
    """
    huge = _huge_page_bytes()
    if huge is None or size < MIN_RANGE_BYTES:
        return None
    libc = _libc()
    space = libc.mmap(None, size + huge, PROT_NONE, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS, -1, 0)
    if space == ctypes.c_void_p(-1).value:
        return None
    address = -(-space // huge) * huge
    end_of_pages = -(-(address + size) // mmap.PAGESIZE) * mmap.PAGESIZE
    mapped = libc.mmap(address, size, mmap.PROT_READ | mmap.PROT_WRITE, mmap.MAP_SHARED | MAP_FIXED, fd, 0)
    for begin, end in ((space, address), (end_of_pages if mapped == address else address, space + size + huge)):
        if end > begin:
            libc.munmap(begin, end - begin)
    if mapped != address:
        return None
    array = (ctypes.c_uint8 * size).from_address(address)
    weakref.finalize(array, libc.munmap, address, size).atexit = False  # others may use it until exit
    return array


@cache
def _huge_page_bytes() -> int | None:
    path = Path("/sys/kernel/mm/transparent_hugepage/hpage_pmd_size")
    if sys.platform != "linux" or not path.exists():
        return None
    size = int(path.read_text())
    return size if size < MAX_HUGE_PAGE_BYTES else None


@cache
def _libc() -> Any:
    libc = ctypes.CDLL(None)
    size, address = ctypes.c_size_t, ctypes.c_void_p
    libc.mmap.restype = address
    libc.mmap.argtypes = (address, size, ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_long)
    libc.munmap.argtypes = (address, size)
    libc.madvise.argtypes = (address, size, ctypes.c_int)
    return libc
