"""Reference frames of the dark and of a lamp of known luminance, scaled to the exposure of the frames."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from openhsi_shared.calibration import Calibration
from openhsi_shared.errors import CalibrationError, LevelError

__all__ = ["Reference", "reference_at"]


@dataclass(frozen=True, eq=False)
class Reference:
    """Two frames in digital numbers, (cross-track, column), scaled to the exposure; smile not corrected."""

    dark: NDArray[np.float64]
    lit: NDArray[np.float64]
    """Lamp, dark subtracted."""
    luminance: int | float
    """Luminance of the lamp, in cd/m^2."""


def reference_at(calibration: Calibration, exposure_ms: float, luminance: float | None) -> Reference:
    """Scale the reference of the calibrated exposure nearest to `exposure_ms` (of two, the longer).

    The dark is the frame at luminance 0. `luminance` None is the brightest lamp measured at that exposure. LevelError
    if the luminance does not exist, CalibrationError if its frame, or the dark, has no finite value.
    """
    pictures, exposures, luminances = calibration.reference_pictures
    nearest = min(range(len(exposures)), key=lambda index: (abs(exposures[index] - exposure_ms), -exposures[index]))
    at_exposure = pictures[:, :, nearest, :]
    measured = calibration.is_measured(nearest)
    dark_index = int(np.flatnonzero(luminances == 0)[0])
    lamp = _index_of(luminance, luminances, measured, calibration)
    for index in (dark_index, lamp):
        if not measured[index]:
            raise CalibrationError(
                f"rad_ref of {calibration.name} has no finite value at luminance {luminances[index]:g} and exposure "
                f"{exposures[nearest]:g} ms: set another luminance or exposure_ms, or recalibrate"
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
            f"luminance={luminance:g} is not in {calibration.name}: expected one of "
            f"{np.sort(known[lamps]).tolist()} cd/m^2, or None for the brightest"
        )
    return int(found[0])
