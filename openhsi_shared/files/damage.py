"""One error of this library for whatever HDF5 finds wrong with a file."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

from openhsi_shared.errors import ArgumentError, ChecksumError, FileError

__all__ = ["broken_file", "damaged"]

OF_HDF5 = (OSError, RuntimeError, KeyError, ValueError, TypeError, AttributeError, IndexError, MemoryError)


@contextlib.contextmanager
def broken_file(path: Path) -> Iterator[None]:
    """Raise FileError for what HDF5 finds wrong with a file."""
    try:
        yield
    except (FileError, ArgumentError):
        raise
    except OF_HDF5 as error:
        raise FileError(f"{path} is damaged: {error}") from error


@contextlib.contextmanager
def damaged(path: Path, what: str) -> Iterator[None]:
    """Raise ChecksumError for a part of a file that cannot be read, such as "the variable time"."""
    try:
        yield
    except (FileError, ArgumentError):
        raise
    except OF_HDF5 as error:
        raise ChecksumError(f"{path}: {what} is damaged: {error}") from error
