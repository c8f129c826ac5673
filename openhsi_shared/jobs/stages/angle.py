"""The stage that compares pixels with a spectrum: the angle between them."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from openhsi_shared.errors import ArgumentError, StageNotApplicable
from openhsi_shared.jobs.stages.spectrum_files import read_spectrum
from openhsi_shared.jobs.stages.stage import LineFormat, Stage
from openhsi_shared.wavelengths import MIN_NM

__all__ = ["SpectralAngle"]

MARGIN_NM = 1.0
"""Bands may lie so far outside of the wavelengths of a spectrum: they get its last value."""
MIN_LENGTH = 1e-150
"""Of a spectrum: the squares of less are not numbers."""


@dataclass
class SpectralAngle(Stage):
    """Angle between the spectrum of each pixel and a given one, in radians: float32 (cross-track, 1).

    arccos(p . s / (|p| |s|)), from 0, whatever the brightness, to pi; computed in float64. A pixel with a band that is
    not finite, or with zeros only, is NaN; so are values beyond 1e-150 and 1e150, which have no squares.

    F. A. Kruse et al.: The spectral image processing system (SIPS). Remote Sensing of Environment 44 (1993) 145-163.
    """

    code = "spectral_angle"
    takes_strided_out = True

    spectrum: Sequence[float] | None = None
    """A value for each band; or, with `wavelengths_nm`, for each of these, between which it is interpolated."""
    wavelengths_nm: Sequence[float] | None = None
    """In increasing order."""
    path: str | Path | None = None
    """In place of both: a text file with one column (a value for each band) or two (wavelength and value), or a cube,
    of which the mean over all pixels is taken, which reads it. It is read when the stage is made: then `path` is None,
    and the recipe has the values themselves, so that its id does not depend on a file.
    """
    units: str = "nm"
    """Of the wavelengths in a text file."""

    def __post_init__(self) -> None:
        if (self.path is None) == (self.spectrum is None):
            raise ArgumentError("spectral_angle needs a spectrum: either spectrum=, numbers, or path=, a file with it")
        if self.path is not None:
            if self.wavelengths_nm is not None:
                raise ArgumentError("spectral_angle: with path=, wavelengths_nm= are those of the file")
            values, wavelengths = read_spectrum(self.path, self.units)
            self.spectrum, self.wavelengths_nm = values.tolist(), None if wavelengths is None else wavelengths.tolist()
            self.path, self.units = None, "nm"
        self.spectrum = _numbers("spectrum", self.spectrum)
        if not np.any(self.spectrum):
            raise ArgumentError("spectral_angle: the spectrum is zero in all bands: it has no direction")
        if self.wavelengths_nm is not None:
            self.wavelengths_nm = _numbers("wavelengths_nm", self.wavelengths_nm)
            self._check_wavelengths(self.wavelengths_nm)

    def check(self, source: LineFormat) -> None:
        """Refuse lines whose bands the spectrum does not have, of a single band, or of complex numbers."""
        if np.dtype(source.dtype).kind not in "biuf":
            raise StageNotApplicable(f"spectral_angle: the pixels are {source.dtype}, expected real numbers")
        if source.line_shape[1] < 2:
            raise StageNotApplicable("spectral_angle: the pixels have one band, expected a spectrum of 2 or more")
        self._at_bands(source)

    def out_shape(self, source: LineFormat) -> tuple[int, int]:
        """One value for each pixel."""
        return source.line_shape[0], 1

    def out_dtype(self, source: LineFormat) -> np.dtype[Any]:  # noqa: ARG002 - part of the protocol
        """float32."""
        return np.dtype(np.float32)

    def out_format(self, source: LineFormat) -> LineFormat:
        """An angle."""
        labels = {"units": "rad", "long_name": "angle between the spectrum of the pixel and the given one"}
        return super().out_format(source).replace(wavelengths_nm=None, level=None, quantity=None, labels=labels)

    def prepare(self, source: LineFormat) -> None:
        """Interpolate the spectrum to the bands."""
        spectrum = self._at_bands(source)
        self._direction = spectrum / np.sqrt(np.sum(spectrum * spectrum))

    def apply(self, lines: NDArray[Any], out: NDArray[Any]) -> None:
        """Compute the angles, line by line."""
        with np.errstate(all="ignore"):  # what is not finite becomes NaN
            for line, result in zip(lines, out, strict=True):
                pixels = line.astype(np.float64)
                lengths = np.sqrt(np.einsum("xb,xb->x", pixels, pixels))
                cosines = np.einsum("xb,b->x", pixels, self._direction) / lengths
                has_angle = np.isfinite(lengths) & (lengths > MIN_LENGTH)
                result[:, 0] = np.where(has_angle, np.arccos(np.clip(cosines, -1, 1)), np.nan)

    def _check_wavelengths(self, wavelengths: Sequence[float]) -> None:
        n_values = len(self.spectrum or ())
        if len(wavelengths) != n_values:
            raise ArgumentError(
                f"spectral_angle: {n_values} values and {len(wavelengths)} wavelengths, expected as many"
            )
        if not np.all(np.diff(wavelengths) > 0):
            raise ArgumentError("spectral_angle: the wavelengths must be in increasing order, each once")
        if wavelengths[-1] < MIN_NM:
            raise ArgumentError(
                f"spectral_angle: wavelengths from {wavelengths[0]:g} to {wavelengths[-1]:g} nm are no light: are they "
                "in micrometers? then units='um' for a file, or give them in nm"
            )

    def _at_bands(self, source: LineFormat) -> NDArray[np.float64]:
        """The spectrum at the bands of the lines; StageNotApplicable if that is not possible."""
        spectrum = np.array(self.spectrum, np.float64)
        n_bands = source.line_shape[1]
        if self.wavelengths_nm is None:
            if len(spectrum) != n_bands:
                raise StageNotApplicable(
                    f"spectral_angle: the spectrum has {len(spectrum)} values, and the lines have {n_bands} bands: "
                    "expected a value for each band, or the wavelengths of the spectrum"
                )
            return spectrum
        if source.wavelengths_nm is None:
            raise StageNotApplicable(
                "spectral_angle: the spectrum has wavelengths, and those of the lines are unknown: expected a level "
                f"from 2 on, or a file with wavelengths, or a spectrum with a value for each of the {n_bands} bands"
            )
        low, high = self.wavelengths_nm[0], self.wavelengths_nm[-1]
        bands = np.asarray(source.wavelengths_nm, np.float64)
        is_inside = (bands >= low - MARGIN_NM) & (bands <= high + MARGIN_NM)  # NaN is outside
        if not is_inside.all():
            raise StageNotApplicable(
                f"spectral_angle: the spectrum has wavelengths from {low:g} to {high:g} nm, the lines from "
                f"{bands.min():g} to {bands.max():g} nm: select those bands before, by the stage select_bands"
            )
        found = np.interp(bands, self.wavelengths_nm, spectrum)
        if not found.any():
            raise StageNotApplicable("spectral_angle: the spectrum is zero at all bands of the lines")
        return found


def _numbers(name: str, values: Any) -> tuple[float, ...]:
    try:
        array = np.asarray(values, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise ArgumentError(f"spectral_angle: {name} must be numbers, got {values!r:.60}") from error
    if array.ndim != 1 or array.size < 2 or not np.isfinite(array).all():
        raise ArgumentError(
            f"spectral_angle: {name} must be two or more finite numbers, one for each band, got {values!r:.60}"
        )
    return tuple(array.tolist())
