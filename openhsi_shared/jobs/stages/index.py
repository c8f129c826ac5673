"""The stage of spectral indices: one number a pixel, from some of its bands."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from openhsi_shared.errors import ArgumentError, StageNotApplicable
from openhsi_shared.indices import parse_formula
from openhsi_shared.jobs.stages.stage import LineFormat, Stage

__all__ = ["Index"]


@dataclass
class Index(Stage):
    """Spectral index, float32 (cross-track, 1): "ndvi", "ndwi", "pri", or a formula such as "(R800-R670)/(R800+R670)".

    `openhsi_shared.indices` describes formulas; computed in float64. A pixel is NaN if one of the bands is not finite,
    or the formula has no finite value, as with a denominator of 0.
    """

    code = "index"
    takes_strided_out = True

    formula: str = "ndvi"
    """A band ratio is "R800/R670"; R640_670 is the mean of the bands from 640 to 670 nm."""

    def __post_init__(self) -> None:
        self._formula = parse_formula(self.formula)
        self._bands_of_terms: list[NDArray[np.intp]] = []

    def check(self, source: LineFormat) -> None:
        """Refuse lines without wavelengths, without those of the formula, or of complex numbers."""
        self._bands(source)
        if np.dtype(source.dtype).kind not in "biuf":
            raise StageNotApplicable(f"index: the pixels are {source.dtype}, expected real numbers")

    def out_shape(self, source: LineFormat) -> tuple[int, int]:
        """One value for each pixel."""
        return source.line_shape[0], 1

    def out_dtype(self, source: LineFormat) -> np.dtype[Any]:  # noqa: ARG002 - part of the protocol
        """float32."""
        return np.dtype(np.float32)

    def out_format(self, source: LineFormat) -> LineFormat:
        """With the formula, its bands, and the quantity that it was made of, as attributes."""
        formula, bands = self._formula, self._bands(source)
        wavelengths = np.asarray(source.wavelengths_nm, np.float64)
        centres = (
            f"{term}: {wavelengths[band].mean():.6g} nm" for term, band in zip(formula.terms, bands, strict=True)
        )
        name = self.formula if formula.text != self.formula else "spectral index"
        labels = {
            "units": "1",
            "long_name": f"{name} of {source.quantity or 'values of unknown quantity'}",
            "index_formula": formula.text,
            "index_bands": ", ".join(centres),
        }
        return super().out_format(source).replace(wavelengths_nm=None, level=None, quantity=None, labels=labels)

    def prepare(self, source: LineFormat) -> None:
        """Find the bands."""
        self._bands_of_terms = self._bands(source)

    def apply(self, lines: NDArray[Any], out: NDArray[Any]) -> None:
        """Compute it."""
        with np.errstate(over="ignore"):  # of float32
            out[:, :, 0] = self._formula.of_lines(lines, self._bands_of_terms)
        out[~np.isfinite(out)] = np.nan

    def _bands(self, source: LineFormat) -> list[NDArray[np.intp]]:
        if source.wavelengths_nm is None:
            raise StageNotApplicable(
                f"index {self.formula!r} needs the wavelengths of the bands, which are unknown: expected a "
                "level from 2 on, or a file with wavelengths, and no stage before that has other bands"
            )
        try:
            return self._formula.bands(source.wavelengths_nm)
        except ArgumentError as error:
            raise StageNotApplicable(f"index: {error}") from error
