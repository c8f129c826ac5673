"""A named file in shared memory, with a lock that shows that its creator is alive.

Unrelated processes attach by the name; a killed process leaves it behind. So the creator holds an `flock`, which the
kernel releases however the creator ends; creating or opening a ring, or detecting a dead creator, removes stale names.
The memory itself is released when the last process that maps it has ended. `multiprocessing.shared_memory` is not used:
before Python 3.13 its resource tracker destroys a segment as soon as any process that attached to it ends.
"""

import contextlib
import mmap
import os
import re
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Self

from openhsi_shared.buffers.huge_pages import make_huge_pages, map_at_huge_pages
from openhsi_shared.buffers.memory import require_memory
from openhsi_shared.errors import ArgumentError, MemoryShortage, RingExists, RingNotFound
from openhsi_shared.standard_streams import fill_standard_descriptors

if sys.platform != "win32":
    import fcntl

__all__ = ["RingFile", "remove_stale"]

SHM = Path("/dev/shm")
MAX_NAME_LENGTH = 100


def _folder() -> Path:
    return SHM if SHM.is_dir() else Path(tempfile.gettempdir())


def _prefix() -> str:
    return f"openhsi_shared-{os.getuid() if hasattr(os, 'getuid') else os.getlogin()}-"


def _path_of(name: str) -> Path:
    if not isinstance(name, str) or not re.fullmatch(rf"\w[\w.-]{{0,{MAX_NAME_LENGTH - 1}}}", name, re.ASCII):
        raise ArgumentError(
            f"the name of a ring must be 1 to {MAX_NAME_LENGTH} letters, digits and _.- (none of the last two first), "
            f"got {name!r}"
        )
    return _folder() / f"{_prefix()}{name}.ring"


def remove_stale() -> None:
    """Remove stale ring files of this user, whose creators are dead."""
    for path in _folder().glob(f"{_prefix()}*.ring"):
        _remove_if_dead(path)


def _remove_if_dead(path: Path) -> None:
    with contextlib.suppress(OSError):  # removed meanwhile; on Windows: still mapped
        if sys.platform == "win32":
            path.unlink()
            return
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if _is_at(path, descriptor):  # not a newer file of the same name
                path.unlink()
        finally:
            os.close(descriptor)


def _is_at(path: Path, descriptor: int) -> bool:
    try:
        return os.path.samestat(path.stat(follow_symlinks=False), os.fstat(descriptor))
    except FileNotFoundError:
        return False


class RingFile:
    """The mapped file: writeable in the process that created it, read-only in all others."""

    def __init__(self, name: str, descriptor: int, held: int | None) -> None:
        """Use `create`, `open` or `adopt`. `held` is the creator's writeable descriptor, which has the lock."""
        self.name = name
        self.descriptor = descriptor
        """Read-only: may be passed to other processes."""
        self._held = held
        self._creator_id = os.getpid() if held is not None else None
        size = os.fstat(descriptor).st_size
        self.mapped: Any = _map(descriptor, held, size)
        """The whole file as bytes; None once it is closed."""

    @classmethod
    def create(cls, name: str, n_bytes: int) -> Self:
        """Create it, zeroed. RingExists if a live process has one of that name; MemoryShortage if it does not fit."""
        remove_stale()
        path = _path_of(name)
        require_memory(n_bytes, f"the ring {name!r}")
        fill_standard_descriptors()
        with contextlib.ExitStack() as undo:
            held = _create(path)
            undo.callback(os.close, held)
            undo.callback(path.unlink)
            try:
                os.truncate(held, n_bytes)
                make_huge_pages(held, 0, n_bytes)
                if hasattr(os, "posix_fallocate"):
                    os.posix_fallocate(held, 0, n_bytes)
            except OSError as error:
                raise MemoryShortage(
                    f"the ring {name!r}: {n_bytes:,} bytes are not available in {path.parent}: {error.strerror}"
                ) from error
            descriptor = os.open(path, os.O_RDONLY)
            undo.callback(os.close, descriptor)
            created = cls(name, descriptor, held)
            undo.pop_all()
        return created

    @classmethod
    def open(cls, name: str) -> Self:
        """Attach to the file of another process. RingNotFound if it does not exist, or its creator is dead."""
        remove_stale()
        path = _path_of(name)
        try:
            descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0))
        except FileNotFoundError as error:
            raise RingNotFound(
                f"there is no ring {name!r} (no {path}): has its creator ended, or does another user own it?"
            ) from error
        return cls.adopt(name, descriptor)

    @classmethod
    def adopt(cls, name: str, descriptor: int) -> Self:
        """Attach to the file of an open descriptor, which `close` closes."""
        with contextlib.ExitStack() as undo:
            undo.callback(os.close, descriptor)
            if os.fstat(descriptor).st_size == 0:  # it is just being created
                raise RingNotFound(f"the ring {name!r} is not initialised yet: try again")
            adopted = cls(name, descriptor, None)
            undo.pop_all()
        return adopted

    @property
    def is_creator(self) -> bool:
        """Whether this process created it, and has not closed it; False in a fork."""
        return self._held is not None and self._creator_id == os.getpid()

    def is_creator_alive(self) -> bool:
        """Whether the creator still holds the lock; if not, its name is removed. Without `flock`, always True."""
        if self.is_creator or sys.platform == "win32":
            return True
        with _shared_lock(self.descriptor) as is_free:
            if not is_free:
                return True
        _remove_if_dead(_path_of(self.name))
        return False

    def close(self) -> None:
        """Close it; in the process that created it, remove its name. Existing views stay valid. Idempotent."""
        if self.mapped is None:
            return
        self.mapped = None  # unmapped with its last view: closing it before would be a segfault
        if self.is_creator and _is_at(path := _path_of(self.name), self.descriptor):
            with contextlib.suppress(FileNotFoundError, PermissionError):  # Windows: removed by a later call
                path.unlink()
        os.close(self.descriptor)
        if self._held is not None:
            os.close(self._held)
            self._held = None


def _map(descriptor: int, held: int | None, size: int) -> Any:
    if held is None:
        return mmap.mmap(descriptor, size, access=mmap.ACCESS_READ)
    mapped = map_at_huge_pages(held, size)
    if mapped is not None:
        return mapped
    populate = getattr(mmap, "MAP_POPULATE", None)  # Linux: no page fault during a put
    return mmap.mmap(held, size) if populate is None else mmap.mmap(held, size, flags=mmap.MAP_SHARED | populate)


def _create(path: Path) -> int:
    """Return the descriptor of a new file, locked."""
    while True:
        try:
            held = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
        except FileExistsError as error:
            raise RingExists(
                f"a live process has a ring {path.stem.removeprefix(_prefix())!r} ({path}): choose another name, "
                "or attach to it with create=False"
            ) from error
        if sys.platform == "win32":
            return held
        fcntl.flock(held, fcntl.LOCK_EX)  # remove_stale may hold it briefly
        if _is_at(path, held):
            return held
        os.close(held)  # it was removed before it was locked


@contextlib.contextmanager
def _shared_lock(descriptor: int) -> Iterator[bool]:
    """Whether a shared lock was acquired, which means that no creator holds the file."""
    if sys.platform == "win32":
        yield False
        return
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        yield False
        return
    try:
        yield True
    finally:
        fcntl.flock(descriptor, fcntl.LOCK_UN)
