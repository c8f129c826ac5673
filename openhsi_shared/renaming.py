"""Gives files their names: a free one, also beside other writers that choose it, or that of a file they replace."""

import ctypes
import errno
import os
import sys
from pathlib import Path
from typing import Any, BinaryIO

from openhsi_shared.loggers import safe_logger

__all__ = ["function_of_libc", "rename_to_new", "replace_file", "unlink_or_warn"]

logger = safe_logger(__name__)

AT_FDCWD = -100
RENAME_NOREPLACE = 1


def rename_to_new(source: Path, target: Path) -> None:
    """Rename, or raise FileExistsError; of several concurrent calls one succeeds."""
    function = function_of_libc("renameat2")
    if function is not None:
        if function(AT_FDCWD, os.fsencode(source), AT_FDCWD, os.fsencode(target), RENAME_NOREPLACE) == 0:
            return
        number = ctypes.get_errno()
        if number not in (errno.EINVAL, errno.ENOSYS):
            raise OSError(number, os.strerror(number), str(target))
    _link_to_new(source, target)


def _link_to_new(source: Path, target: Path) -> None:
    """Rename without renameat2: by a hard link, or else by reserving the name first."""
    if sys.platform == "win32":
        source.rename(target)  # refuses an existing name by itself
        return
    try:
        os.link(source, target)
    except OSError as error:
        if error.errno not in (errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK):
            raise
        _rename_reserved(source, target)
    else:
        unlink_or_warn(source)  # already published: raising here would truncate the published file


def _rename_reserved(source: Path, target: Path) -> None:
    """Rename without renameat2 and hard links: cooperating writers serialise on a reservation file.

    Not by creating the name itself first: a writer that died then would leave an empty file under it.
    """
    reservation = target.with_name(f".{target.name}.0.part")  # reported by `recover` if it is left behind
    os.close(os.open(reservation, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666))
    try:
        if os.path.lexists(target):
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(target))
        source.rename(target)
    finally:
        unlink_or_warn(reservation)


def replace_file(path: Path, content: bytes | memoryview) -> None:
    """Write a file of this name, in place of one that exists, when it is complete and durable. OSError.

    Where the file system can, it has no name before: a process that is killed leaves nothing behind.
    """
    part = path.with_name(f".{path.name[:200]}.{os.urandom(4).hex()}.tmp")
    try:
        if not _written_unnamed(part, content):
            with part.open("xb") as file:
                _write(file, content)
        part.replace(path)
    except BaseException:
        part.unlink(missing_ok=True)
        raise


def _written_unnamed(path: Path, content: bytes | memoryview) -> bool:
    """Write a file that gets its name at the end; False if that is not possible here."""
    if not hasattr(os, "O_TMPFILE"):
        return False
    try:
        descriptor = os.open(path.parent, os.O_TMPFILE | os.O_WRONLY | os.O_CLOEXEC, 0o666)
    except OSError:
        return False  # if it was for another reason, the open with a name raises it
    with os.fdopen(descriptor, "wb") as file:
        _write(file, content)
        try:  # the folder is not used: the call that follows links needs one
            os.link(f"/proc/self/fd/{descriptor}", path, src_dir_fd=descriptor, follow_symlinks=True)
        except OSError:
            return False
    return True


def _write(file: BinaryIO, content: bytes | memoryview) -> None:
    file.write(content)
    file.flush()
    os.fsync(file.fileno())  # else a power cut may leave an empty file


def unlink_or_warn(path: Path) -> None:
    """Remove a file; a failure is logged."""
    try:
        path.unlink()
    except OSError as error:
        logger.warning("%s could not be removed: %s", path, error)


def function_of_libc(name: str) -> Any:
    """Return a function of Linux' C library that Python does not have, or None."""
    return getattr(ctypes.CDLL(None, use_errno=True), name, None) if sys.platform == "linux" else None
