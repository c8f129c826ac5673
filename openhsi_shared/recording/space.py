"""Disk space: whether it is sufficient for a recording."""

import errno
import os
import shutil
from pathlib import Path

from openhsi_shared.errors import SaveError
from openhsi_shared.processes.disk_watch import Space, within
from openhsi_shared.processes.logs import safe_logger

__all__ = ["check_space"]

logger = safe_logger(__name__)


TIMEOUT_S = 30.0
"""How long the disk may take to answer: one that spins up takes seconds."""


def check_space(directory: Path, cube_bytes: int, n_cubes: int | None, bytes_per_s: float) -> None:
    """Raise SaveError (ENOSPC) if there is no space for one cube; log a warning if not for all `n_cubes`.

    Creates the directory, so that a failure is reported before the first line. SaveError (ETIMEDOUT) if its disk does
    not respond.
    """
    try:
        free = within(TIMEOUT_S, _made_ready, directory)
    except TimeoutError as error:
        words = f"the disk does not respond within {TIMEOUT_S:.0f} s: choose another one, or mount it again"
        raise SaveError(errno.ETIMEDOUT, words, str(directory)) from error
    except OSError as error:
        raise SaveError(error.errno, f"{error.strerror}: no recording can be saved there", str(directory)) from error
    if free < cube_bytes:
        figures = f"one cube needs {cube_bytes / 1e6:,.0f} MB, {free / 1e6:,.0f} MB are free"
        words = f"{figures}: choose another disk or fewer lines"
        raise SaveError(errno.ENOSPC, words, str(directory))
    minutes = Space(free, 0.0).minutes_left(bytes_per_s)
    if n_cubes is not None and free < n_cubes * cube_bytes:
        logger.warning(
            "%s has room for %d of %d cubes, about %.1f minutes", directory, free // cube_bytes, n_cubes, minutes
        )


def _made_ready(directory: Path) -> int:
    """Create the directory; return the free bytes of its disk."""
    directory.mkdir(parents=True, exist_ok=True)
    if not os.access(directory, os.W_OK | os.X_OK):
        raise PermissionError(errno.EACCES, "not writeable")
    return shutil.disk_usage(directory).free
