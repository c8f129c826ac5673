"""Shared memory in huge pages, where the kernel has them.

In pages of 4 KiB, a copy into shared memory takes up to twice as long as one into ordinary memory, for which numpy asks
the kernel for huge pages: a line of 1 MB needs 252 look-ups of addresses instead of one. Making the pages takes far
longer, too. `/dev/shm` has no huge pages by default; Linux 6.1 and later make them of a range that is mapped at a
multiple of their size, if asked. Where there are none, everything works with small ones.
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
WORTHWHILE = 16 << 20
"""Smaller ranges are left as they are."""
MAP_FIXED = 0x10
PROT_NONE = 0
LARGEST = 32 << 20
"""Huge pages of this size and more (ARM with pages of 64 KiB has 512 MiB) do not fit cubes."""


def make_huge_pages(fd: int, start: int, size: int) -> None:
    """Let the kernel have huge pages ready for `size` bytes from `start` on of a file in shared memory.

    Takes 0.06 s for 1 GB. The range must be nobody's yet, its contents are lost. OSError if there is no room for it.
    """
    huge = _huge_page_bytes()
    if huge is None or size < WORTHWHILE:
        return
    begin, end = -(-start // huge) * huge, (start + size) // huge * huge
    for page in range(begin, end, huge):
        os.pwrite(fd, b"\0", page)  # of a range without any page none is made; not by touching, which may be fatal
    mapped = map_at_huge_pages(fd, end)
    if mapped is not None:
        address = ctypes.addressof(mapped)
        for advice in (MADV_HUGEPAGE, MADV_COLLAPSE):  # the first is for older kernels; either may be refused
            _libc().madvise(address + begin, end - begin, advice)


def map_at_huge_pages(fd: int, size: int) -> Any:
    """Map the first `size` bytes of a file so that its huge pages are used; None where that cannot be.

    Returns an array of bytes, which can be viewed by numpy. The mapping ends with it.
    """
    huge = _huge_page_bytes()
    if huge is None or size < WORTHWHILE:
        return None
    libc = _libc()
    space = libc.mmap(None, size + huge, PROT_NONE, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS, -1, 0)
    if space == ctypes.c_void_p(-1).value:
        return None
    address = -(-space // huge) * huge
    rest = -(-(address + size) // mmap.PAGESIZE) * mmap.PAGESIZE
    mapped = libc.mmap(address, size, mmap.PROT_READ | mmap.PROT_WRITE, mmap.MAP_SHARED | MAP_FIXED, fd, 0)
    for begin, end in ((space, address), (rest if mapped == address else address, space + size + huge)):
        if end > begin:
            libc.munmap(begin, end - begin)
    if mapped != address:
        return None
    array = (ctypes.c_uint8 * size).from_address(address)
    weakref.finalize(array, libc.munmap, address, size).atexit = False  # others may look at it until the very end
    return array


@cache
def _huge_page_bytes() -> int | None:
    path = Path("/sys/kernel/mm/transparent_hugepage/hpage_pmd_size")
    if sys.platform != "linux" or not path.exists():
        return None
    size = int(path.read_text())
    return size if size < LARGEST else None


@cache
def _libc() -> Any:
    libc = ctypes.CDLL(None)
    size, address = ctypes.c_size_t, ctypes.c_void_p
    libc.mmap.restype = address
    libc.mmap.argtypes = (address, size, ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_long)
    libc.munmap.argtypes = (address, size)
    libc.madvise.argtypes = (address, size, ctypes.c_int)
    return libc
