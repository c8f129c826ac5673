"""Opens HDF5 files for reading, also in directories without file locks, and reports what a file is instead."""

import errno
import os
from pathlib import Path
from typing import Any

import h5py

from openhsi_shared.durable import PART
from openhsi_shared.errors import FileError, IncompleteFileError
from openhsi_shared.files.other_formats import format_of

__all__ = ["is_locked", "open_hdf5", "open_unchecked"]

HELD = (errno.EWOULDBLOCK, errno.EACCES)
"""How the system refuses a lock that another process holds."""
OTHER_LOCKING = "file locking flag values don't match"
"""How HDF5 refuses a file that this process has opened already with another `locking`."""
OF_THE_PATH = (
    errno.ENOENT,
    errno.EACCES,
    errno.EISDIR,
    errno.ENOTDIR,
    errno.EPERM,
    errno.ENAMETOOLONG,
    errno.ELOOP,
    errno.ESTALE,
    errno.ENXIO,
)


def open_hdf5(path: Path) -> Any:
    """Open for reading. FileError names what is wrong: the path, the format, a damage, or a program that writes it."""
    try:
        if path.is_fifo():
            raise FileError(f"{path} is a pipe, not a file: opening it could block forever")
        if path.is_dir():
            raise FileError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
        return open_unchecked(path)
    except FileError:
        raise
    except OSError as error:
        if _is_of_lock(error):
            raise _locked(path) from error
        if error.errno in OF_THE_PATH:
            raise FileError(error.errno, os.strerror(error.errno), str(path)) from error
        raise _open_error(path, error) from error
    except (RuntimeError, ValueError) as error:
        raise _open_error(path, error) from error


def open_unchecked(path: Path) -> Any:
    """Open for reading; raises the errors of h5py.

    A file that cannot be locked (NFS without its lock service, some FUSE) is read without a lock. A lock that another
    program holds, because it writes the file, is respected.
    """
    try:
        return h5py.File(path, "r", locking="best-effort")
    except OSError as error:
        if not (_is_of_lock(error) and error.errno not in HELD) and OTHER_LOCKING not in str(error):
            raise
    try:
        return h5py.File(path, "r", locking=False)
    except OSError as error:
        if OTHER_LOCKING not in str(error):
            raise
    return h5py.File(path, "r", locking=True)


def is_locked(file: Any) -> bool:
    """Whether HDF5 locks this open file; False where the file system has no locks."""
    return bool(file.id.get_access_plist().get_file_locking()[0])


def _is_of_lock(error: OSError) -> bool:
    return "unable to lock file" in str(error)


def _locked(path: Path) -> FileError:
    if PART.fullmatch(path.name):
        return _unfinished(path)
    return FileError(
        f"{path} is locked by a program that writes into it: it is not damaged; close that program, or wait for it"
    )


def _open_error(path: Path, error: Exception) -> FileError:
    """The error for a file that HDF5 cannot open: a writer may not have finished it."""
    if PART.fullmatch(path.name):
        return _unfinished(path)
    known = format_of(path)
    if known:
        return FileError(f"{path} is {known}")
    return FileError(f"{path} is not a NetCDF-4 file, or a damaged one: {error}")


def _unfinished(path: Path) -> IncompleteFileError:
    part = PART.fullmatch(path.name)
    return IncompleteFileError(
        f"{path} is incomplete: its writer has not finished it; wait until it has the name {part and part['name']}, "
        f"or, if its writer is dead, call openhsi_shared.recover({str(path.parent)!r})"
    )
