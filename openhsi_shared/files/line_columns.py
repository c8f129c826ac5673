"""Times, temperatures and ids of the lines of a file: unknown where they do not follow the lines.

A column follows the lines if it has their axis `y`. openhsi stores times and temperatures on axes of their own, so a
program that selects, sorts or joins lines leaves them as they are: they are used only if there is one for each line,
and `y` still counts the lines from 0 on, as openhsi wrote it.
"""

from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from openhsi_shared.errors import ArgumentError, FileError
from openhsi_shared.files.contents import Contents
from openhsi_shared.files.lines import FileLines
from openhsi_shared.line_times import UNKNOWN_TIME_NS, decode_times, known_times, was_never_set
from openhsi_shared.loggers import safe_logger

__all__ = [
    "axes_of_lines",
    "filled_lines",
    "log_once",
    "numbers_of_lines",
    "temperatures_of_lines",
    "times_of_lines",
]

logger = safe_logger(__name__)

BLOCK_BYTES = 32 << 20
OWN_AXES = ("time", "temperature")
"""Columns that openhsi stores on axes of their own."""


@lru_cache(maxsize=1024)
def log_once(path: Path, what: str) -> None:
    """Log something about a file as a warning, once in a process, however often the file is opened."""
    logger.warning("%s: %s", path, what)


def numbers_of_lines(contents: Contents, name: str, n_lines: int) -> NDArray[Any] | None:
    """Decoded numbers of a column; None, which is logged, if they are not one for each line, or no numbers."""
    return _unless_unknown(contents, name, lambda: contents.numbers(name), n_lines)


def temperatures_of_lines(contents: Contents, n_lines: int) -> NDArray[Any] | None:
    """Temperature at each line in celsius, as which it counts without a unit; None as `numbers_of_lines`.

    None, which is logged, also for units that are neither celsius nor kelvin.
    """
    return _unless_unknown(contents, "temperature", lambda: _in_celsius(contents), n_lines)


def _in_celsius(contents: Contents) -> NDArray[Any]:
    values, units = contents.numbers("temperature"), str(contents.attributes("temperature").get("units", ""))
    plain = units.casefold().replace("\u00b0", "deg").replace("degrees", "deg").replace("degree", "deg")
    plain = "".join(letter for letter in plain if letter.isalnum()).removeprefix("deg")
    if plain in ("", "c", "celsius"):
        return values
    if plain in ("k", "kelvin"):
        return np.asarray(values - 273.15)
    raise ArgumentError(f"units {units!r:.40} are not those of a temperature, expected 'degC' or 'K'")


def times_of_lines(contents: Contents, n_lines: int) -> NDArray[np.int64] | None:
    """UTC time of each line, UNKNOWN_TIME_NS where it is missing.

    None if there are none, or, which is logged, if it is not certain which belongs to which line.
    """
    return _unless_unknown(contents, "time", lambda: _decoded_times(contents), n_lines)


def _unless_unknown(
    contents: Contents, name: str, read: Callable[[], NDArray[Any]], n_lines: int
) -> NDArray[Any] | None:
    if not contents.has(name):
        return None
    try:
        _check_axes(contents, name, n_lines)
        return read()
    except (ArgumentError, FileError) as error:
        if contents.is_ours and isinstance(error, FileError):  # damaged
            raise
        log_once(contents.path, f"{name} of the lines is unknown: {error}")
        return None


def _decoded_times(contents: Contents) -> NDArray[np.int64]:
    values, packing = contents.values("time"), contents.packing("time")
    attributes = contents.attributes("time")
    if values.dtype.kind not in "iuf" or "units" not in attributes:
        raise ArgumentError(f"{values.dtype} without units of time" if values.dtype.kind in "iuf" else "no numbers")
    units, calendar = str(attributes["units"]), str(attributes.get("calendar", "standard"))
    if packing is None:
        return _check_times(contents, decode_times(values, units, calendar))
    missing = packing.missing(values)  # whole numbers stay exact where they are not scaled
    numbers = packing.decode(values) if packing.is_scaled else np.where(missing, values.dtype.type(0), values)
    return _check_times(contents, np.where(missing, UNKNOWN_TIME_NS, decode_times(numbers, units, calendar)))


def _check_times(contents: Contents, times: NDArray[np.int64]) -> NDArray[np.int64]:
    """The times, all unknown if none was ever set. ArgumentError if they were sorted without the lines."""
    known = known_times(times)
    if not contents.is_ours and len(known) > 1 and was_never_set(known).all():
        return np.full_like(times, UNKNOWN_TIME_NS)
    is_apart = contents.dims("time") != ("y",)
    if is_apart and np.count_nonzero(np.diff(known) < 0) > 1:  # once: openhsi's buffer wrapped around
        raise ArgumentError("they are on an axis of their own, in another order than the lines")
    return times


def _check_axes(contents: Contents, name: str, n_lines: int) -> None:
    """ArgumentError for a column that does not have a value for each line, in their order."""
    dims, shape = contents.dims(name), contents.shape(name)
    if shape != (n_lines,) or not (dims == ("y",) or (dims == (name,) and _is_of_openhsi(contents, name, n_lines))):
        axes = ", ".join(f"{dim}: {size}" for dim, size in zip(dims, shape, strict=True))
        raise ArgumentError(f"it is not certain which of its values ({axes}) belongs to which of the {n_lines} lines")


def _is_of_openhsi(contents: Contents, name: str, n_lines: int) -> bool:
    """Whether openhsi gave a column its own axis, and `y` is still 0, 1, 2, ..., so the lines are still those."""
    return name in OWN_AXES and contents.has("y") and np.array_equal(contents.numbers("y"), np.arange(n_lines))


def axes_of_lines(contents: Contents, n_lines: int) -> list[str]:
    """Names of all axes along which there is a value for each line."""
    columns = [name for name in OWN_AXES if contents.has(name) and contents.dims(name) == (name,)]
    of_lines = [name for name in columns if contents.shape(name) == (n_lines,)]
    return ["y", *(name for name in of_lines if _is_of_openhsi(contents, name, n_lines))]


def filled_lines(contents: Contents, lines: FileLines) -> NDArray[np.intp] | None:
    """Numbers of the lines that openhsi has filled; None for all of them.

    openhsi saves its whole buffer: lines that were never filled are zeros, and their times are in the first
    nanoseconds of 1970. Only lines with such a time are read.
    """
    if not contents.has("time"):
        return None
    try:
        _check_axes(contents, "time", len(lines))
        times = _decoded_times(contents)
    except (ArgumentError, FileError):  # logged when they are asked for
        return None
    empty = np.flatnonzero(was_never_set(times))
    n_at_once = max(1, BLOCK_BYTES // max(1, lines.shape[1] * lines.shape[2] * lines.dtype.itemsize))
    if len(empty) == 0:
        return None
    blocks = [empty[begin : begin + n_at_once] for begin in range(0, len(empty), n_at_once)]
    empty = np.concatenate([block[~lines.read(block).any(axis=(1, 2))] for block in blocks])
    if len(empty) == 0:
        return None
    log_once(
        contents.path,
        f"{len(empty)} of {len(lines)} lines are left out: they were never filled (zeros, with times of 1970)",
    )
    return np.setdiff1d(np.arange(len(lines)), empty)
