"""The columns of each band, and its wavelength.

Two kinds of binning, as in openhsi: *fast*, bands of equal column count, labelled by the linear `wavelengths_linear`;
and *slow*, bands of equal width in nm by the more accurate `wavelengths`, whose column counts differ.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from openhsi_shared.calibration import Calibration
from openhsi_shared.errors import LevelError

__all__ = ["Bands", "equal_columns", "equal_nanometres"]


@dataclass(frozen=True, eq=False)
class Bands:
    """Band k consists of the columns `edges[k]` to `edges[k + 1]` (excluded), after smile correction."""

    edges: NDArray[np.int64]
    wavelengths_nm: NDArray[Any]
    """Label of each band, with openhsi's values and type."""

    @property
    def n_columns(self) -> NDArray[np.int64]:
        """Number of columns of each band."""
        return np.diff(self.edges)

    @property
    def width(self) -> int | None:
        """Number of columns of every band, or None if they differ."""
        least, most = int(self.n_columns.min()), int(self.n_columns.max())
        return least if least == most else None

    def sum(self, pixels: NDArray[Any]) -> NDArray[np.float64]:
        """Sum the columns of each band."""
        return np.add.reduceat(pixels[:, : self.edges[-1]], self.edges[:-1], axis=1, dtype=np.float64)


def equal_columns(calibration: Calibration, n_frame_columns: int, fwhm_nm: float) -> Bands:
    """Bands of equal column count, the average for `fwhm_nm`; remaining columns at the end are dropped.

    LevelError if a band would have no column, or there would be no band.
    """
    wavelengths = np.asarray(calibration["wavelengths_linear"])
    range_nm = np.ptp(wavelengths)
    width = int(fwhm_nm * n_frame_columns / range_nm) if range_nm > 0 else 0
    n_bands = len(wavelengths) // width if width else 0
    _refuse_no_band(n_bands, fwhm_nm, wavelengths)
    used = wavelengths.astype(np.float32)[: n_bands * width]
    labels = np.around(used.reshape(n_bands, width).mean(axis=1), 1)
    return Bands(np.arange(n_bands + 1, dtype=np.int64) * width, labels)


def equal_nanometres(calibration: Calibration, fwhm_nm: float) -> Bands:
    """Bands of `fwhm_nm` each, counted from the shortest wavelength; their edges are the nearest columns.

    Columns beyond the last edge are dropped. Bands are in the order of the columns: if wavelengths descend from column
    to column, so do the labels. LevelError if a band would have no column, or there would be no band.
    """
    wavelengths = np.asarray(calibration["wavelengths"], np.float64)
    descends = len(wavelengths) > 1 and wavelengths[0] > wavelengths[-1]
    if descends:
        wavelengths = wavelengths[::-1]
    n_bands = int(np.ptp(wavelengths) // fwhm_nm)
    _refuse_no_band(n_bands, fwhm_nm, wavelengths)
    edges_nm = np.around(wavelengths.min() + np.arange(n_bands + 1) * fwhm_nm, 1)
    edges = np.array([np.argmin(np.abs(wavelengths - edge)) for edge in edges_nm], np.int64)
    _refuse_no_band(int((np.diff(edges) > 0).all()), fwhm_nm, wavelengths)
    labels = edges_nm[:-1] + fwhm_nm // 2
    return Bands(len(wavelengths) - edges[::-1], labels[::-1]) if descends else Bands(edges, labels)


def _refuse_no_band(n_bands: int, fwhm_nm: float, wavelengths: NDArray[Any]) -> None:
    if n_bands < 1:
        range_nm = np.ptp(wavelengths)
        raise LevelError(
            f"fwhm_nm={fwhm_nm:g} yields no bands from {len(wavelengths)} columns from {wavelengths[0]:.1f} to "
            f"{wavelengths[-1]:.1f} nm: expected at least {range_nm / max(1, len(wavelengths) - 1):.2g}, the distance "
            f"of columns, and at most {range_nm:.4g}"
        )
