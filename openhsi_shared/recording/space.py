"""Disk space: whether it is sufficient for a recording."""

import errno
import os
import shutil
from pathlib import Path

from openhsi_shared.errors import SaveError
from openhsi_shared.processes.logs import safe_logger

__all__ = ["check_space", "minutes_left"]

logger = safe_logger(__name__)


def check_space(directory: Path, cube_bytes: int, n_cubes: int | None, bytes_per_s: float) -> None:
    """Raise SaveError (ENOSPC) if there is no space for one cube; log a warning if not for all `n_cubes`.

    Creates the directory, so that a failure is reported before the first line.
    """
    try:
        directory.mkdir(parents=True, exist_ok=True)
        if not os.access(directory, os.W_OK | os.X_OK):
            raise PermissionError(errno.EACCES, "not writeable")
        free = shutil.disk_usage(directory).free
    except OSError as error:
        raise SaveError(error.errno, f"{error.strerror}: no recording can be saved there", str(directory)) from error
    if free < cube_bytes:
        figures = f"one cube needs {cube_bytes / 1e6:,.0f} MB, {free / 1e6:,.0f} MB are free"
        words = f"{figures}: choose another disk or fewer lines"
        raise SaveError(errno.ENOSPC, words, str(directory))
    minutes = minutes_left(free, bytes_per_s)
    if n_cubes is not None and free < n_cubes * cube_bytes:
        logger.warning(
            "%s has room for %d of %d cubes, about %.1f minutes", directory, free // cube_bytes, n_cubes, minutes
        )


def minutes_left(free: int, bytes_per_s: float) -> float:
    """Minutes until `free` bytes are used up."""
    return free / bytes_per_s / 60 if bytes_per_s > 0 else float("inf")
