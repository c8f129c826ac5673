"""Translates errors of HDF5 about damaged files into errors of this library."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

from openhsi_shared.errors import ArgumentError, ChecksumError, FileError

__all__ = ["broken_file", "damaged"]

HDF5_ERRORS = (OSError, RuntimeError, KeyError, ValueError, TypeError, AttributeError, IndexError, MemoryError)


@contextlib.contextmanager
def broken_file(path: Path) -> Iterator[None]:
    """Raise FileError for any error of HDF5 while reading a file."""
    try:
        yield
    except (FileError, ArgumentError):
        raise
    except HDF5_ERRORS as error:
        raise FileError(f"{path} is damaged: {error}") from error


@contextlib.contextmanager
def damaged(path: Path, what: str) -> Iterator[None]:
    """Raise ChecksumError for a part of a file that cannot be read, such as "the variable time"."""
    try:
        yield
    except (FileError, ArgumentError):
        raise
    except HDF5_ERRORS as error:
        raise ChecksumError(f"{path}: {what} is damaged: {error}") from error
