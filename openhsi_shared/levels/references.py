"""What the camera saw of the dark and of a lamp of known luminance, at the exposure of the frames."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from openhsi_shared.calibration import Calibration
from openhsi_shared.errors import CalibrationError, LevelError

__all__ = ["Reference", "reference_at"]


@dataclass(frozen=True, eq=False)
class Reference:
    """Two pictures in digital numbers, (cross-track, column), scaled to the exposure of the frames; with the smile."""

    dark: NDArray[np.float64]
    lit: NDArray[np.float64]
    """Of the lamp, without the dark."""
    luminance: int | float
    """Of the lamp, in cd/m^2."""


def reference_at(calibration: Calibration, exposure_ms: float, luminance: float | None) -> Reference:
    """Look up the calibrated exposure nearest to `exposure_ms`, of two the longer, and scale it.

    The dark is the picture at luminance 0. `luminance` None is the brightest lamp that was measured there. LevelError
    if there is no such luminance, CalibrationError if its picture, or the dark one, holds no number.
    """
    pictures, exposures, luminances = calibration.reference_pictures
    nearest = min(range(len(exposures)), key=lambda index: (abs(exposures[index] - exposure_ms), -exposures[index]))
    at_exposure = pictures[:, :, nearest, :]
    measured = np.isfinite(at_exposure).any(axis=(0, 1))
    dark_index = int(np.flatnonzero(luminances == 0)[0])
    lamp = _index_of(luminance, luminances, measured, calibration)
    for index in (dark_index, lamp):
        if not measured[index]:
            raise CalibrationError(
                f"rad_ref of {calibration.name} holds no finite number at luminance {luminances[index]:g} and exposure "
                f"{exposures[nearest]:g} ms: set another luminance or exposure_ms, or calibrate anew"
            )
    scale = exposure_ms / exposures[nearest]
    dark = scale * at_exposure[:, :, dark_index]
    given = luminances[lamp].item() if luminance is None else luminance
    return Reference(dark, scale * at_exposure[:, :, lamp] - dark, given)


def _index_of(
    luminance: float | None, known: NDArray[Any], measured: NDArray[np.bool_], calibration: Calibration
) -> int:
    lamps = np.flatnonzero(known > 0)
    if luminance is None:
        return int(max(lamps, key=lambda index: (measured[index], known[index])))
    found = [index for index in lamps if known[index] == luminance]
    if not found:
        raise LevelError(
            f"luminance={luminance:g} is none of {calibration.name}: expected one of "
            f"{np.sort(known[lamps]).tolist()} cd/m^2, or None for the brightest"
        )
    return int(found[0])
