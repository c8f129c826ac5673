"""Finds leaks of a test: processes, files in /dev/shm, and unnamed shared memory.

Only what belongs to this process and its descendants counts: other programs, other test runs and other workers of this
run may start processes and make files at the same time.
"""

import contextlib
import gc
import os
import re
import sys
import time
from collections.abc import Iterator
from multiprocessing.heap import BufferWrapper
from pathlib import Path
from typing import Any

import psutil

SHM = Path("/dev/shm")
OWN_NAMES = re.compile(r"pym-|openhsi_shared-")
"""Names of files that `multiprocessing` and this library create there."""
CREATOR_ID = re.compile(r"(?:pym|test)-(\d+)")
"""The process id in the name of such a file: of `multiprocessing`'s own, and of the rings that tests name."""
MARK = "OPENHSI_SHARED_TEST_WORKER"
"""Environment variable that identifies descendants whose parent has died."""
os.environ[MARK] = f"{os.getpid()} {time.time_ns()}"
LEAKS_ON_PURPOSE = re.compile(r"left-by-a-test")
"""Names of files that `tests/test_leaks.py` leaves in a run of its own, which sets `SEES_ALL`."""
SEES_ALL = "OPENHSI_SHARED_TEST_SEES_ALL_LEAKS"


_kept: set[int] = set()
"""Processes that several tests share."""


@contextlib.contextmanager
def what_starts_is_kept() -> Iterator[None]:
    """Children that a fixture of several tests starts within this, and their descendants, are no leak of a test."""
    before = {process.pid for process in psutil.Process().children()}
    yield
    _kept.update({process.pid for process in psutil.Process().children()} - before)


class LeakWatch:
    """Records the state when it is created, and finds what was added since."""

    def __init__(self) -> None:
        self._began_s = time.time()
        self._processes = set(psutil.pids())
        self._files = set(_names())
        self._memory = _unnamed_memory()

    def check(self, timeout_s: float) -> None:
        """Fail if something is left after `timeout_s`."""
        end = time.monotonic() + timeout_s
        for find in (self.processes, self.files, self.memory):
            while (left := find()) and time.monotonic() < end:
                time.sleep(0.01)
            assert not left, f"{find.__name__} left behind: {left}"

    def processes(self) -> list[str]:
        """Live descendants, including orphans, without multiprocessing's resource tracker."""
        found = []
        for pid in set(psutil.pids()) - self._processes:
            with contextlib.suppress(psutil.Error):
                process = psutil.Process(pid)
                command = " ".join(process.cmdline())
                if _is_alive(process) and _is_descendant(process) and "resource_tracker" not in command:
                    found.append(f"{pid}: {command}")
        return found

    def files(self) -> list[str]:
        """Files in /dev/shm that this process or a descendant has created."""
        added = _names() - self._files
        if SEES_ALL not in os.environ:
            added = {name for name in added if not LEAKS_ON_PURPOSE.search(name)}
        return [name for name in added if self._is_own(SHM / name)]

    def memory(self) -> list[str]:
        """Unlinked files in shared memory that are open in this process: arrays and rings that are alive."""
        if _unnamed_memory() - self._memory:
            gc.collect()
        return sorted(_unnamed_memory() - self._memory)

    def _is_own(self, path: Path) -> bool:
        try:
            status = path.stat()
        except FileNotFoundError:
            return False
        for owners in (_creator(path.name), _lock_holders(status.st_ino), _users(path)):
            if owners:
                return any(map(_is_descendant, owners))
        # its creator is dead: only kind, user and time can be compared
        return bool(OWN_NAMES.match(path.name)) and status.st_uid == os.getuid() and status.st_ctime >= self._began_s


def _names() -> set[str]:
    return set(os.listdir(SHM)) if SHM.is_dir() else set()  # noqa: PTH208 - called twice for each test


def _is_alive(process: psutil.Process) -> bool:
    return bool(process.status() != psutil.STATUS_ZOMBIE)


def _is_descendant(process: psutil.Process) -> bool:
    """Whether it is this process, or a direct or orphaned descendant, but not of what is kept."""
    with contextlib.suppress(psutil.Error):
        line = {process.pid, *(parent.pid for parent in process.parents())}
        if os.getpid() in line:
            return not line & _kept
        return bool(process.environ().get(MARK) == os.environ[MARK])
    return False


def _live_processes(pids: set[int]) -> list[psutil.Process]:
    found = []
    for pid in pids:
        with contextlib.suppress(psutil.Error):
            found.append(psutil.Process(pid))
    return [process for process in found if process.is_running()]


def _creator(name: str) -> list[psutil.Process]:
    return _live_processes({int(pid) for pid in CREATOR_ID.findall(name)})


def _lock_holders(inode: int) -> list[psutil.Process]:
    locks = Path("/proc/locks")
    lines = locks.read_text().splitlines() if locks.exists() else []
    return _live_processes({int(line.replace("->", "").split()[4]) for line in lines if f":{inode} " in line})


def _users(path: Path) -> list[psutil.Process]:
    """Processes that have it open or mapped. Not by psutil, which reads `smaps`: a second for a large process."""
    found = set()
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            is_mapped = f" {path}\n".encode() in (process / "maps").read_bytes()
            if is_mapped or any(str(file.readlink()) == str(path) for file in (process / "fd").iterdir()):
                found.add(int(process.name))
    return _live_processes(found)


def _unnamed_memory() -> set[str]:
    """Unlinked files of shared memory that this process has open, as 'inode path'."""
    if sys.platform != "linux":
        return set()
    found = {}
    for descriptor in os.listdir("/proc/self/fd"):  # noqa: PTH208 - called three times for each test
        with contextlib.suppress(OSError):
            place = os.readlink(f"/proc/self/fd/{descriptor}")  # noqa: PTH115 - as above
            if place.endswith("(deleted)") and place.startswith((f"{SHM}/", "/memfd:")):
                found[os.stat(f"/proc/self/fd/{descriptor}").st_ino] = place  # noqa: PTH116 - as above
    for arena in _unused_arenas():
        found.pop(os.fstat(arena.fd).st_ino, None)
    return {f"{inode} {place}" for inode, place in found.items()}


def _unused_arenas() -> list[Any]:
    """Free arenas that `multiprocessing` keeps for the next small array; there is no public API for this."""
    heap = BufferWrapper._heap
    return [arena for arena in heap._arenas if not heap._allocated_blocks.get(arena)]
