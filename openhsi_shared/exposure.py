"""How well a line is exposed and focused, as numbers. Pure functions."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from openhsi_shared.columns import Saturation
from openhsi_shared.given_numbers import is_finite

__all__ = ["SaturationCounter", "focus_of", "known_exposure_ms", "share_saturated"]


def known_exposure_ms(attribute: Any) -> float | None:
    """The exposure of lines, in ms, that an attribute of their file contains; None if it contains none.

    >>> known_exposure_ms(5), known_exposure_ms(0.0), known_exposure_ms("5"), known_exposure_ms(float("inf"))
    (5.0, None, None, None)
    """
    return float(attribute) if is_finite(attribute) and attribute > 0 else None


class SaturationCounter:
    """Counts the saturated pixels of lines of one type; each thread needs one of its own."""

    def __init__(self, saturation: Saturation, line_shape: tuple[int, int], dtype: np.dtype[Any]) -> None:
        self._rows = slice(saturation.first_row, saturation.end_row)
        self._full = dtype.type(saturation.full_scale)
        self._is_full = np.empty((saturation.end_row - saturation.first_row, line_shape[1]), np.bool_)

    def share_of(self, line: NDArray[Any]) -> float:
        """Share of the counted pixels of a line that are saturated, 0 to 1."""
        pixels = line[self._rows]
        if pixels.max() < self._full:  # three times as fast as counting, and without the interpreter's lock
            return 0.0
        np.greater_equal(pixels, self._full, out=self._is_full)
        return np.count_nonzero(self._is_full) / self._is_full.size


def share_saturated(line: NDArray[Any], full_scale: int | None) -> float:
    """Share of the pixels of a line that are at full scale, 0 to 1; NaN if full scale is unknown.

    >>> share_saturated(np.array([[4095, 7], [4095, 4094]]), 4095)
    0.5
    """
    return float(np.mean(line >= full_scale)) if full_scale else float("nan")


def focus_of(line: NDArray[Any]) -> float:
    """Mean step between cross-track neighbours of a line (x, band), in percent of the mean; higher is sharper.

    Of every fourth band. 0 if the mean is not above 0.
    """
    profile = np.nan_to_num(line[:, ::4].mean(axis=1, dtype=np.float64))
    mean = float(profile.mean())
    return 100 * float(np.abs(np.diff(profile)).mean()) / mean if mean > 0 and profile.size > 1 else 0.0
