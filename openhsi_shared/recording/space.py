"""The directory of a recording: whether cubes can be saved there, and for how long."""

import errno
import re
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from openhsi_shared.datacube.shared_openhsi import SharedOpenHSI
from openhsi_shared.durable import PartFile
from openhsi_shared.errors import SaveError
from openhsi_shared.files.usable_directory import NOT_ON_FAT, ask_disk, free_bytes_in
from openhsi_shared.loggers import safe_logger
from openhsi_shared.processes.disk_watch import Space
from openhsi_shared.recording.messages import Place
from openhsi_shared.recording.plan import RecordingPlan

__all__ = ["check_names", "check_place", "check_space", "check_space_of_all"]

logger = safe_logger(__name__)

PLAIN_NAME = re.compile(r"[A-Za-z0-9_. -]*")
TIMEOUT_S = 30.0
"""How long the disk may take to answer: one that spins up takes seconds."""


def check_place(camera: SharedOpenHSI, plan: RecordingPlan) -> Place:
    """Check space and names for the cubes of `camera`, as `check_space` and `check_names` do. Returns what it needs."""
    rows, n_lines, bands = camera.dc_shape
    line_bytes = rows * bands * np.dtype(camera.dtype_out).itemsize
    max_bytes_per_s = 1000 / camera.settings.model.exposure_ms * line_bytes
    check_space(Path(plan.save_dir), n_lines * line_bytes, plan.n_cubes, max_bytes_per_s)
    check_names(Path(plan.save_dir), plan.request.prefix, plan.request.suffix)
    return Place(n_lines * line_bytes, max_bytes_per_s)


def check_space(directory: Path, cube_bytes: int, n_cubes: int | None, bytes_per_s: float) -> None:
    """Raise SaveError (ENOSPC) if there is no space for one cube; log a warning if not for all `n_cubes`.

    Creates the directory, so that a failure is reported before the first line. SaveError (ETIMEDOUT) if its disk does
    not respond.
    """
    free = free_bytes_in(directory, TIMEOUT_S)
    if free < cube_bytes:
        figures = f"one cube needs {cube_bytes / 1e6:,.0f} MB, {free / 1e6:,.0f} MB are free"
        words = f"{figures}: choose another disk or fewer lines"
        raise SaveError(errno.ENOSPC, words, str(directory))
    minutes = Space(free, 0.0).minutes_left(bytes_per_s)
    if n_cubes is not None and free < n_cubes * cube_bytes:
        logger.warning(
            "%s has room for %d of %d cubes, about %.1f minutes", directory, free // cube_bytes, n_cubes, minutes
        )


def check_space_of_all(directory: Path, places: Mapping[str, Place], n_cubes: Mapping[str, int | None]) -> None:
    """Check the space for several cameras together, by name, as `check_space` does for each. SaveError."""
    free = free_bytes_in(directory, TIMEOUT_S)
    needed = sum(place.cube_bytes for place in places.values())
    if free < needed:
        each = ", ".join(f"{name} {place.cube_bytes / 1e6:,.0f} MB" for name, place in places.items())
        figures = f"one cube of each camera needs {needed / 1e6:,.0f} MB ({each}), {free / 1e6:,.0f} MB are free"
        raise SaveError(errno.ENOSPC, f"{figures}: choose another disk or fewer lines", str(directory))
    wanted = sum(place.cube_bytes * (n_cubes[name] or 0) for name, place in places.items())
    if free < wanted:
        minutes = Space(free, 0.0).minutes_left(sum(place.max_bytes_per_s for place in places.values()))
        logger.warning(
            "%s has room for %s of %s MB of all cameras together, about %.1f minutes",
            directory,
            f"{free / 1e6:,.0f}",
            f"{wanted / 1e6:,.0f}",
            minutes,
        )


def check_names(directory: Path, prefix: str, suffix: str) -> None:
    """Raise SaveError if the file system refuses names with this prefix and suffix, as FAT and NTFS refuse `?`.

    A file is made for a trial, only for names that have more than ASCII letters, digits, `_`, `-`, `.` and space.
    SaveError (ETIMEDOUT) if the disk does not respond.
    """
    if PLAIN_NAME.fullmatch(prefix + suffix):
        return
    try:
        ask_disk(directory, TIMEOUT_S, lambda: PartFile(directory, f"{prefix}trial{suffix}.nc").close())
    except SaveError as error:
        if error.errno == errno.ETIMEDOUT:
            raise
        words = f"{error.strerror}: the file system refuses names with the prefix {prefix!r} and the suffix {suffix!r}"
        raise SaveError(error.errno, f"{words}; leave out {_refused_in(prefix + suffix)}", str(directory)) from error


def _refused_in(name: str) -> str:
    found = "".join(sorted(set(name) & NOT_ON_FAT)) or "".join(sorted({one for one in name if not one.isascii()}))
    return (found and f"the characters {found}") or "its special characters"
