"""A file that gets its final name only when it is complete and on the disk.

It is written under a temporary name in the same directory, locked while its writer is alive, synced once, and renamed
to a name that is free. Large writes bypass the page cache (direct I/O) where the file system supports it: the cache
would make the camera's process wait for memory. Failures are raised with the system's errno, and leave no file behind.
"""

import contextlib
import errno
import os
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Literal, Self

from openhsi_shared.errors import SaveError
from openhsi_shared.file_calls import address_of, allocate, read_at, write_at
from openhsi_shared.locking import is_open_in, lock, share_lock
from openhsi_shared.loggers import safe_logger
from openhsi_shared.renaming import rename_to_new, unlink_or_warn
from openhsi_shared.standard_streams import fill_standard_descriptors

__all__ = ["PAGE", "PART", "Durability", "PartFile", "make_folder", "save_error", "sync_directory", "sync_published"]

logger = safe_logger(__name__)

PAGE = 4096
"""Alignment of direct writes, in memory and in the file."""

PART = re.compile(r"\.(?P<name>.+)\.(?P<process>\d+)(-\d+)?\.part")
"""A temporary name: the final name, and the id of the process that writes it."""

MAX_NAMES = 1000
"""Maximum number of temporary names tried for a file."""
MAX_WRITE_BYTES = 64 << 20
MAX_SYNCS = 3
"""Maximum number of times that a directory is synced until that succeeds."""

Durability = Literal["fsync", "rename"]
""""fsync": on the disk when published. "rename": complete for every reader, but a power cut may still lose it."""


class PartFile:
    """A file that is being written, in `directory`, under a hidden temporary name derived from `name`.

    Use it as a context manager: a file not published by the end of the block is removed, and its space released. Every
    method raises SaveError with the system's errno.
    """

    path: Path
    """The temporary name, `.{name}.{pid}.part`; after `publish` the final one."""

    _direct_fd: int | None = None
    _is_published = _is_synced = _is_closed = _is_kept = False

    @staticmethod
    def adopt(path: Path) -> "PartFile | None":
        """Take over the leftover file of a dead writer; None if it is alive, or another process has taken it over.

        The lock on the file shows whether its writer is alive, not the process id in its name, which may have been
        reused; but an empty file may be about to be locked, and without locks only the name is left. A leftover that is
        not published is kept.
        """
        path = Path(path)
        fill_standard_descriptors()
        try:
            fd = os.open(
                path, os.O_RDWR | sum(getattr(os, name, 0) for name in ("O_CLOEXEC", "O_BINARY", "O_NOFOLLOW"))
            )
        except OSError as error:
            raise save_error(error, path) from error
        try:
            is_locked = lock(fd, path)
            is_left = is_locked is not False and not _is_open_by_name(fd, path, can_be_locked=is_locked is not None)
        except OSError as error:
            os.close(fd)
            raise save_error(error, path) from error
        if not is_left:
            os.close(fd)
            return None
        share_lock(fd)  # a process that checks the file opens it, too
        return _AdoptedPart(fd, path)

    def __init__(self, directory: Path, name: str) -> None:
        fill_standard_descriptors()
        flags = os.O_CREAT | os.O_EXCL | os.O_RDWR | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)
        for attempt in range(MAX_NAMES):
            suffix = f"-{attempt}" if attempt else ""  # a dead process may have had the same id
            self.path = Path(directory) / f".{name}.{os.getpid()}{suffix}.part"
            try:
                self._fd = os.open(self.path, flags, 0o666)
            except FileExistsError:
                continue
            except OSError as error:
                raise save_error(error, self.path) from error
            try:
                if lock(self._fd, self.path) is not False:
                    break
            except OSError as error:
                self.close()
                raise save_error(error, self.path) from error
            self._remove()  # a search for leftovers took the lock first: try another name
            _close(self._fd)
        else:
            raise save_error(OSError(errno.EBUSY, f"all of {MAX_NAMES} temporary names are in use"), self.path)
        self._open_direct()

    def _open_direct(self) -> None:
        with contextlib.suppress(OSError):  # not supported by many file systems: then all goes to the page cache
            self._direct_fd = os.open(self.path, os.O_WRONLY | os.O_DIRECT) if hasattr(os, "O_DIRECT") else None

    @property
    def has_name(self) -> bool:
        """Whether `path` is still the name of this file: not removed, nor of another file."""
        try:
            return os.path.samestat(os.fstat(self._fd), self.path.stat())
        except OSError:
            return False

    @property
    def is_published(self) -> bool:
        """Whether it has its final name, durable or not."""
        return self._is_published

    @property
    def is_direct(self) -> bool:
        """Whether page-aligned writes bypass the page cache."""
        return self._direct_fd is not None

    def reserve(self, n_bytes: int) -> None:
        """Allocate `n_bytes` on the disk now, so that a full disk is reported before the work, not at its end."""
        if n_bytes > 0:
            with self._errors():
                allocate(self._fd, n_bytes)

    def write_at(self, offset: int, data: memoryview) -> None:
        """Write all of `data` (contiguous bytes) at `offset`. Blocks until the system has accepted it.

        Whole pages are written directly if `data` has the same alignment in memory as in the file, modulo the page.
        """
        data = data.cast("B")
        is_aligned = self.is_direct and (address_of(data) - offset) % PAGE == 0
        with self._errors():
            while data:
                n = self._write_some(offset, data[:MAX_WRITE_BYTES], is_aligned)
                offset += n
                data = data[n:]

    def _write_some(self, offset: int, data: memoryview, is_aligned: bool) -> int:
        before_page = -offset % PAGE
        if is_aligned and self._direct_fd is not None and len(data) - before_page >= PAGE:
            if before_page:
                data = data[:before_page]
            else:
                try:
                    return _written(write_at(self._direct_fd, data[: len(data) // PAGE * PAGE], offset))
                except OSError as error:
                    if error.errno != errno.EINVAL:
                        raise
                    self._close_direct()  # opened, but direct writes are refused: use the page cache from now on
        return _written(write_at(self._fd, data, offset))

    def read_at(self, offset: int, n_bytes: int) -> bytes:
        """Read what is stored at `offset`: fewer bytes at the end of the file. By one thread at a time."""
        with self._errors():
            return read_at(self._fd, n_bytes, offset)

    def resize(self, n_bytes: int) -> None:
        """Set the length of the file to `n_bytes`."""
        with self._errors():
            os.ftruncate(self._fd, n_bytes)

    def sync(self) -> None:
        """Wait until the file is on the disk. Once only: a second fsync after one that failed may report success."""
        if not self._is_synced:
            self._is_synced = True
            with self._errors():
                os.fsync(self._fd)

    def share(self) -> None:
        """Let other programs that lock it open it for reading, before it is published; it still counts as written."""
        share_lock(self._fd)

    def publish(
        self,
        stem: str,
        ending: str,
        *,
        durability: Durability = "fsync",
        is_same: Callable[[Path], bool] | None = None,
    ) -> Path:
        """Sync, then give the file the first free name of `stem`, `stem-1`, `stem-2`, ... and return its path.

        Never overwrites a file. If `is_same` returns True for an existing file (this same cube, published before its
        writer died), this file is discarded and that path returned. SaveError after the rename (the directory cannot be
        synced) leaves the file in place: `is_published`, and found again by `is_same`.
        """
        if durability == "fsync":
            self.sync()
        share_lock(self._fd)
        directory = self.path.parent
        count = -1
        while True:
            count += 1
            target = directory / f"{stem}{f'-{count}' if count else ''}{ending}"
            try:
                rename_to_new(self.path, target)
            except FileExistsError:
                if is_same is None or not is_same(target):
                    continue
                self.remove()
            except OSError as error:
                raise save_error(error, target) from error
            self._end_published(target, durability)
            return target

    def publish_as(self, target: Path, *, durability: Durability = "fsync") -> None:
        """Sync, then give the file the name `target`, in its folder. SaveError (EEXIST) if it is taken; as `publish`.

        A file whose name was taken keeps its temporary one.
        """
        if durability == "fsync":
            self.sync()
        share_lock(self._fd)
        try:
            rename_to_new(self.path, target)
        except OSError as error:
            raise save_error(error, target) from error
        self._end_published(target, durability)

    def _end_published(self, target: Path, durability: Durability) -> None:
        self._is_published = True
        self.path = target
        with self._errors():
            if durability == "fsync":
                sync_directory(target.parent)
            self.close()

    def remove(self) -> None:
        """Close the file and remove it, also if it was adopted."""
        self._is_kept = False
        self.close()

    def keep(self) -> None:
        """Close the file; it keeps its temporary name, under which it can be adopted."""
        self._is_kept = True
        self.close()

    def close(self) -> None:
        """Close the file, and remove it unless it is published. Idempotent."""
        if self._is_closed:
            return
        self._is_closed = True
        descriptors = [fd for fd in (self._direct_fd, self._fd) if fd is not None]
        self._direct_fd = None
        try:
            if not self._is_published and not self._is_kept:
                self._remove()
        finally:
            errors = [error for fd in descriptors if (error := _close(fd))]  # all of them, else the lock would be held
        if errors and self._is_published:  # else an error was raised already, which is the cause
            raise errors[0]

    def _remove(self) -> None:
        try:
            if os.fstat(self._fd).st_nlink == 1:  # else its writer died after it had published it by a link
                os.ftruncate(self._fd, 0)  # first, else a process that has the file open would keep its space allocated
        except OSError as error:
            logger.warning("%s could not be emptied: %s", self.path, error)
        unlink_or_warn(self.path)

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
    """The leftover file of a dead writer."""

    _is_kept = True

    def __init__(self, fd: int, path: Path) -> None:
        self._fd, self.path = fd, path
        self._open_direct()


def _is_open_by_name(fd: int, path: Path, can_be_locked: bool) -> bool:
    """Whether the process in a part file's name has it open, where the lock is not sufficient.

    That is: it has just created the file, and has yet to lock it; or there are no locks.
    """
    match = PART.fullmatch(path.name)
    is_in_doubt = not can_be_locked or os.fstat(fd).st_size == 0
    return match is not None and is_in_doubt and is_open_in(int(match["process"]), path)


def make_folder(parent: Path, name: str, *, durability: Durability = "fsync") -> Path:
    """Make the folder `name` in `parent`, which must exist, unless it exists; with "fsync" a new one is on the disk."""
    folder = Path(parent) / name
    try:
        try:
            folder.mkdir()
        except FileExistsError:
            if not folder.is_dir():
                raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(folder)) from None
            with os.scandir(folder) as entries:
                is_new = next(entries, None) is None  # its creator may have died, or failed, before it was synced
        else:
            is_new = True
        if is_new and durability == "fsync":
            sync_directory(folder.parent)
    except OSError as error:
        raise save_error(error, folder) from error
    return folder


def save_error(error: OSError, path: Path) -> SaveError:
    """Convert `error` into a SaveError with a path and an errno."""
    if isinstance(error, SaveError):
        return error
    cause = error.__cause__  # of a FileError without a number of its own
    number = error.errno or (cause.errno if isinstance(cause, OSError) else None) or errno.EIO
    converted = SaveError(number, error.strerror or str(error) or os.strerror(number), str(path))
    converted.__cause__ = error
    return converted


def _close(fd: int) -> OSError | None:
    """Close, and return the error if it failed; the descriptor is released in any case."""
    try:
        os.close(fd)
    except OSError as error:
        logger.warning("a file could not be closed: %s", error)
        return error
    return None


def _written(n: int) -> int:
    if n <= 0:
        raise OSError(errno.EIO, "the system accepted none of the bytes written")
    return n


def sync_published(path: Path) -> None:
    """Wait until a published file, its name, and the name of its folder are on the disk. SaveError if that fails."""
    try:
        if sys.platform != "win32":
            _sync(path)
        sync_directory(path.parent)
        sync_directory(path.parent.parent)
    except OSError as error:
        raise save_error(error, path) from error


def sync_directory(directory: Path) -> None:
    """Sync a directory; after a failure again: the file that has its name there is complete. OSError.

    Linux reports an error of writing once; the next sync of the same changes succeeds, whatever has reached the disk.
    So the directory is changed before it is synced again: a journal that takes a later change has the earlier ones.
    """
    if sys.platform == "win32":
        return  # not available: the journal of the file system keeps names
    for attempt in range(1, MAX_SYNCS + 1):
        try:
            _sync(directory)
        except OSError as error:
            if error.errno in (errno.EINVAL, errno.ENOTSUP):  # some network file systems cannot sync a directory
                return
            if attempt == MAX_SYNCS:
                raise
            logger.warning("%s could not be synced, and is synced again: %s", directory, error)
            os.utime(directory)
        else:
            return


def _sync(path: Path) -> None:
    fd = os.open(path, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
