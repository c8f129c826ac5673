"""Pictures beside cubes, as PNG."""

import contextlib
import errno
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from openhsi_shared.errors import ArgumentError, PreviewError
from openhsi_shared.files.png import PNG_SIGNATURE, encoded_png
from openhsi_shared.line_times import begin_of
from openhsi_shared.paths import given_path
from openhsi_shared.renaming import replace_file
from openhsi_shared.rgb import PREVIEW_RANGES_NM, Range, decimation, mean_of_bands, picture, preview_bands, thinned

__all__ = ["Picture", "png_of", "preview_of", "preview_path", "read_picture", "write_png", "write_preview"]


def preview_path(path: str | Path, out: str | Path | None = None) -> Path:
    """Path of the picture of the cube `path`: beside it, in the directory `out`, or at the path `out` itself.

    >>> preview_path("2024_05_01/flight.nc").as_posix()
    '2024_05_01/flight.png'
    """
    path = given_path(path)
    if out is None:
        return path.with_suffix(".png")
    out = given_path(out, "out")
    return out / path.with_suffix(".png").name if out.is_dir() else out


def write_preview(picture: NDArray[np.uint8], path: str | Path) -> Path:
    """Write `picture`, uint8 of (rows, columns) or (rows, columns, 3), as the PNG `path`; return the path.

    The file appears when it is complete and durable. An existing PNG is replaced, any other file is not. Blocks for the
    compression, about 10 ms for 1024 lines. Raises PreviewError (an OSError with its true `errno`, naming `path`),
    ArgumentError for an array that is not a picture.
    """
    path = given_path(path)
    return write_png(png_of(picture, path), path)


def png_of(picture: NDArray[np.uint8], path: Path) -> bytes:
    """The bytes of the PNG, which nothing has written; `path` is that of messages. Raises as `write_preview`."""
    if picture.dtype != np.uint8 or picture.shape[2:] not in ((), (3,)) or picture.size == 0 or picture.ndim < 2:
        raise ArgumentError(
            f"a picture is uint8 of (rows, columns) or (rows, columns, 3) and not empty, "
            f"got {picture.dtype} {picture.shape} for {path}"
        )
    return encoded_png(picture)


def write_png(content: bytes, path: Path) -> Path:
    """Write what `png_of` gave; return the path. Raises as `write_preview`."""
    try:
        _refuse_to_replace(path)
        replace_file(path, content)
    except OSError as error:
        raise PreviewError(error.errno or errno.EIO, error.strerror or str(error), str(path)) from error
    return path


def _refuse_to_replace(path: Path) -> None:
    """Raise FileExistsError if a file that is not a PNG, and so not a preview, exists at `path`."""
    is_replaceable = not os.path.lexists(path) or path.is_file()  # in this order: another writer may publish it now
    if is_replaceable:
        with contextlib.suppress(FileNotFoundError), path.open("rb") as file:
            is_replaceable = file.read(len(PNG_SIGNATURE)) == PNG_SIGNATURE
    if not is_replaceable:
        raise FileExistsError(
            errno.EEXIST, "the existing file is not a PNG: move it, or choose another name", str(path)
        )


class Picture(NamedTuple):
    """The picture of a saved cube, and the data of its caption."""

    image: NDArray[np.uint8]
    """(cross-track, along-track, 3), or (cross-track, along-track) in grey"""
    n_lines: int
    n_cross: int
    """Cross-track pixels of the cube; the picture has fewer of both if a side is above 4096."""
    begun_ns: int | None
    """UTC of the first line; None if the file does not contain it."""


def read_picture(
    path: str | Path,
    *,
    ranges: Sequence[Range] = PREVIEW_RANGES_NM,
    robust: bool | float | None = None,
    hist_eq: bool = False,
) -> Picture:
    """Make the picture of the saved cube `path`, written by this library or by openhsi.

    A colour is the mean of at most 16 evenly spaced bands of its range, grey that of at most 48. Reads in blocks of
    lines, of a cube with more than 4096 lines only those that are shown, and checks what it reads.
    Raises FileError (ChecksumError for a damaged line) for a damaged or foreign file, ArgumentError.
    """
    from openhsi_shared.files import open_cube

    with open_cube(path) as cube:
        lines: Any = cube.lines
        cube.check_not_empty()
        bands = thinned(preview_bands(cube.wavelengths_nm, lines.shape[2], ranges))
        means = mean_of_bands(lines, bands, step=decimation(lines.shape[0]))
        times_ns = cube.times_ns
        begun_ns = None if times_ns is None else begin_of(times_ns)
        image = picture(means, robust=robust, hist_eq=hist_eq)
        return Picture(image, lines.shape[0], lines.shape[1], begun_ns)


def preview_of(
    path: str | Path,
    out: str | Path | None = None,
    *,
    ranges: Sequence[Range] = PREVIEW_RANGES_NM,
    robust: bool | float | None = None,
    hist_eq: bool = False,
) -> Path:
    """Write the picture of the saved cube `path`, and return its path (see `preview_path`).

    Raises what `read_picture` and `write_preview` raise.
    """
    made = read_picture(path, ranges=ranges, robust=robust, hist_eq=hist_eq)
    return write_preview(made.image, preview_path(path, out))
