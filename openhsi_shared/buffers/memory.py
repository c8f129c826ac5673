"""Shared memory without a name or a lock, allocated only if it fits.

`multiprocessing.Array(..., lock=False)` is stored in a file of /dev/shm that is unlinked on creation: a killed process
leaves no file behind, and holds no lock. This module avoids two pitfalls. If /dev/shm is too small, multiprocessing
uses a file in the temp directory instead, which is as slow as the disk; and exceeding the memory limit of a container
ends in SIGBUS or SIGKILL. So the free memory is checked first, then the location of the array, and its pages are
reserved before they are accessed: other processes may have allocated the memory meanwhile.
"""

import ctypes
import errno
import os
import sys
from multiprocessing.heap import Arena, BufferWrapper
from multiprocessing.sharedctypes import rebuild_ctype  # type: ignore[attr-defined]
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from openhsi_shared.buffers.huge_pages import make_huge_pages, map_at_huge_pages
from openhsi_shared.errors import ArgumentError, MemoryShortage
from openhsi_shared.processes.descriptors import explained
from openhsi_shared.standard_streams import fill_standard_descriptors

__all__ = ["PAGE", "aligned_bytes", "arena_of", "free_memory", "require_memory", "shared_array"]

PAGE = 4096
RESERVE = 64 << 20
"""Bytes always left to other programs."""
SHM = Path("/dev/shm")


def shared_array(c_type: Any, n_items: int, what: str) -> Any:
    """Make a zeroed `SPAWN.Array(c_type, n_items, lock=False)`. Blocks while its pages are allocated.

    That takes 1 s for 1 GB, with huge pages 0.1 s. `what` names it in the MemoryShortage raised if it does not fit.
    """
    if not isinstance(n_items, int | np.integer) or n_items < 1:
        raise ArgumentError(f"{what}: the number of items must be a whole number > 0, got {n_items!r}")
    item = _C_TYPES[c_type] if isinstance(c_type, str) else c_type
    size = ctypes.sizeof(item) * int(n_items)
    try:
        require_memory(size, what)
        fill_standard_descriptors()
        wrapper = BufferWrapper(size)
    except OSError as error:
        hint = "" if error.errno == errno.EMFILE else "; is it mounted and writeable?"
        raise MemoryShortage(f"{what}: no shared memory in {SHM}: {explained(error)}{hint}") from error
    array = rebuild_ctype(item * int(n_items), wrapper, None)  # as Array() does, but without accessing its pages
    _reserve_pages(array, size, what)
    arena, start = arena_of(array)
    mapped = map_at_huge_pages(arena.fd, start + size)
    ctypes.memset(ctypes.addressof(array) if mapped is None else ctypes.addressof(mapped) + start, 0, size)
    return array


def _reserve_pages(array: Any, size: int, what: str) -> None:
    """Reserve the pages of a new array. MemoryShortage if they are not available, or on a disk."""
    if sys.platform != "linux":
        return
    arena, start = arena_of(array)
    if arena.fd <= 2:  # made by other code
        raise MemoryShortage(
            f"{what}: its memory has descriptor {arena.fd}, into which libraries print: do not close the descriptors "
            "0, 1 and 2 before shared memory is made"
        )
    if not str(Path(f"/proc/self/fd/{arena.fd}").readlink()).startswith(str(SHM)):
        raise MemoryShortage(
            f"{what}: {size:,} bytes were allocated on a disk, not in {SHM}: is it mounted, writeable, large enough?"
        )
    try:
        make_huge_pages(arena.fd, start, size)
        os.posix_fallocate(arena.fd, start, size)
    except OSError as error:
        raise MemoryShortage(
            f"{what}: {size:,} bytes of shared memory are no longer available: {error.strerror}; "
            "use fewer lines or slots, or close other programs"
        ) from error


_C_TYPES = {"B": ctypes.c_uint8, "q": ctypes.c_int64}


def arena_of(array: Any) -> tuple[Arena, int]:
    """Return the mapped file in which a shared array is stored, and the offset of the array, in bytes."""
    (arena, start, _), _ = array._wrapper._state  # noqa: SLF001 - multiprocessing has no public access to it
    return arena, start


def aligned_bytes(array: Any, n_bytes: int) -> NDArray[np.uint8]:
    """View `n_bytes` of a shared byte array from its first page boundary on; the array must be `PAGE` bytes larger.

    The boundary is the same in every process, because mappings begin at pages. With huge pages, the view uses a
    separate mapping.
    """
    arena, start = arena_of(array)
    begin = -(-start // PAGE) * PAGE
    mapped = map_at_huge_pages(arena.fd, arena.size)
    if mapped is not None:
        mapped.owner = array  # else its bytes would be reused while the view still exists
        return np.frombuffer(mapped, np.uint8)[begin : begin + n_bytes]
    return np.frombuffer(array, np.uint8)[begin - start : begin - start + n_bytes]


def require_memory(n_bytes: int, what: str) -> None:
    """Raise MemoryShortage, with numbers and a remedy, unless `n_bytes` of shared memory are available."""
    for place, free, remedy in free_memory():
        # a container has 64 MB of /dev/shm by default, which must suffice for small arrays
        reserve = min(RESERVE, max(free, 0) // 8) if place == str(SHM) else RESERVE
        if n_bytes + reserve > free:
            raise MemoryShortage(
                f"{what} needs {n_bytes / 1e6:,.1f} MB, but {place} has {max(free, 0) / 1e6:,.1f} MB free "
                f"({reserve / 1e6:.1f} MB are left to others): use fewer lines or slots, or {remedy}"
            )


def free_memory() -> list[tuple[str, int, str]]:
    """List the limits of shared memory here: (place, free bytes, remedy)."""
    limits = []
    if SHM.is_dir():
        shm = os.statvfs(SHM)
        limits.append((str(SHM), shm.f_bavail * shm.f_frsize, "mount it larger (in a container: --shm-size)"))
    meminfo = Path("/proc/meminfo")
    if meminfo.exists():
        words = next(line for line in meminfo.read_text().splitlines() if line.startswith("MemAvailable")).split()
        limits.append(("this machine", int(words[1]) * 1024, "close other programs"))
    limits += [
        ("the memory limit of this container", free, "raise it (--memory, MemoryMax=)") for free in _cgroup_free()
    ]
    return limits


def _cgroup_free(root: Path = Path("/sys/fs/cgroup"), own: Path = Path("/proc/self/cgroup")) -> list[int]:
    """Free bytes under the limits of this process's control groups, version 2 or 1; page cache counts as free."""
    found = []
    for base, limit_name, used_name, cache in (
        (root, "memory.max", "memory.current", "inactive_file"),
        (root / "memory", "memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
    ):
        for folder in _own_groups(base, own):
            limit, used = folder / limit_name, folder / used_name
            if not limit.exists() or not used.exists():
                continue
            text = limit.read_text().strip()
            if text == "max" or int(text) >= 1 << 60:
                continue
            stat = dict(line.split()[:2] for line in (folder / "memory.stat").read_text().splitlines())
            found.append(int(text) - int(used.read_text()) + int(stat.get(cache, 0)))
    return found


def _own_groups(base: Path, own: Path) -> list[Path]:
    """The folders of this process's control group and its parents: each may have a limit."""
    groups = [base]
    if own.exists():
        for name in {line.split(":", 2)[2].lstrip("/") for line in own.read_text().splitlines()}:
            parts = Path(name).parts
            groups += [base.joinpath(*parts[:n]) for n in range(len(parts), 0, -1)]
    return list(dict.fromkeys(groups))
