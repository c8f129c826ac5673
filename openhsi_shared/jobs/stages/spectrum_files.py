"""Spectra in files: columns of text, or the mean of a cube."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from openhsi_shared.errors import ArgumentError, FileError
from openhsi_shared.files import open_cube
from openhsi_shared.files.recorded import bad_lines_of
from openhsi_shared.paths import given_path
from openhsi_shared.wavelengths import in_nanometres

__all__ = ["read_spectrum"]

MAX_BYTES = 4 << 20
"""Of a text file: a spectrum has some thousands of values."""
BINARY = (b"\x89HDF", b"CDF")
"""Files that begin so are cubes."""
HUGE = 1e24
"""More is a mark of libraries for a value that was deleted, such as -1.23e34."""

Spectrum = tuple[NDArray[np.float64], NDArray[np.float64] | None]


def read_spectrum(path: str | Path, units: str = "nm") -> Spectrum:
    """Read values, and their wavelengths in nm, in increasing order, if the file has them. FileError, ArgumentError.

    A cube gives the mean of its pixels in each band, of those that are finite; it is read in blocks, once. A text has
    one column or two, separated by spaces, tabs, commas or semicolons; lines before the first one with numbers only
    are its header, and `units` those of the wavelengths. Of a text with wavelengths, values above 1e24 are left out.
    """
    path = given_path(path, "path of a spectrum")
    try:
        with path.open("rb") as file:
            content = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise FileError(f"{path}: a spectrum cannot be read: {error}") from error
    if content.startswith(BINARY):
        return _mean_of_cube(path)
    return _columns(path, content.decode("utf-8-sig", errors="replace"), units)


def _mean_of_cube(path: Path) -> Spectrum:
    with open_cube(path) as cube:
        cube.check_not_empty()
        n_bands = cube.lines.shape[2]
        sums, counts = np.zeros(n_bands), np.zeros(n_bands, np.int64)
        bad = bad_lines_of(cube)
        n_at_once = max(1, (16 << 20) // max(1, cube.lines[0].nbytes))
        for first in range(0, len(cube.lines), n_at_once):
            for number, line in enumerate(cube.lines[first : first + n_at_once], start=first):
                is_finite = np.isfinite(line) & (bad is None or not bad[number])
                sums += np.where(is_finite, line, 0).sum(axis=0, dtype=np.float64)
                counts += is_finite.sum(axis=0)
        wavelengths = cube.wavelengths_nm
    if not counts.all():
        raise FileError(f"{path}: no pixel of the bands {np.flatnonzero(counts == 0).tolist()} is finite")
    if wavelengths is None:
        return sums / counts, None
    return _in_order(path, wavelengths, sums / counts)


def _columns(path: Path, text: str, units: str) -> Spectrum:
    if len(text) > MAX_BYTES or "\0" in text:
        raise FileError(f"{path}: is no spectrum: expected a text of one or two columns of numbers, or a cube")
    rows: list[list[float]] = []
    for number, line in enumerate(text.splitlines(), start=1):
        words = line.split("#")[0].replace(",", " ").replace(";", " ").split()
        try:
            row = [float(word) for word in words]
        except ValueError:
            if rows:
                raise FileError(f"{path}: line {number} is {line.strip()!r:.60}, expected numbers") from None
            continue
        if row:
            rows.append(row)
    if not rows or len(rows[0]) > 2 or any(len(row) != len(rows[0]) for row in rows):
        found = sorted({len(row) for row in rows}) or "no"
        raise FileError(
            f"{path}: has {found} columns of numbers, expected one, a value for each band, or two: wavelength and value"
        )
    table = np.array(rows)
    is_value = np.abs(table[:, -1]) < HUGE  # NaN is none
    if table.shape[1] == 1:
        if not is_value.all():
            raise FileError(f"{path}: {table[~is_value][0, 0]:g} is no value; without wavelengths none can be left out")
        return table[:, 0], None
    table = table[is_value]
    try:
        wavelengths = in_nanometres(table[:, 0], units)
    except ArgumentError as error:
        raise FileError(f"{path}: {error}") from error
    return _in_order(path, wavelengths, table[:, 1])


def _in_order(path: Path, wavelengths: NDArray[np.float64], values: NDArray[np.float64]) -> Spectrum:
    order = np.argsort(wavelengths)
    if not np.all(np.diff(wavelengths[order]) > 0):
        raise FileError(f"{path}: some wavelengths are there twice, expected one value for each")
    return values[order], wavelengths[order]
