"""References in files: of a camera, the mean of lines of a cube, or an array. One is read once in a process."""

import json
import threading
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from openhsi_shared.errors import FileError, StageNotApplicable
from openhsi_shared.files.reading import OpenCube, open_cube
from openhsi_shared.files.recorded import bad_lines_of
from openhsi_shared.files.references import Reference, differences, is_reference
from openhsi_shared.jobs.stages.binning import compiled_bin
from openhsi_shared.jobs.stages.pixels import as_compiled, changes_in, range_of
from openhsi_shared.jobs.stages.stage import LineFormat
from openhsi_shared.paths import file_version

__all__ = ["ReferenceFile"]

BLOCK_BYTES = 8 << 20
MAX_KEPT = 8
"""References in memory, each of the size of a line in float64."""
RAW, WHOLE = -1, (0, -1)
"""The level of frames that are not cropped, and the `row_slice` that crops nothing."""
_kept: dict[tuple[Any, ...], NDArray[np.float64]] = {}
_reading = threading.Lock()


class ReferenceFile:
    """A file of `take_reference`, a cube of which some lines show a reference, or a `.npy` file with an array.

    All methods raise FileError if it cannot be read, StageNotApplicable if it does not fit.
    """

    def __init__(self, code: str, path: Path, lines: slice | None) -> None:
        self._code, self._path, self._lines = code, path, lines

    def check(self, source: LineFormat, level: int | None, changes: list[str]) -> None:
        """Refuse one with other pixels or bands than `source`, of another level than `level`, of another exposure, or
        with other `changes` by stages, as `changes_in` has them.

        The exposure must be that of the cube for digital numbers only. What a file does not contain is not compared.
        """
        if self._path.suffix == ".npy":
            self._check_shape(self._array().shape, source)
            return
        if is_reference(self._path):
            self._check_reference(self._reference(), source, level)
            return
        with open_cube(self._path, check=False) as cube:
            cube.check_not_empty()
            self._check_shape(cube.lines.shape[1:], source)
            self._chosen(cube)
            if cube.level is not None and cube.level != level:
                of_lines = f"of level {level}" if level is not None else "changed by another stage"
                raise StageNotApplicable(
                    f"{self._code}: {self._path} is of level {cube.level}, but the lines are {of_lines}: process the "
                    "reference as them, or use this stage at another place"
                )
            labels = cube.contents.attributes("datacube")
            own, is_of_user = changes_in(labels), str(labels.get("long_name", "")).startswith("result of ")
            if cube.is_ours and own != changes and not is_of_user:
                raise StageNotApplicable(
                    f"{self._code}: {self._path} has {_text(own)}, but the lines have {_text(changes)}: process the "
                    "reference as them, or use this stage at another place"
                )
            if found := _window_differences(cube, source):
                raise StageNotApplicable(
                    f"{self._code}: {self._path} does not belong to {source.source.path}: {'; '.join(found)}"
                )
            exposures = cube.attributes.get("exposure_ms"), source.source.recorded_exposure_ms
            if source.quantity == "counts" and None not in exposures and exposures[0] != exposures[1]:
                raise StageNotApplicable(
                    f"{self._code}: {self._path} was exposed for {exposures[0]} ms, but {source.source.path} for "
                    f"{exposures[1]} ms: take a reference of the same exposure"
                )
            if source.wavelengths_nm is not None and cube.wavelengths_nm is not None:
                self._check_wavelengths(cube.wavelengths_nm, source.wavelengths_nm)

    def mean(self) -> NDArray[np.float64]:
        """The reference (cross-track, wavelength). Blocks while it is read, the first time."""
        try:
            key = (*file_version(self._path), str(self._lines))
        except OSError as error:
            raise FileError(f"{self._code}: the reference {self._path} cannot be read: {error.strerror}") from error
        with _reading:  # workers ask for the same one at the same time
            if key not in _kept:
                while len(_kept) >= MAX_KEPT:
                    _kept.pop(next(iter(_kept)))
                _kept[key] = self._read()
            return _kept[key]

    def _read(self) -> NDArray[np.float64]:
        if self._path.suffix == ".npy":
            return self._array()
        return self._reference().mean.astype(np.float64) if is_reference(self._path) else self._mean_of_cube()

    def _refuse_lines(self, what: str) -> None:
        if self._lines is not None:
            raise StageNotApplicable(f"{self._code}: {self._path} is {what}, and has no lines: leave out lines=")

    def _reference(self) -> Reference:
        self._refuse_lines("a reference")
        return Reference.read(self._path)

    def _check_reference(self, reference: Reference, source: LineFormat, level: int | None) -> None:
        self._check_shape(reference.mean.shape, source)
        cube = source.source
        found = differences(reference.attributes, {**cube.attributes, "level": level})
        if level is None:
            found.append("the lines are changed by another stage")
        if found:
            raise StageNotApplicable(f"{self._code}: {self._path} does not belong to {cube.path}: {'; '.join(found)}")

    def _array(self) -> NDArray[np.float64]:
        self._refuse_lines("one reference in an array")
        try:
            found = np.load(self._path, allow_pickle=False)
        except (OSError, ValueError, EOFError) as error:
            raise FileError(f"{self._code}: the reference {self._path} cannot be read: {error}") from error
        if not isinstance(found, np.ndarray) or found.ndim != 2 or found.dtype.kind not in "iuf":
            what = f"{found.dtype} {found.shape}" if isinstance(found, np.ndarray) else "several arrays"
            raise FileError(
                f"{self._code}: the reference {self._path} has {what}, expected numbers (cross-track, wavelength)"
            )
        return found.astype(np.float64)

    def _mean_of_cube(self) -> NDArray[np.float64]:
        """Mean of the lines that are not damaged, and that no job marked."""
        with open_cube(self._path) as cube:
            chosen, bad = self._chosen(cube), bad_lines_of(cube)
            dtype, shape = np.dtype(cube.lines.dtype), cube.lines.shape[1:]
            n_at_once = max(1, BLOCK_BYTES // (shape[0] * shape[1] * dtype.itemsize))
            lines = np.empty((n_at_once, *shape), dtype)
            add, once = compiled_bin(dtype, np.dtype(np.float64), is_mean=False), np.array([1])
            total, part, n = np.zeros(shape), np.empty(shape), 0
            for first in range(chosen.start, chosen.stop, n_at_once):
                n_read = min(n_at_once, chosen.stop - first)
                good = cube.lines.read_into(first, first + n_read, lines[:n_read])
                if bad is not None:
                    good &= ~bad[first : first + n_read]
                if good.any():
                    add(as_compiled(lines[:n_read][good]), once, part)
                    total += part
                    n += int(good.sum())
        if n == 0:
            raise FileError(
                f"{self._code}: all lines of the reference {self._path} are damaged, or failed: look for another copy"
            )
        return total / n

    def _chosen(self, cube: OpenCube) -> range:
        return range_of(f"{self._code} ({self._path})", "lines", self._lines, len(cube.lines), "lines")

    def _check_shape(self, shape: tuple[int, ...], source: LineFormat) -> None:
        if shape != source.line_shape:
            raise StageNotApplicable(
                f"{self._code}: the reference {self._path} has {shape[0]} x {shape[1]} (cross-track, wavelength), "
                f"the lines {source.line_shape[0]} x {source.line_shape[1]}: expected as many of both"
            )

    def _check_wavelengths(self, found: NDArray[np.float64], expected: NDArray[np.float64]) -> None:
        if np.abs(found - expected).max() > 1.0:
            raise StageNotApplicable(
                f"{self._code}: the bands of {self._path} are from {found[0]:.1f} to {found[-1]:.1f} nm, those of the "
                f"lines from {expected[0]:.1f} to {expected[-1]:.1f} nm: expected the same"
            )


def _text(changes: list[str]) -> str:
    return f"a {', a '.join(changes)}" if changes else "the numbers of their level"


def _window_differences(cube: OpenCube, source: LineFormat) -> list[str]:
    """Where the pixels of a reference are others of the sensor than those of the lines, by the settings of both."""
    about = source.source
    if not (cube.is_ours and about.is_ours):
        return []
    own, other = (json.loads(one.attributes.get("settings") or "{}") for one in (cube, about))
    if source.level != about.level:  # the job has cropped
        other["row_slice"] = about.settings.row_slice
    names = ("win_offset", "win_resolution", "binxy", *(("row_slice",) if cube.level != RAW else ()))
    return [
        f"its {name} is {own[name]}, not {other[name]}"
        for name in names
        if name in own and name in other and list(own[name] or WHOLE) != list(other[name] or WHOLE)
    ]
