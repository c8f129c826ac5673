"""Directories for cubes whose process ends: their own, fallback directories, and the last resort.

The last resort is a directory of this user only. It is looked for when it is needed, and not before: a camera can be
used where no directory for it exists.
"""

import errno
import os
import tempfile
from collections.abc import Collection, Iterator
from pathlib import Path

from openhsi_shared.errors import SaveError
from openhsi_shared.loggers import safe_logger
from openhsi_shared.processes.own_directory import own_directory, user_name
from openhsi_shared.writer.messages import CubeKind, Label

__all__ = ["directories_of", "directory_for_unsaved", "rescue_directories"]

logger = safe_logger(__name__)


def rescue_directories(label: Label, kind: CubeKind, avoid: Collection[str] = ()) -> Iterator[list[str]]:
    """Yield directories for a cube whose process ends, in groups: each group is to be tried after the one before it."""
    named = [name for name in (label.directory, *kind.fallback_dirs) if name and name not in avoid]
    if named:
        yield named
    yield from ([str(directory)] for directory in _last_resorts())


def directories_of(label: Label, kind: CubeKind) -> list[str]:
    """All directories that a cube may have gone to, and may go to; none of them is touched."""
    named = [name for name in (label.directory, *kind.fallback_dirs, *label.earlier) if name]
    return list(dict.fromkeys([*named, *map(str, _wanted())]))


def directory_for_unsaved(kind: CubeKind) -> str:
    """The directory for lines of a program that failed before it set where to save. SaveError if there is none."""
    for directories in rescue_directories(Label(), kind):
        return directories[0]
    raise SaveError(errno.ENOENT, f"there is no directory for unsaved lines: none of {_wanted()} can be used")


def _last_resorts() -> Iterator[Path]:
    """Yield the directories of the last resort that can be used; the others are logged."""
    for directory in _wanted():
        try:
            yield own_directory(directory)
        except OSError as error:
            logger.warning("rescued cubes cannot go to %s: %s", directory, error.strerror or error)


def _wanted() -> list[Path]:
    """The user's state directory, and the one for temporary files, which is swept, or in memory, on some systems."""
    found = []
    state = os.environ.get("XDG_STATE_HOME", "")
    try:
        base = Path(state) if Path(state).is_absolute() else Path.home() / ".local" / "state"
        found.append(base / "openhsi_shared" / "rescued")
    except RuntimeError:
        logger.debug("this user has no home directory")
    try:
        found.append(Path(tempfile.gettempdir()) / f"openhsi_shared-rescued-{user_name()}")
    except OSError as error:
        logger.debug("%s", error)
    return found
