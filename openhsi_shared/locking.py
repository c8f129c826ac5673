"""File lock that shows that the writer of a file is alive; released when its process ends."""

import contextlib
import errno
import os
import sys
from functools import cache
from pathlib import Path

if sys.platform != "win32":
    import fcntl

from openhsi_shared.loggers import safe_logger

__all__ = ["is_open_in", "lock", "share_lock"]

logger = safe_logger(__name__)

HELD = (errno.EWOULDBLOCK, errno.EACCES)
NFS_WITHOUT_LOCKS = 524
"""ENOTSUPP of the kernel, which has no name in `errno`."""
UNSUPPORTED = (errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOLCK, errno.EINVAL, NFS_WITHOUT_LOCKS)


def lock(fd: int, path: Path) -> bool | None:
    """Take the exclusive lock of the file; False if another process holds it, None where there are no locks.

    Never blocks. OSError on failure.
    """
    if sys.platform != "win32":
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno in HELD:
                return False
            if error.errno not in UNSUPPORTED:
                raise
            _warn_once(str(path.parent), str(error))
            return None
    return True


@cache
def _warn_once(directory: str, reason: str) -> None:
    """Log it once a directory: each file has the same problem."""
    logger.warning(
        "%s: the file system does not support locks (%s); do not run `recover` there on another computer while this "
        "one records",
        directory,
        reason,
    )


def share_lock(fd: int) -> None:
    """Make the lock shared: a reader of the new name takes a shared lock, which must succeed at once."""
    if sys.platform != "win32":
        with contextlib.suppress(OSError):
            fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)


def is_open_in(process_id: int, path: Path) -> bool:
    """Whether the process is alive and has the file open, besides the caller itself.

    False where the system does not report it, as for processes of other users.
    """
    import psutil

    try:
        process = psutil.Process(process_id)
        if process.status() == psutil.STATUS_ZOMBIE:
            return False
        n_open = sum(Path(file.path).name == path.name for file in process.open_files())
        return n_open > (1 if process_id == os.getpid() else 0)
    except (psutil.Error, OverflowError):
        return False
