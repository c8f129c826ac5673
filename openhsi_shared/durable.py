"""A file that exists under its name only when it is whole and on the disk.

It is written under a temporary name beside its place, held with a lock that says that its writer lives, synced once,
and renamed to a name that nobody has. Large writes go past the page cache where the file system can do that: the cache
would make the camera's process wait for memory. What fails is told with its true errno, and leaves nothing behind.
"""

import contextlib
import ctypes
import errno
import logging
import os
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Literal, Self

from openhsi_shared.errors import SaveError
from openhsi_shared.locking import is_open_in, let_readers_in, lock

__all__ = ["PAGE", "PART", "Durability", "PartFile", "make_folder", "save_error"]

logger = logging.getLogger(__name__)

PAGE = 4096
"""Where direct writes begin and end, in memory and in the file."""

PART = re.compile(r"\.(?P<name>.+)\.(?P<process>\d+)(-\d+)?\.part")
"""A temporary name: what the file shall be called, and the process that writes it."""

MOST_NAMES = 1000
"""Temporary names that are tried for a file."""
LARGEST_WRITE = 64 << 20
AT_FDCWD = -100
RENAME_NOREPLACE = 1

Durability = Literal["fsync", "rename"]
""""fsync": on the disk when published. "rename": whole for every reader, but a power cut may still take it."""


class PartFile:
    """A file while it is being written, in `directory`, under a hidden temporary name made from `name`.

    Use it as a context manager: what is not published by the end of the block is removed, and its space given back.
    Every method raises SaveError with the true errno.
    """

    path: Path
    """The temporary name, `.{name}.{pid}.part`; after `publish` the final one."""

    _direct_fd: int | None = None
    _is_published = _is_synced = _is_closed = _is_adopted = False

    @staticmethod
    def adopt(path: Path) -> "PartFile | None":
        """Take over the leftover of a writer that is dead; None if it lives, or somebody else has taken it over.

        Who lives is known by the lock on the file, not by the process id in its name, which another process may have by
        now; but an empty one may be about to be locked. A leftover that is not published stays where it is.
        """
        path = Path(path)
        try:
            fd = os.open(path, os.O_RDWR | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0))
        except OSError as error:
            raise save_error(error, path) from error
        try:
            is_left = lock(fd, path) and not _is_new(fd, path)
        except OSError as error:
            os.close(fd)
            raise save_error(error, path) from error
        if not is_left:
            os.close(fd)
            return None
        let_readers_in(fd)  # whoever checks it opens it, too
        return _AdoptedPart(fd, path)

    def __init__(self, directory: Path, name: str) -> None:
        flags = os.O_CREAT | os.O_EXCL | os.O_RDWR | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)
        for attempt in range(MOST_NAMES):
            again = f"-{attempt}" if attempt else ""  # a dead process may have had our id
            self.path = Path(directory) / f".{name}.{os.getpid()}{again}.part"
            try:
                self._fd = os.open(self.path, flags, 0o666)
            except FileExistsError:
                continue
            except OSError as error:
                raise save_error(error, self.path) from error
            try:
                if lock(self._fd, self.path):
                    break
            except OSError as error:
                self.close()
                raise save_error(error, self.path) from error
            self._remove()  # whoever looks for leftovers was faster: another name is nobody's yet
            _close(self._fd)
        else:
            raise save_error(OSError(errno.EBUSY, f"all of {MOST_NAMES} temporary names are taken"), self.path)
        with contextlib.suppress(OSError):  # many file systems have no direct writes: then the page cache takes all
            self._direct_fd = os.open(self.path, os.O_WRONLY | os.O_DIRECT) if hasattr(os, "O_DIRECT") else None

    @property
    def has_name(self) -> bool:
        """Whether `path` is its name, and not gone, or another file's by now."""
        try:
            return os.path.samestat(os.fstat(self._fd), self.path.stat())
        except OSError:
            return False

    @property
    def is_direct(self) -> bool:
        """Whether writes that lie at whole pages go past the page cache."""
        return self._direct_fd is not None

    def reserve(self, n_bytes: int) -> None:
        """Take `n_bytes` of the disk now, so that a full disk shows before the work and not at its end."""
        if n_bytes > 0:
            with self._errors():
                _allocate(self._fd, n_bytes)

    def write_at(self, offset: int, data: memoryview) -> None:
        """Write all of `data` (contiguous bytes) at `offset`. Blocks until the system has taken it.

        Whole pages go to the disk directly if `data` lies in memory as it will lie in the file, modulo the page.
        """
        data = data.cast("B")
        is_aligned = self.is_direct and (_address(data) - offset) % PAGE == 0
        with self._errors():
            while data:
                n = self._write_some(offset, data[:LARGEST_WRITE], is_aligned)
                offset += n
                data = data[n:]

    def _write_some(self, offset: int, data: memoryview, is_aligned: bool) -> int:
        before_page = -offset % PAGE
        if is_aligned and self._direct_fd is not None and len(data) - before_page >= PAGE:
            if before_page:
                data = data[:before_page]
            else:
                try:
                    return _written(_pwrite(self._direct_fd, data[: len(data) // PAGE * PAGE], offset))
                except OSError as error:
                    if error.errno != errno.EINVAL:
                        raise
                    self._close_direct()  # opened, but not willing: the page cache from now on
        return _written(_pwrite(self._fd, data, offset))

    def resize(self, n_bytes: int) -> None:
        """Make the file `n_bytes` long."""
        with self._errors():
            os.ftruncate(self._fd, n_bytes)

    def sync(self) -> None:
        """Wait until all of it is on the disk. Once only: a second fsync after one that failed may report success."""
        if not self._is_synced:
            self._is_synced = True
            with self._errors():
                os.fsync(self._fd)

    def publish(
        self,
        stem: str,
        ending: str,
        *,
        durability: Durability = "fsync",
        is_same: Callable[[Path], bool] | None = None,
    ) -> Path:
        """Sync, then give the file the first free name of `stem`, `stem-1`, `stem-2`, ... and return its path.

        Nothing is ever overwritten. If `is_same` says of a taken name that it is this very cube, published before its
        writer died, ours is dropped and that path returned. SaveError after the rename (the directory could not be
        synced) leaves the file where it is: whole, and found again by `is_same`.
        """
        if durability == "fsync":
            self.sync()
        let_readers_in(self._fd)
        directory = self.path.parent
        count = -1
        while True:
            count += 1
            target = directory / f"{stem}{f'-{count}' if count else ''}{ending}"
            try:
                _rename_to_new(self.path, target)
            except FileExistsError:
                if is_same is None or not is_same(target):
                    continue
                self._is_adopted = False  # not needed any more, whoever began it
                self.close()
            except OSError as error:
                raise save_error(error, target) from error
            else:
                self._is_published = True
                self.path = target
            with self._errors():
                if durability == "fsync":
                    _sync_directory(directory)
                self.close()
            return target

    def close(self) -> None:
        """Close the file, and remove it unless it is published; calling it twice is once."""
        if self._is_closed:
            return
        self._is_closed = True
        open_ones = [fd for fd in (self._direct_fd, self._fd) if fd is not None]
        self._direct_fd = None
        try:
            if not self._is_published and not self._is_adopted:
                self._remove()
        finally:
            errors = [error for fd in open_ones if (error := _close(fd))]  # each of them, or the lock would be held
        if errors and self._is_published:  # else there is an error already, which is the true one
            raise errors[0]

    def _remove(self) -> None:
        try:
            os.ftruncate(self._fd, 0)  # first, else whoever has the file open would keep its space
        except OSError as error:
            logger.warning("%s could not be emptied: %s", self.path, error)
        _unlink_or_warn(self.path)

    def _close_direct(self) -> None:
        fd, self._direct_fd = self._direct_fd, None
        if fd is not None:
            os.close(fd)

    @contextlib.contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise save_error(error, self.path) from error

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()


class _AdoptedPart(PartFile):
    """The leftover of a writer that is dead."""

    _is_adopted = True

    def __init__(self, fd: int, path: Path) -> None:
        self._fd, self.path = fd, path


def _is_new(fd: int, path: Path) -> bool:
    """Whether the writer of a part file has just made it, and comes too late to lock it."""
    match = PART.fullmatch(path.name)
    return match is not None and os.fstat(fd).st_size == 0 and is_open_in(int(match["process"]), path)


def make_folder(parent: Path, name: str, *, durability: Durability = "fsync") -> Path:
    """Make the folder `name` in `parent`, which must exist, or find it there; with "fsync" a new one is on the disk."""
    folder = Path(parent) / name
    try:
        try:
            folder.mkdir()
        except FileExistsError:
            if not folder.is_dir():
                raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(folder)) from None
            with os.scandir(folder) as entries:
                is_new = next(entries, None) is None  # who made it may have died, or failed, before it was synced
        else:
            is_new = True
        if is_new and durability == "fsync":
            _sync_directory(folder.parent)
    except OSError as error:
        raise save_error(error, folder) from error
    return folder


def save_error(error: OSError, path: Path) -> SaveError:
    """Say the same as `error`, as a SaveError with a path and an errno."""
    if isinstance(error, SaveError):
        return error
    number = error.errno or errno.EIO
    said = SaveError(number, error.strerror or str(error) or os.strerror(number), str(path))
    said.__cause__ = error
    return said


def _close(fd: int) -> OSError | None:
    """Close, and return what the system says to that; the descriptor is free in any case."""
    try:
        os.close(fd)
    except OSError as error:
        logger.warning("a file could not be closed: %s", error)
        return error
    return None


def _pwrite(fd: int, data: memoryview, offset: int) -> int:
    if hasattr(os, "pwrite"):
        return os.pwrite(fd, data, offset)
    os.lseek(fd, offset, os.SEEK_SET)  # Windows; nobody else has the file
    return os.write(fd, data)


def _written(n: int) -> int:
    if n <= 0:
        raise OSError(errno.EIO, "the system took no byte of what was written")
    return n


def _address(data: memoryview) -> int:
    """Where `data` lies in memory; an odd number, which is never aligned, where that cannot be known (read-only)."""
    if data.readonly or not data:
        return 1
    return ctypes.addressof(ctypes.c_char.from_buffer(data))


def _libc(name: str) -> Any:
    return getattr(ctypes.CDLL(None, use_errno=True), name, None) if sys.platform == "linux" else None


def _allocate(fd: int, n_bytes: int) -> None:
    """Allocate blocks. Not by `posix_fallocate`, which writes them one by one where the file system cannot do it."""
    function = _libc("fallocate64") or _libc("fallocate")
    if function is None:
        return
    function.argtypes = (ctypes.c_int, ctypes.c_int, ctypes.c_int64, ctypes.c_int64)
    while function(fd, 0, 0, n_bytes) != 0:
        number = ctypes.get_errno()
        if number in (errno.EOPNOTSUPP, errno.ENOSYS):
            return
        if number != errno.EINTR:
            raise OSError(number, os.strerror(number))


def _rename_to_new(source: Path, target: Path) -> None:
    """Rename, or raise FileExistsError; one of several who try at once wins."""
    function = _libc("renameat2")
    if function is not None:
        if function(AT_FDCWD, os.fsencode(source), AT_FDCWD, os.fsencode(target), RENAME_NOREPLACE) == 0:
            return
        number = ctypes.get_errno()
        if number not in (errno.EINVAL, errno.ENOSYS):
            raise OSError(number, os.strerror(number), str(target))
    _link_to_new(source, target)


def _link_to_new(source: Path, target: Path) -> None:
    """Rename where the system knows no renameat2: by a hard link, or else by reserving the name first."""
    if sys.platform == "win32":
        source.rename(target)  # refuses a taken name by itself
        return
    try:
        os.link(source, target)
    except OSError as error:
        if error.errno not in (errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK):
            raise
        _rename_reserved(source, target)
    else:
        _unlink_or_warn(source)  # published it is: to fail now would empty what has the name


def _rename_reserved(source: Path, target: Path) -> None:
    """Rename where neither can be had: among us, who has the reservation has the name.

    Not by taking the name itself first: who died then would leave an empty file under it.
    """
    reservation = target.with_name(f".{target.name}.0.part")  # told by `recover`, should it be left behind
    os.close(os.open(reservation, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666))
    try:
        if os.path.lexists(target):
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(target))
        source.rename(target)
    finally:
        _unlink_or_warn(reservation)


def _unlink_or_warn(path: Path) -> None:
    try:
        path.unlink()
    except OSError as error:
        logger.warning("%s could not be removed: %s", path, error)


def _sync_directory(directory: Path) -> None:
    if sys.platform == "win32":
        return  # has no such thing: the file system's journal keeps names
    fd = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(fd)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):  # some network file systems cannot sync a directory
            raise
    finally:
        os.close(fd)
