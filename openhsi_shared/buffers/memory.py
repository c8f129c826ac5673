"""Shared memory without a name or a lock, made only if it fits.

`multiprocessing.Array(..., lock=False)` lives in a file of /dev/shm that is unlinked at birth: whoever is killed,
nothing is left behind, and no dead process holds a lock. Two traps are closed here. If /dev/shm is too small,
multiprocessing takes a file in the temp directory instead, which is as slow as the disk; and memory that a container
may not have ends in a SIGBUS or a SIGKILL. So we ask first, and look afterwards.
"""

import ctypes
import os
import sys
from multiprocessing.heap import Arena
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from openhsi_shared.errors import ArgumentError, MemoryShortage
from openhsi_shared.processes.spawning import SPAWN

__all__ = ["PAGE", "aligned_bytes", "arena_of", "free_memory", "require_memory", "shared_array"]

PAGE = 4096
RESERVE = 64 << 20
"""Left to everybody else, in bytes, whatever we ask for."""
SHM = Path("/dev/shm")


def shared_array(c_type: Any, n_items: int, what: str) -> Any:
    """Make a zeroed `SPAWN.Array(c_type, n_items, lock=False)`. Blocks while its pages are made (2 s for 1 GB).

    `what` names it in the MemoryShortage that is raised when it does not fit.
    """
    if not isinstance(n_items, int | np.integer) or n_items < 1:
        raise ArgumentError(f"{what}: the number of items must be a whole number > 0, got {n_items!r}")
    size = ctypes.sizeof(c_type if not isinstance(c_type, str) else _C_TYPES[c_type]) * int(n_items)
    require_memory(size, what)
    array = SPAWN.Array(c_type, int(n_items), lock=False)
    arena, _ = arena_of(array)
    if sys.platform == "linux" and not str(Path(f"/proc/self/fd/{arena.fd}").readlink()).startswith(str(SHM)):
        raise MemoryShortage(
            f"{what}: {size:,} bytes came to lie on a disk, not in {SHM}: is it mounted, writeable, large enough?"
        )
    return array


_C_TYPES = {"B": ctypes.c_uint8, "q": ctypes.c_int64}


def arena_of(array: Any) -> tuple[Arena, int]:
    """Return the mapped file that a shared array lives in, and where in it the array begins, in bytes.

    The one private attribute of `multiprocessing` that we need: there is no public way to the descriptor.
    """
    (arena, start, _), _ = array._wrapper._state
    return arena, start


def aligned_bytes(array: Any, n_bytes: int) -> NDArray[np.uint8]:
    """View `n_bytes` of a shared array of bytes from its first page boundary on; it must be `PAGE` larger than that.

    Every process finds the same boundary, because mappings begin at pages.
    """
    base = np.frombuffer(array, np.uint8)
    begin = -base.ctypes.data % PAGE
    return base[begin : begin + n_bytes]


def require_memory(n_bytes: int, what: str) -> None:
    """Raise MemoryShortage, with figures and remedy, unless `n_bytes` of shared memory are there to be taken."""
    for place, free, remedy in free_memory():
        if n_bytes + RESERVE > free:
            raise MemoryShortage(
                f"{what} needs {n_bytes / 1e6:,.0f} MB, but {place} has {max(free, 0) / 1e6:,.0f} MB free "
                f"({RESERVE / 1e6:.0f} MB are left to others): use fewer lines or slots, or {remedy}"
            )


def free_memory() -> list[tuple[str, int, str]]:
    """List what limits shared memory here: (place, free bytes, remedy)."""
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


def _cgroup_free(root: Path = Path("/sys/fs/cgroup")) -> list[int]:
    """Free bytes under the limits of our control group, version 2 or 1; page cache counts as free."""
    found = []
    for limit_name, used_name, stat_name, cache in (
        ("memory.max", "memory.current", "memory.stat", "inactive_file"),
        ("memory/memory.limit_in_bytes", "memory/memory.usage_in_bytes", "memory/memory.stat", "total_inactive_file"),
    ):
        for folder in _own_groups(root):
            limit, used = folder / limit_name, folder / used_name
            if not limit.exists() or not used.exists():
                continue
            text = limit.read_text().strip()
            if text == "max" or int(text) >= 1 << 60:
                continue
            stat = dict(line.split()[:2] for line in (folder / stat_name).read_text().splitlines())
            found.append(int(text) - int(used.read_text()) + int(stat.get(cache, 0)))
    return found


def _own_groups(root: Path) -> list[Path]:
    """Our control group and all above it: each may have a limit."""
    own = Path("/proc/self/cgroup")
    groups = [root]
    if own.exists():
        for line in own.read_text().splitlines():
            path = root / line.split(":", 2)[2].lstrip("/")
            groups += [folder for folder in (path, *path.parents) if root in folder.parents]
    return list(dict.fromkeys(groups))
