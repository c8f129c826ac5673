"""Levels as a sequence of transforms: openhsi's own arithmetic, and functions of the user.

In openhsi, smile correction and slow binning use buffers of the camera's integer type, even for floats: radiance is
truncated to integers, and wraps around at 256 with 8 bits; radiance of bands is a sum. `compat="openhsi"` gives
bit-identical results.
"""

import functools
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from openhsi_shared.calibration import Calibration
from openhsi_shared.errors import CalibrationError, FrameError, LevelError, PackageMissing
from openhsi_shared.groups import NUMBER_TYPES
from openhsi_shared.levels.bands import Bands, equal_columns, equal_nanometres
from openhsi_shared.levels.geometry import Geometry, geometry_of
from openhsi_shared.levels.references import Reference, reference_at
from openhsi_shared.masked import unmasked
from openhsi_shared.processing_levels import LEVELS

__all__ = ["StepwiseLevel", "Transforms", "stored_dtype"]

Transform = Callable[[NDArray[Any]], NDArray[Any]]


class Transforms:
    """openhsi's transforms for one level; each returns a new array, (cross-track, wavelength).

    With `is_compat` in integer buffers, else in floats. The first call of a transform raises LevelError if the
    calibration lacks a value.
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
        *,
        is_compat: bool,
    ) -> None:
        self._level, self._frame_shape, self._rows, self._calibration = LEVELS[level], frame_shape, rows, calibration
        self._fwhm_nm, self._exposure_ms, self._luminance = fwhm_nm, exposure_ms, luminance
        self._buffer_dtype = frame_dtype if is_compat else None
        self._is_compat = is_compat

    # ---- transforms ----

    def crop(self, frame: NDArray[Any]) -> NDArray[Any]:
        """Crop to the illuminated rows. LevelError if a frame does not have them."""
        if self._rows.stop > len(frame):
            raise LevelError(
                f"row_slice {[self._rows.start, self._rows.stop]} is outside the {len(frame)} rows of a frame: correct "
                f"row_slice, or resolution"
            )
        return frame[self._rows]

    def fast_smile(self, pixels: NDArray[Any]) -> NDArray[Any]:
        """Correct the smile of a cropped frame."""
        return self._smile(1).without_smile(pixels, self._buffer_dtype)

    def fast_bin(self, pixels: NDArray[Any]) -> NDArray[Any]:
        """Sum bands of equal column count."""
        width = self.fast_bands.width or 1
        n_bands = len(self.fast_bands.n_columns)
        columns = pixels[:, : n_bands * width].reshape(-1, n_bands, width)
        summed: NDArray[Any] = columns.sum(axis=2, dtype=None if self._is_compat else np.float32)
        return summed

    def slow_bin(self, pixels: NDArray[Any]) -> NDArray[Any]:
        """Sum bands of equal width in nm."""
        edges = self.slow_bands.edges
        out = np.empty((len(pixels), len(edges) - 1), self._buffer_dtype or np.float32)
        with np.errstate(invalid="ignore"):  # integers wrap around, as in openhsi
            for band in range(len(edges) - 1):
                columns = pixels[:, edges[band] : edges[band + 1]]
                np.copyto(out[:, band], columns.sum(axis=1, dtype=np.float32), casting="unsafe")
        return out

    def dn2rad(self, pixels: NDArray[Any]) -> NDArray[Any]:
        """Convert digital numbers to radiance, in uW/cm^2/sr/nm; at levels 4 and 6 from binned pixels."""
        dark, lit, lamp, luminance = self._radiance
        with np.errstate(divide="ignore", invalid="ignore"):  # where the lamp gave no signal
            radiance: NDArray[Any] = (pixels.astype(np.float32) - dark) * luminance / lit * lamp
            radiance = radiance / np.float64(self._calibration.luminance_of_sfit)
            return radiance if self._is_compat else radiance.astype(np.float32)

    def rad2ref_6SV(self, radiance: NDArray[Any]) -> NDArray[Any]:  # noqa: N802 - openhsi's name
        """Convert to reflectance: divide radiance by that of a white target in the sun."""
        reflectance: NDArray[Any] = radiance / self._white
        return reflectance if self._is_compat else reflectance.astype(np.float32)

    # ---- inputs of the transforms ----

    def _smile(self, level: int) -> Geometry:
        return geometry_of(self._calibration, level, self._frame_shape, self._rows, is_compat=self._is_compat)

    @property
    def shapes(self) -> dict[int, tuple[int, int]]:
        """Shape of a line of the levels 0 and 1, as far as the calibration supports them."""
        shapes = {0: (self._rows.stop - self._rows.start, self._frame_shape[1])}
        try:
            smile = self._smile(1)
        except (LevelError, CalibrationError):
            return shapes
        return shapes | {1: (smile.n_rows, smile.n_columns)}

    @functools.cached_property
    def fast_bands(self) -> Bands:
        """Bands of equal column count."""
        self._smile(2)
        return equal_columns(self._calibration, self._frame_shape[1], self._fwhm_nm)

    @functools.cached_property
    def slow_bands(self) -> Bands:
        """Bands of equal width in nm."""
        self._smile(3)
        return equal_nanometres(self._calibration, self._fwhm_nm)

    @property
    def bands(self) -> Bands:
        """The bands of this level."""
        return self.slow_bands if self._level.binning == "slow_bin" else self.fast_bands

    @property
    def band_wavelengths_nm(self) -> NDArray[Any] | None:
        """Labels of `bands`; None if the level has no bands, or the calibration does not support them."""
        binning = self._level.binning
        if binning is None or self._calibration.missing_for(3 if binning == "slow_bin" else 2):
            return None
        return self.bands.wavelengths_nm

    @functools.cached_property
    def _reference(self) -> Reference:
        return reference_at(self._calibration, self._exposure_ms, self._luminance)

    @functools.cached_property
    def _radiance(self) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any], int | float]:
        """Dark, lit, lamp's spectral radiance, and its luminance."""
        is_binned = self._level.calibrates_bands
        self._smile(4 if is_binned else 7)
        with np.errstate(invalid="ignore"):
            dark, lit = (
                self.fast_smile(part).astype(np.float32) for part in (self._reference.dark, self._reference.lit)
            )
        if is_binned:
            dark, lit = self.fast_bin(dark), self.fast_bin(lit)
        at_nm = self.fast_bands.wavelengths_nm if is_binned else self._calibration["wavelengths"]
        lamp = self._calibration.curve("sfit", at_nm).astype(np.float32)
        return dark, lit, lamp, self._reference.luminance

    @functools.cached_property
    def _white(self) -> NDArray[np.float32]:
        return self._calibration.curve("rad_fit", self.bands.wavelengths_nm).astype(np.float32)


class StepwiseLevel:
    """A sequence of functions, run once on a frame of zeros to determine shape and type. LevelError if that fails.

    With `is_exact` a line of another type is an error if its values might change in the type of the first one.
    """

    def __init__(
        self,
        steps: Sequence[Transform],
        frame_shape: tuple[int, int],
        frame_dtype: np.dtype[Any],
        names: str,
        *,
        is_exact: bool = False,
    ) -> None:
        self._steps, self._names, self._is_exact = tuple(steps), names, is_exact
        try:
            made = [np.shape(line) for line in self._run_each(np.zeros(frame_shape, frame_dtype))]
            line = self._run(np.zeros(frame_shape, frame_dtype))
        except (LevelError, CalibrationError, PackageMissing):
            raise
        except Exception as error:
            raise LevelError(f"{names} failed on a frame of zeros, {frame_shape}: {error!r}") from error
        if not isinstance(line, np.ndarray) or line.ndim != 2 or 0 in line.shape or line.dtype.kind not in "biufc":
            what = f"of shape {getattr(line, 'shape', None)} and type {getattr(line, 'dtype', None)}"
            raise LevelError(f"{names} returned {type(line).__name__} {what}, expected a line: a 2-D array of numbers")
        self._shapes = made
        self.line_shape: tuple[int, int] = line.shape
        self.found_dtype: np.dtype[Any] = line.dtype.newbyteorder("=")
        self.stored_dtype = stored_dtype(self.found_dtype, names)

    def warm(self) -> None:
        """No-op: it has run already."""

    def apply(self, frame: NDArray[Any], line: NDArray[Any]) -> None:
        """Compute `line` from a frame. FrameError if shape or type are not those of the first line."""
        made = self._run(frame)
        if np.shape(made) != self.line_shape:
            self._refuse_shape(frame)
        if self._is_exact and made.dtype != self.found_dtype and not np.can_cast(made.dtype, line.dtype, "safe"):
            raise FrameError(
                f"{self._names} returned {made.dtype} for a frame, but {self.found_dtype} for a frame of zeros: "
                f"expected the same type for each frame"
            )
        with np.errstate(invalid="ignore"):
            np.copyto(line, made, casting="unsafe")

    def _run(self, frame: NDArray[Any]) -> NDArray[Any]:
        for step in self._steps:
            frame = step(frame)
        return unmasked(frame, f"{self._names} returned") if isinstance(frame, np.ma.MaskedArray) else frame

    def _run_each(self, frame: NDArray[Any]) -> Iterator[NDArray[Any]]:
        for step in self._steps:
            frame = step(frame)
            yield frame

    def _refuse_shape(self, frame: NDArray[Any]) -> None:
        """Raise FrameError that names the first function whose result has another shape than for a frame of zeros."""
        for step, shape, made in zip(self._steps, self._shapes, self._run_each(frame), strict=True):
            if np.shape(made) != shape:
                raise FrameError(
                    f"{getattr(step, '__name__', repr(step))} of {self._names} returned the shape {np.shape(made)} for "
                    f"a frame, but {shape} for a frame of zeros: expected the same shape for each frame"
                )
        raise FrameError(f"{self._names} returned different shapes for the same frame")


def stored_dtype(dtype: np.dtype[Any], what: str) -> np.dtype[Any]:
    """The type in which pixels of `dtype` are stored: the same; uint8 for bool. LevelError if netCDF has no such type.

    >>> stored_dtype(np.dtype("i8"), "level"), stored_dtype(np.dtype(bool), "level")
    (dtype('int64'), dtype('uint8'))
    """
    if dtype.kind == "b":
        return np.dtype(np.uint8)
    if dtype.newbyteorder("<").str[1:] in NUMBER_TYPES:
        return dtype.newbyteorder("=")
    way_out = "np.abs, or .real and .imag" if dtype.kind == "c" else ".astype('float32') or .astype('float64')"
    raise LevelError(
        f"{what} makes pixels of {dtype}, a type that netCDF files do not have: convert them with a function in "
        f"custom_tfms, such as {way_out}"
    )
