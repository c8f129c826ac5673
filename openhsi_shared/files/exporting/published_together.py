"""Several files, or a folder, that get their names only when all of them are complete; nothing is overwritten."""

import errno
import os
import shutil
import sys
import time
from collections.abc import Iterable
from contextlib import suppress
from glob import escape
from pathlib import Path
from typing import Self

from openhsi_shared.durable import PART, PartFile, save_error
from openhsi_shared.errors import SaveError
from openhsi_shared.files.not_synced import warn_not_synced
from openhsi_shared.locking import lock
from openhsi_shared.loggers import safe_logger
from openhsi_shared.renaming import rename_to_new

__all__ = ["PartFolder", "is_being_filled", "part_name", "refuse_existing", "remove_leftovers"]

logger = safe_logger(__name__)

REMOVALS, REMOVAL_INTERVAL_S = 5, 0.05


def refuse_existing(paths: Iterable[Path]) -> None:
    """SaveError if one of them exists."""
    for path in paths:
        if os.path.lexists(path):
            raise existing(path)


def existing(path: Path) -> SaveError:
    """The error for a name that is in use."""
    return SaveError(errno.EEXIST, "exists, and nothing is overwritten: remove it, or choose another folder", str(path))


def part_name(target: Path, tmp_suffix: str) -> str:
    """The name from which that of a temporary file is made: with the suffix that distinguishes two runs."""
    return f"{target.stem}~{tmp_suffix}{target.suffix}" if tmp_suffix else target.name


def remove_leftovers(target: Path, tmp_suffix: str) -> None:
    """Remove temporary files of `target` whose writers died; those that are written now stay."""
    name = part_name(target, tmp_suffix)
    for path in target.parent.glob(f".{escape(name)}.*.part"):
        found = PART.fullmatch(path.name)
        if found is None or found["name"] != name:
            continue
        with suppress(SaveError):  # removed, or published, meanwhile
            part = PartFile.adopt(path)
            if part is not None:
                part.remove()


def is_being_filled(folder: Path) -> bool:
    """Whether a process holds a `PartFolder`; False where folders cannot be locked. OSError."""
    if not hasattr(os, "O_DIRECTORY"):
        return False
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        return lock(fd, folder) is False
    finally:
        os.close(fd)


class PartFolder:
    """A folder that is being filled, under a hidden temporary name beside its final one.

    Use it as a context manager: a folder not published by the end of the block is removed. Held with a lock, as
    `PartFile`: a folder without one was left by a process that died.
    """

    path: Path
    """The temporary name, `.{name}.{pid}.part`; after `publish` the final one."""

    def __init__(self, target: Path, tmp_suffix: str = "", leftover: Path | None = None) -> None:
        """`leftover`: the folder of an earlier run, which is continued if no process fills it."""
        self._target = target
        self._is_published = self._is_closed = False
        self._fd: int | None = None
        self.is_adopted = leftover is not None and self._adopt(leftover)
        if not self.is_adopted:
            self._make(tmp_suffix)

    def _adopt(self, leftover: Path) -> bool:
        if not leftover.is_dir():
            return False
        self.path = leftover
        if self._lock() is not False:
            return True
        self._unlock()
        return False

    def _make(self, tmp_suffix: str) -> None:
        number = 0
        while True:
            name = f".{part_name(self._target, tmp_suffix)}.{os.getpid()}{f'-{number}' if number else ''}.part"
            self.path = self._target.with_name(name)
            try:
                self.path.mkdir()
                break
            except FileExistsError:
                number += 1
            except OSError as error:
                raise save_error(error, self.path) from error
        self._lock()

    def _lock(self) -> bool | None:
        """As `locking.lock`; None where a folder cannot be locked: the process id in the name is left."""
        try:
            self._fd = os.open(self.path, os.O_RDONLY | os.O_DIRECTORY)
            return lock(self._fd, self.path)
        except (OSError, AttributeError):
            return None

    def _unlock(self) -> None:
        fd, self._fd = self._fd, None
        if fd is not None:
            os.close(fd)

    def clear_all_but(self, *names: str) -> None:
        """Remove what else is in the folder. OSError."""
        for path in self.path.iterdir():
            if path.name not in names:
                shutil.rmtree(path) if path.is_dir() else path.unlink()

    def publish(self) -> Path:
        """Sync all files, rename, and sync the folder above. SaveError if the name exists.

        That the folder above cannot be synced is a warning: all is there.
        """
        try:
            for folder, _, names in os.walk(self.path):
                for name in (*names, "."):
                    _sync(Path(folder) / name)
            try:
                rename_to_new(self.path, self._target)
            except FileExistsError as error:
                raise existing(self._target) from error
            self._is_published, self.path = True, self._target
        except OSError as error:
            raise save_error(error, self.path) from error
        try:
            _sync(self._target.parent)
        except OSError as error:
            warn_not_synced(self.path, error)
        return self.path

    def close(self, *, keep: bool = False) -> None:
        """End, and remove the folder unless it is published, or `keep`. Idempotent."""
        if self._is_closed:
            return
        self._is_closed = True
        if not self._is_published and not keep:
            self._remove()
        self._unlock()

    def _remove(self) -> None:
        for _ in range(REMOVALS):
            with suppress(OSError):
                shutil.rmtree(self.path)
                return
            time.sleep(REMOVAL_INTERVAL_S)  # threads of zarr may still write what they had begun
        shutil.rmtree(self.path, onerror=lambda _, path, error: logger.warning("%s stays: %s", path, error[1]))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()


def _sync(path: Path) -> None:
    if sys.platform == "win32" and path.is_dir():
        return
    fd = os.open(path, os.O_RDONLY)
    try:
        os.fsync(fd)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):
            raise
    finally:
        os.close(fd)
