"""File lock that shows that the writer of a file is alive; released when its process ends."""

import contextlib
import errno
import os
import sys
from pathlib import Path

if sys.platform != "win32":
    import fcntl

from openhsi_shared.loggers import safe_logger

__all__ = ["is_open_in", "lock", "share_lock"]

logger = safe_logger(__name__)


def lock(fd: int, path: Path) -> bool:
    """Take the exclusive lock of the file; False if another process holds it. Never blocks. OSError on failure."""
    if sys.platform != "win32":
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno in (errno.EWOULDBLOCK, errno.EACCES):
                return False
            if error.errno not in (errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOLCK):
                raise
            logger.warning("%s: the file system does not support locks (%s)", path, error)
    return True


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
