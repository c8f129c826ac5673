"""Levels 1 to 8 in one pass over the frame, float32, physically correct.

Radiance is (x - dark) x gain with gain = luminance / lit x sfit(wavelength) / spec_rad_ref_luminance, averaged over a
band. Computed from summed pixels (levels 4, 6), dark and gain are those of bands; from single pixels (5, 7, 8), the
darks become one offset per band: sum (x - dark) gain = sum x gain - sum dark gain.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from openhsi_shared.calibration import Calibration
from openhsi_shared.errors import FrameError, LevelError
from openhsi_shared.levels import kernels
from openhsi_shared.levels.bands import Bands, equal_columns, equal_nanometres
from openhsi_shared.levels.compiled import compiled
from openhsi_shared.levels.geometry import Geometry, geometry_of
from openhsi_shared.levels.references import reference_at
from openhsi_shared.packages import require
from openhsi_shared.processing_levels import LEVELS, ProcessingLevel

__all__ = ["FusedLevel"]

_KERNELS = {
    (): kernels.make_shift,
    ("fast_bin",): kernels.make_sum,
    ("slow_bin",): kernels.make_uneven_sum,
    ("fast_bin", "dn2rad"): kernels.make_calibrated_sum,
    ("dn2rad", "fast_bin"): kernels.make_weighing,
    ("dn2rad", "slow_bin"): kernels.make_uneven_weighing,
}
"""Kernels by the steps between `fast_smile` and reflectance, which is only another factor."""


class FusedLevel:
    """One of the levels 1 to 8 for frames of uint8 or uint16.

    LevelError if the calibration does not support it, PackageMissing without numba, or scipy for radiance.
    """

    def __init__(
        self,
        level: int,
        frame_shape: tuple[int, int],
        frame_dtype: np.dtype[Any],
        rows: slice,
        calibration: Calibration,
        fwhm_nm: float,
        exposure_ms: float,
        luminance: float | None,
    ) -> None:
        if frame_dtype not in (np.dtype(np.uint8), np.dtype(np.uint16)):
            raise LevelError(
                f"processing_lvl={level} needs frames of uint8 or uint16, got {frame_dtype}: levels -1 and 0 take all"
            )
        scipy = ("scipy",) if LEVELS[level].makes_radiance else ()
        require(f"processing_lvl={level}", "numba", *scipy)
        self._frame_shape, self._frame_dtype = frame_shape, frame_dtype
        self._geometry = geometry_of(calibration, level, frame_shape, rows)
        facts, bands = LEVELS[level], None
        if facts.binning == "fast_bin":
            bands = equal_columns(calibration, frame_shape[1], fwhm_nm)
        elif facts.binning == "slow_bin":
            bands = equal_nanometres(calibration, fwhm_nm)
        self.line_shape = self._geometry.n_rows, self._geometry.n_columns if bands is None else len(bands.n_columns)
        self.line_dtype = frame_dtype if bands is None else np.dtype(np.float32)
        self.wavelengths_nm = _wavelengths(calibration, self._geometry, bands)
        self._make, self._constants = _KERNELS[facts.steps[2:4]], () if bands is None else (int(bands.n_columns.min()),)
        arrays: list[NDArray[Any]] = [self._geometry.shifts]
        if bands is not None and facts.binning == "slow_bin":
            arrays.append(bands.edges.astype(np.uint64))
        if bands is not None and facts.makes_radiance:
            arrays += _factors(facts, self._geometry, bands, calibration, exposure_ms, luminance)
        self._arrays = tuple(np.ascontiguousarray(array) for array in arrays)
        self._kernel: Any = None

    def warm(self) -> None:
        """Compile the kernel, or load it. The first time in a process, blocks for seconds, or for 0.1 s."""
        kinds = [f"{array.dtype}:{array.ndim}" for array in self._arrays]
        dtypes = (f"{self._frame_dtype}:2", *kinds, f"{self.line_dtype}:2")
        self._kernel = compiled(self._make, self._constants, dtypes)

    def apply(self, frame: NDArray[Any], line: NDArray[Any]) -> None:
        """Compute `line`, which must be contiguous, from a frame. Blocks to compile the kernel unless it is warm."""
        if self._kernel is None:
            self.warm()
        if frame.dtype != self._frame_dtype or not frame.flags.c_contiguous:
            frame = np.ascontiguousarray(frame, self._frame_dtype)
        if frame.shape != self._frame_shape or line.shape != self.line_shape or line.dtype != self.line_dtype:
            raise FrameError(
                f"a frame of {frame.shape} for a line of {line.dtype} {line.shape}, expected {self._frame_shape} for "
                f"{self.line_dtype} {self.line_shape}"
            )
        self._kernel(frame, self._geometry.rows.start, *self._arrays, line)


def _wavelengths(calibration: Calibration, geometry: Geometry, bands: Bands | None) -> NDArray[np.float64] | None:
    if bands is not None:
        return np.asarray(
            np.around(bands.wavelengths_nm.astype(np.float64), 3), np.float64
        )  # undo the rounding of float32: 405.4 again
    wavelengths = calibration.wavelengths_nm
    return wavelengths if wavelengths is not None and len(wavelengths) == geometry.n_columns else None


def _factors(
    level: ProcessingLevel,
    geometry: Geometry,
    bands: Bands,
    calibration: Calibration,
    exposure_ms: float,
    luminance: float | None,
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Dark and gain of bands if bands are calibrated; else gain of pixels, divided by their number, and band offsets.

    Where the lamp gave no signal, the gain is NaN, and so is the radiance.
    """
    reference = reference_at(calibration, exposure_ms, luminance)
    dark, lit = (geometry.without_smile(picture) for picture in (reference.dark, reference.lit))
    of_bands = level.calibrates_bands
    at_nm = bands.wavelengths_nm if of_bands else calibration["wavelengths"]
    lamp = reference.luminance * calibration.curve("sfit", at_nm) / calibration.luminance_of_sfit
    white = calibration.curve("rad_fit", bands.wavelengths_nm) if level.quantity == "reflectance" else np.float64(1)
    if of_bands:
        return bands.sum(dark).astype(np.float32), _over(lamp / white, bands.sum(lit)).astype(np.float32)
    n_columns = bands.edges[-1]
    dark, lit, lamp = dark[:, :n_columns], lit[:, :n_columns], lamp[:n_columns]
    share = np.repeat(1 / (bands.n_columns * white), bands.n_columns)
    before = bands.edges[0]
    gain = np.zeros_like(lit)
    gain[:, before:] = _over(lamp[before:] * share, lit[:, before:])
    return gain.astype(np.float32), bands.sum(dark * gain).astype(np.float32)


def _over(numerator: NDArray[Any], denominator: NDArray[np.float64]) -> NDArray[np.float64]:
    """Divide; division by 0 gives NaN."""
    out = np.full(denominator.shape, np.nan)
    np.divide(numerator, denominator, out=out, where=denominator != 0)
    return out
