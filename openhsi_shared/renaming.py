"""Renames a file to a name that no other file has; nothing is overwritten, whoever else writes there."""

import ctypes
import errno
import os
import sys
from pathlib import Path
from typing import Any

from openhsi_shared.loggers import safe_logger

__all__ = ["function_of_libc", "rename_to_new", "unlink_or_warn"]

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


def unlink_or_warn(path: Path) -> None:
    """Remove a file; a failure is logged."""
    try:
        path.unlink()
    except OSError as error:
        logger.warning("%s could not be removed: %s", path, error)


def function_of_libc(name: str) -> Any:
    """Return a function of Linux' C library that Python does not have, or None."""
    return getattr(ctypes.CDLL(None, use_errno=True), name, None) if sys.platform == "linux" else None
