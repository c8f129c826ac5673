"""Geometry of a line in a frame: the illuminated rows, and the shift of each by the smile."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from openhsi_shared.calibration import Calibration
from openhsi_shared.errors import LevelError
from openhsi_shared.processing_levels import LEVELS

__all__ = ["Geometry", "geometry_of"]


@dataclass(frozen=True, eq=False)
class Geometry:
    """Row i of a line is row `rows.start + i` of the frame, from column `shifts[i]` on, `n_columns` long."""

    rows: slice
    shifts: NDArray[np.int64]
    n_columns: int

    @property
    def n_rows(self) -> int:
        """Number of rows of a line."""
        return len(self.shifts)

    def crop(self, frame: NDArray[Any]) -> NDArray[Any]:
        """The illuminated rows, as a view."""
        return frame[self.rows]

    def without_smile(self, pixels: NDArray[Any], dtype: np.dtype[Any] | None = None) -> NDArray[Any]:
        """Correct the smile of a cropped frame, or of a reference frame, into a new array of `dtype`."""
        out = np.empty((self.n_rows, self.n_columns), pixels.dtype if dtype is None else dtype)
        begins = np.flatnonzero(np.diff(self.shifts, prepend=-1))
        for begin, end in zip(begins, [*begins[1:], self.n_rows], strict=True):  # adjacent rows mostly shift alike
            shift = self.shifts[begin]
            np.copyto(out[begin:end], pixels[begin:end, shift : shift + self.n_columns], casting="unsafe")
        return out


def geometry_of(
    calibration: Calibration, level: int, frame_shape: tuple[int, int], rows: slice, *, is_compat: bool = False
) -> Geometry:
    """Check that the calibration supports the level, and fits the frames. LevelError if not.

    CalibrationError for an invalid value, such as fractional smile_shifts. `is_compat` accepts, as openhsi does, a
    calibration of more rows than the frame has, and uses the first ones.
    """
    missing = calibration.missing_for(level)
    if missing:
        lack = f"which {calibration.name} does not hold" if calibration else "but no calibration was given"
        raise LevelError(
            f"processing_lvl={level} needs {', '.join(missing)}, {lack}: it supports the levels "
            f"{', '.join(map(str, calibration.levels_served))}; pass a cal_path to a complete file, or add what is "
            f"missing with Calibration.with_values and write_calibration"
        )
    calibration.check_values(level, is_compat=is_compat)
    shifts = np.asarray(calibration["smile_shifts"]).astype(np.int64)
    n_rows, n_frame_columns = rows.stop - rows.start, frame_shape[1]
    if len(shifts) != n_rows and not (is_compat and len(shifts) > n_rows):
        raise LevelError(
            f"smile_shifts of {calibration.name} are for {len(shifts)} rows, but row_slice keeps {n_rows} "
            f"({rows.start} to {rows.stop}): set row_slice to the rows that were calibrated, or recalibrate"
        )
    n_columns = n_frame_columns - int(shifts.max())
    if shifts.min() < 0 or n_columns < 1:
        raise LevelError(
            f"smile_shifts of {calibration.name} go from {shifts.min()} to {shifts.max()}, expected from 0 "
            f"to less than the {n_frame_columns} columns of a frame"
        )
    _refuse_other_shapes(calibration, level, n_rows, n_columns, n_frame_columns)
    return Geometry(rows, shifts[:n_rows], n_columns)


def _refuse_other_shapes(calibration: Calibration, level: int, n_rows: int, n_columns: int, n_frame: int) -> None:
    for key in ("wavelengths", "wavelengths_linear"):
        if LEVELS[level].binning and key in calibration and len(calibration[key]) != n_columns:
            raise LevelError(
                f"{key} of {calibration.name} has {len(calibration[key])} values, but {n_columns} columns "
                f"are left of a frame of {n_frame} after smile correction: it is for another camera or window"
            )
    if LEVELS[level].makes_radiance:
        dims = calibration.dims.get("rad_ref", ("cross_track", "wavelength_index"))
        shape = dict(zip(dims, np.shape(calibration["rad_ref"]), strict=False))
        if shape.get("cross_track", 0) < n_rows or shape.get("wavelength_index") != n_frame:
            raise LevelError(
                f"rad_ref of {calibration.name} is for {shape}, but frames keep {n_rows} rows of {n_frame} "
                f"columns: it is for another camera or window"
            )
