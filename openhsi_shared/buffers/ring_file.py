"""A file in shared memory that has a name, and a lock which says that its maker lives.

A name is what a stranger can attach by, and what a killed process leaves behind. So the maker holds the file with
`flock`, which the kernel lets go however the maker ends; whoever makes or opens a file here, or notices that a maker
has gone, takes away the names of the dead. The memory itself is free when the last process that looks has ended. This
is done without `multiprocessing.shared_memory`: before Python 3.13 its resource tracker destroys a segment as soon as
any process that attached to it ends.
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

if sys.platform != "win32":
    import fcntl

__all__ = ["RingFile", "sweep"]

SHM = Path("/dev/shm")
LONGEST_NAME = 100


def _folder() -> Path:
    return SHM if SHM.is_dir() else Path(tempfile.gettempdir())


def _prefix() -> str:
    return f"openhsi_shared-{os.getuid() if hasattr(os, 'getuid') else os.getlogin()}-"


def _path_of(name: str) -> Path:
    if not isinstance(name, str) or not re.fullmatch(rf"\w[\w.-]{{0,{LONGEST_NAME - 1}}}", name, re.ASCII):
        raise ArgumentError(
            f"the name of a ring must be 1 to {LONGEST_NAME} letters, digits and _.- (none of the last two first), "
            f"got {name!r}"
        )
    return _folder() / f"{_prefix()}{name}.ring"


def sweep() -> None:
    """Take away the names that makers left behind who are dead; those of this user."""
    for path in _folder().glob(f"{_prefix()}*.ring"):
        _remove_if_dead(path)


def _remove_if_dead(path: Path) -> None:
    with contextlib.suppress(OSError):  # gone meanwhile; on Windows: still mapped
        if sys.platform == "win32":
            path.unlink()
            return
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if _is_at(path, descriptor):  # not a newer one of the same name
                path.unlink()
        finally:
            os.close(descriptor)


def _is_at(path: Path, descriptor: int) -> bool:
    try:
        return os.path.samestat(path.stat(follow_symlinks=False), os.fstat(descriptor))
    except FileNotFoundError:
        return False


class RingFile:
    """The file, mapped: writeable for its maker, read-only for everybody else."""

    def __init__(self, name: str, descriptor: int, held: int | None) -> None:
        """Use `make`, `open` or `adopt`. `held` is the descriptor that has the maker's lock, and may write."""
        self.name = name
        self.descriptor = descriptor
        """For reading only: this one may be handed to others."""
        self._held = held
        self._maker_id = os.getpid() if held is not None else None
        size = os.fstat(descriptor).st_size
        self.mapped: Any = _map(descriptor, held, size)
        """All of it, as bytes; None when it is closed."""

    @classmethod
    def make(cls, name: str, n_bytes: int) -> Self:
        """Make it, zeroed. RingExists if a living process has one of that name; MemoryShortage if it does not fit."""
        sweep()
        path = _path_of(name)
        require_memory(n_bytes, f"the ring {name!r}")
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
                    f"the ring {name!r}: {n_bytes:,} bytes are not there in {path.parent}: {error.strerror}"
                ) from error
            descriptor = os.open(path, os.O_RDONLY)
            undo.callback(os.close, descriptor)
            made = cls(name, descriptor, held)
            undo.pop_all()
        return made

    @classmethod
    def open(cls, name: str) -> Self:
        """Attach to that of another process. RingNotFound if there is none, or its maker is dead."""
        sweep()
        path = _path_of(name)
        try:
            descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0))
        except FileNotFoundError as error:
            raise RingNotFound(
                f"there is no ring {name!r} (no {path}): has its maker ended, or does another user own it?"
            ) from error
        return cls.adopt(name, descriptor)

    @classmethod
    def adopt(cls, name: str, descriptor: int) -> Self:
        """Attach to that of an open descriptor, which is closed by `close`."""
        with contextlib.ExitStack() as undo:
            undo.callback(os.close, descriptor)
            if os.fstat(descriptor).st_size == 0:  # its maker is just at it
                raise RingNotFound(f"the ring {name!r} is not made yet: try again")
            adopted = cls(name, descriptor, None)
            undo.pop_all()
        return adopted

    @property
    def is_mine(self) -> bool:
        """Whether this process made it, and has not closed it; a fork of it did not."""
        return self._held is not None and self._maker_id == os.getpid()

    def maker_lives(self) -> bool:
        """Whether it is still held; if not, its name is taken away. Where there are no such locks, always true."""
        if self.is_mine or sys.platform == "win32":
            return True
        with _shared_lock(self.descriptor) as is_free:
            if not is_free:
                return True
        _remove_if_dead(_path_of(self.name))
        return False

    def close(self) -> None:
        """Let it go, and if it is ours, take its name away. Who still looks at the memory may go on; twice is once."""
        if self.mapped is None:
            return
        self.mapped = None  # unmapped when the last view of it is gone: closing it under a view would be a segfault
        if self.is_mine and _is_at(path := _path_of(self.name), self.descriptor):
            with contextlib.suppress(FileNotFoundError, PermissionError):  # Windows: the last one sweeps
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
    populate = getattr(mmap, "MAP_POPULATE", None)  # Linux: no page is made during a put
    return mmap.mmap(held, size) if populate is None else mmap.mmap(held, size, flags=mmap.MAP_SHARED | populate)


def _create(path: Path) -> int:
    """Return the descriptor of a new file that is held."""
    while True:
        try:
            held = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
        except FileExistsError as error:
            raise RingExists(
                f"a living process has a ring {path.stem.removeprefix(_prefix())!r} ({path}): choose another name, "
                "or attach to it with create=False"
            ) from error
        if sys.platform == "win32":
            return held
        fcntl.flock(held, fcntl.LOCK_EX)  # a sweeper may have it for a moment
        if _is_at(path, held):
            return held
        os.close(held)  # it was swept before it was held


@contextlib.contextmanager
def _shared_lock(descriptor: int) -> Iterator[bool]:
    """Whether a shared lock could be had, that is: nobody holds the file."""
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
