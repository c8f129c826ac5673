"""The lock by which others see that the writer of a file lives; it ends with the process."""

import contextlib
import errno
import logging
import os
import sys
from pathlib import Path

if sys.platform != "win32":
    import fcntl

__all__ = ["is_open_in", "let_readers_in", "lock"]

logger = logging.getLogger(__name__)


def lock(fd: int, path: Path) -> bool:
    """Hold the lock of the file, alone; False if somebody else holds it. Never blocks. OSError if it cannot be had."""
    if sys.platform != "win32":
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno in (errno.EWOULDBLOCK, errno.EACCES):
                return False
            if error.errno not in (errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOLCK):
                raise
            logger.warning("%s: the file system knows no locks (%s)", path, error)
    return True


def let_readers_in(fd: int) -> None:
    """Share the lock: whoever finds the new name at once and reads takes a shared one, and must not be refused."""
    if sys.platform != "win32":
        with contextlib.suppress(OSError):
            fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)


def is_open_in(process_id: int, path: Path) -> bool:
    """Whether such a process lives and has the file open, which the caller has, too.

    False where the system does not tell, as of other users' processes.
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
