"""Directories of this user only, in places where other users may create directories too."""

import errno
import os
from pathlib import Path

__all__ = ["own_directory", "user_name"]


def own_directory(path: Path) -> Path:
    """Return `path`, created with mode 0700 if it does not exist, and made 0700 otherwise.

    OSError if it cannot be created, or is a file; PermissionError if it, or a link in its place, is of another user.
    """
    path.mkdir(mode=0o700, parents=True, exist_ok=True)
    if hasattr(os, "geteuid"):
        for found in (path.lstat(), path.stat()):
            if found.st_uid != os.geteuid():
                raise PermissionError(errno.EPERM, "it belongs to another user", str(path))
        if found.st_mode & 0o077:
            path.chmod(0o700)
    return path


def user_name() -> str:
    """A word for this user in names of directories: the number, or on Windows the name."""
    return str(os.geteuid()) if hasattr(os, "geteuid") else os.environ.get("USERNAME", "user")
