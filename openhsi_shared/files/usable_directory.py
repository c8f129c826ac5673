"""Whether cubes can be saved in a directory: it is made, writeable, and its disk responds."""

import errno
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from openhsi_shared.errors import SaveError
from openhsi_shared.processes.disk_watch import within

__all__ = ["NOT_ON_FAT", "ask_disk", "free_bytes_in"]

Result = TypeVar("Result")

NOT_ON_FAT = frozenset('?*"<>|')
"""Characters that FAT, NTFS and many network shares refuse in names, and other file systems allow."""


def free_bytes_in(directory: Path, timeout_s: float) -> int:
    """Free bytes of the disk of a directory, which is made. Blocks for `timeout_s` at most.

    SaveError if no cube can be saved there; ETIMEDOUT if its disk does not respond.
    """
    try:
        return ask_disk(directory, timeout_s, _made_ready, directory)
    except SaveError:
        raise
    except OSError as error:
        raise SaveError(error.errno, f"{error.strerror}: no recording can be saved there", str(directory)) from error


def ask_disk(directory: Path, timeout_s: float, function: Callable[..., Result], *args: object) -> Result:
    """Call `function(*args)` in a thread of its own; raises what that raises, or SaveError (ETIMEDOUT)."""
    try:
        return within(timeout_s, function, *args)
    except TimeoutError as error:
        words = f"the disk does not respond within {timeout_s:.0f} s: choose another one, or mount it again"
        raise SaveError(errno.ETIMEDOUT, words, str(directory)) from error


def _made_ready(directory: Path) -> int:
    """Create the directory; return the free bytes of its disk."""
    _make(directory)
    if not os.access(directory, os.W_OK | os.X_OK):
        raise PermissionError(errno.EACCES, "not writeable")
    usage = shutil.disk_usage(directory)
    if not usage.total:
        raise PermissionError(errno.EPERM, "it is in a file system of the kernel, which stores no files")
    return usage.free


def _make(directory: Path) -> None:
    try:
        directory.mkdir(parents=True, exist_ok=True)
    except FileExistsError:
        if directory.exists():
            raise NotADirectoryError(errno.ENOTDIR, "it is a file, not a directory") from None
        raise OSError(errno.ELOOP, "it is a link that leads nowhere, or in a circle") from None
    except NotADirectoryError:
        raise NotADirectoryError(errno.ENOTDIR, "a part of the path is a file: Not a directory") from None
    except OSError as error:
        if error.errno == errno.EINVAL and (refused := NOT_ON_FAT & set(str(directory))):
            words = f"the file system refuses the name (it contains {' '.join(sorted(refused))})"
            raise OSError(errno.EINVAL, words) from error
        raise
