"""Optics of the simulated camera: wavelengths, smile, lamps, colours.

The calibration of the package is made by the same functions, so both agree.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from openhsi_shared.calibration import wavelengths_of_columns

__all__ = ["LAMP_LINES_NM", "NATIVE_SHAPE", "Optics", "colour_spectra", "lamp", "optics_of", "planck", "response"]

NATIVE_SHAPE = (644, 800)
"""Default frame of the simulated camera: (rows, columns)."""

LAMP_LINES_NM = (
    *(404.656, 435.833, 546.074, 576.960, 579.066),  # mercury
    *(696.543, 706.722, 727.294, 738.398, 750.387, 763.511, 772.376, 794.818),  # argon
    *(800.616, 811.531, 826.452, 842.465, 852.144, 912.297, 965.779),
)
"""Lines of the mercury-argon lamp for wavelength calibration."""

BLUE_NM, GREEN_NM, RED_NM = (450.0, 510.0), (530.0, 590.0), (640.0, 670.0)
"""Bands that previews average, which therefore contain the colours of the picture."""
INFRARED_NM = (740.0, 800.0)
"""Band for the simulated fourth channel of a picture."""

_SMILE_OF_800_COLUMNS = 6
_LINE_WIDTH_COLUMNS = 4.0


@dataclass(frozen=True)
class Optics:
    """Mapping of the spectrum of each row to the columns.

    Row `i` sees the wavelength `wavelengths_nm[max_shift + c - shifts[i]]` in column `c`: the slit is imaged
    as a curve (smile).
    """

    wavelengths_nm: NDArray[np.float64]
    """Of the columns -max_shift .. n_columns - 1 of a row that is not shifted."""
    shifts: NDArray[np.int16]
    """Columns by which each row is shifted to the right, 0 .. max_shift."""

    @property
    def max_shift(self) -> int:
        """Return the largest shift of a row."""
        return int(self.shifts.max())

    def columns_of(self, shift: int) -> slice:
        """Return the slice of `wavelengths_nm` for a row of that shift."""
        return slice(self.max_shift - shift, len(self.wavelengths_nm) - shift)

    def image(self, spectrum: NDArray[Any]) -> NDArray[Any]:
        """Return the frame (rows, columns) of a slit lit by one spectrum, sampled at `wavelengths_nm`."""
        return np.stack([spectrum[self.columns_of(int(shift))] for shift in self.shifts])


def optics_of(frame_shape: tuple[int, int], rows: slice, calibration: Mapping[str, Any] | None = None) -> Optics:
    """Return the optics of the calibration if it fits `frame_shape` and `rows`, else the defaults."""
    n_rows, n_columns = frame_shape
    calibration = calibration or {}
    wavelengths = wavelengths_of_columns(calibration, n_columns)
    shifts = calibration.get("smile_shifts")
    if wavelengths is None:
        smile = native_shifts(n_rows, n_columns)
        return Optics(native_wavelengths_nm(n_columns, smile), smile)
    of_rows = np.zeros(n_rows, np.int16)
    if shifts is not None and len(shifts) == rows.stop - rows.start:
        of_rows[rows] = shifts
        of_rows[: rows.start], of_rows[rows.stop :] = shifts[0], shifts[-1]
    of_rows -= min(0, int(of_rows.min()))
    left = wavelengths[0] + (wavelengths[1] - wavelengths[0]) * np.arange(-int(of_rows.max()), 0)
    return Optics(np.concatenate([left, wavelengths]), of_rows)


def native_wavelengths_nm(n_columns: int, shifts: NDArray[np.int16]) -> NDArray[np.float64]:
    """Return 400 .. 1000 nm, slightly non-linear as behind a grating, and shorter ones for shifted rows."""
    place = np.arange(-int(shifts.max()), n_columns) / max(n_columns - 1, 1)
    return np.asarray(400.0 + 600.0 * place + 24.0 * place * (1.0 - place))


def native_shifts(n_rows: int, n_columns: int) -> NDArray[np.int16]:
    """Return the smile of the simulated camera: 0 in the middle of the slit, maximum at its ends."""
    place = np.linspace(-1.0, 1.0, n_rows) if n_rows > 1 else np.zeros(1)
    return np.round(_SMILE_OF_800_COLUMNS * n_columns / 800 * place**2).astype(np.int16)


def response(wavelengths_nm: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the relative sensitivity of the sensor at each wavelength; maximum 1."""
    return np.asarray(np.exp(-(((wavelengths_nm - 620.0) / 330.0) ** 2)))


def planck(wavelengths_nm: NDArray[np.float64], kelvin: float) -> NDArray[np.float64]:
    """Return the spectral radiance of a black body in W/m^2/sr/nm.

    >>> round(float(planck(np.array([500.0]), 5800.0)[0]))
    26882
    """
    metres = wavelengths_nm * 1e-9
    return np.asarray(1.191043e-16 / metres**5 / np.expm1(1.438777e-2 / (metres * kelvin)) * 1e-9)


def lamp(wavelengths_nm: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the spectrum of a mercury-argon lamp: lines with a half-width of four columns; maximum 1."""
    columns = np.arange(len(wavelengths_nm), dtype=float)
    spectrum = np.zeros(len(wavelengths_nm))
    order = np.argsort(wavelengths_nm)  # they descend if the sensor is mounted the other way round
    for number, line_nm in enumerate(LAMP_LINES_NM):
        if wavelengths_nm.min() <= line_nm <= wavelengths_nm.max():
            place = np.interp(line_nm, wavelengths_nm[order], columns[order])
            height = 1.0 - 0.02 * number
            spectrum = np.maximum(spectrum, height * 0.5 ** ((columns - place) / (_LINE_WIDTH_COLUMNS / 2)) ** 2)
    return spectrum


def colour_spectra(wavelengths_nm: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the signal of red, green, blue and near-infrared light, (4, wavelength).

    Red, green and blue are 1 in the mean over their own band and 0 in the others', so the mean over a band is the
    colour of the picture, and white is preserved. Within each band they have the shape of sunlight.
    """
    blue = _step(wavelengths_nm, 530.0, 510.0)
    red = _step(wavelengths_nm, 590.0, 640.0) * _step(wavelengths_nm, 725.0, 670.0)
    infrared = _step(wavelengths_nm, 670.0, 725.0)
    green = np.clip(1.0 - blue - red - infrared, 0.0, None)
    seen = response(wavelengths_nm) * planck(wavelengths_nm, 5800.0)
    spectra = []
    for light, (first, last), mean in (
        (red, RED_NM, 1.0),
        (green, GREEN_NM, 1.0),
        (blue, BLUE_NM, 1.0),
        (infrared, INFRARED_NM, 0.6),  # the sun's relative signal there
    ):
        band = (wavelengths_nm >= first) & (wavelengths_nm <= last)
        spectra.append(light * seen * (mean / seen[band if band.any() else slice(None)].mean()))
    return np.stack(spectra)


def _step(wavelengths_nm: NDArray[np.float64], zero_nm: float, one_nm: float) -> NDArray[np.float64]:
    """Smooth step from 0 at `zero_nm` to 1 at `one_nm`, in either direction."""
    place = np.clip((wavelengths_nm - zero_nm) / (one_nm - zero_nm), 0.0, 1.0)
    return np.asarray(place * place * (3.0 - 2.0 * place))
