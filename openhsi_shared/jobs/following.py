"""The cubes of a folder as a recording publishes them."""

import errno
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from openhsi_shared.control.control_socket import find_sockets, request
from openhsi_shared.control.messages import AskGlance
from openhsi_shared.durable import PartFile
from openhsi_shared.errors import ArgumentError, OpenHSIError, SaveError
from openhsi_shared.loggers import safe_logger
from openhsi_shared.paths import cubes_below, is_below

if TYPE_CHECKING:
    from openhsi_shared.jobs.recipe import PipelineJob

__all__ = ["followed_cubes", "is_recorded_into"]

logger = safe_logger(__name__)

INTERVAL_S = 0.25
"""How often the folder is listed while there is nothing to do."""
QUIET_S = 1.0
"""After the end of a recording. If it was killed, its writer needs a moment to begin with the lines that are left."""


def followed_cubes(job: "PipelineJob") -> "Iterator[PipelineJob | None]":
    """One job for each cube of its folder: those that are there, then those that a recording publishes. Blocks.

    While there is no new cube it gives None from time to time, so that a runner can be stopped.

    Ends when no recording of this user on this machine saves into the folder any more, and no cube there is being
    written, as the writer of a recording that was killed goes on. ArgumentError at the first cube unless `path_in` is a
    folder, and `path_out` another one; and if there is neither a cube nor a recording.
    """
    if not isinstance(job.path_in, Path) or job.path_in.is_file():
        raise ArgumentError(f"to follow a recording, path_in must be the folder that it saves into, got {job.path_in}")
    folder, out = job.path_in.absolute(), None if job.path_out is None else job.path_out.absolute()
    if out is None or out.resolve() == folder.resolve():
        raise ArgumentError(
            f"to follow a recording, path_out must be another folder than {folder}, where results would be taken for "
            f"new cubes, got {job.path_out}"
        )
    known: set[Path] = set()
    quiet_at = 0.0
    while True:
        if is_recorded_into(folder) or _is_written_into(folder, out):  # first: what it publishes meanwhile is listed
            quiet_at = time.monotonic() + QUIET_S
        is_going_on = time.monotonic() < quiet_at
        found = cubes_below(folder) if folder.is_dir() else []
        new = [path for path in found if path not in known and not is_below(path, out)]
        known.update(new)
        for path in new:
            below = path.parent.relative_to(folder)
            yield from job.replace(path_in=path, path_out=out / below).cubes()
        if not new:
            if not is_going_on:
                break
            time.sleep(INTERVAL_S)
            yield None
    if not known:
        raise ArgumentError(
            f"{folder} contains no cube, and no recording of this user on this machine saves into it: start one, such "
            f"as `openhsi-shared record --out {folder}`"
        )


def _is_written_into(folder: Path, out: Path) -> bool:
    """Whether a process writes a cube into a folder, or below it, but not into `out`."""
    for path in folder.rglob(".*.nc.*.part"):
        if is_below(path, out):
            continue
        try:
            part = PartFile.adopt(path)
        except SaveError as error:
            if error.errno == errno.ENOENT:  # it is published
                return True
            logger.debug("%s: %s", path, error)
            continue
        if part is None:
            return True
        part.close()
    return False


def is_recorded_into(folder: Path) -> bool:
    """Whether a recording or a camera of this user on this machine saves into a folder, or below it."""
    wanted = folder.resolve()
    for path in find_sockets():
        try:
            glance = request(path, AskGlance()).answer
        except (OSError, OpenHSIError) as error:  # it ends now, or is of another version
            logger.debug("%s does not answer: %s", path, error)
            continue
        if glance.save_dir and glance.phase != "ended":
            found = Path(glance.save_dir).resolve()
            if found == wanted or wanted in found.parents:
                return True
    return False
