"""What the camera saw of the dark and of a lamp of known luminance, at the exposure of the frames."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from openhsi_shared.calibration import Calibration
from openhsi_shared.errors import LevelError

__all__ = ["Reference", "reference_at"]

_DIMS = ("cross_track", "wavelength_index", "exposure", "luminance")


@dataclass(frozen=True, eq=False)
class Reference:
    """Two pictures in digital numbers, (cross-track, column), as at `exposure_ms`; the smile is still in them."""

    dark: NDArray[np.float64]
    lit: NDArray[np.float64]
    """Of the lamp, without the dark."""
    luminance: int | float
    """Of the lamp, in cd/m^2."""
    exposure_ms: float
    """At which they were taken; they are scaled from there."""


def reference_at(calibration: Calibration, exposure_ms: float, luminance: float | None) -> Reference:
    """Look up the calibrated exposure nearest to `exposure_ms`, of two the longer, and scale it.

    `luminance` None is the brightest that was measured there. LevelError if there is no such luminance, or `rad_ref`
    is not what it should be.
    """
    pictures, exposures, luminances = _pictures(calibration)
    nearest = min(range(len(exposures)), key=lambda index: (abs(exposures[index] - exposure_ms), -exposures[index]))
    at_exposure = pictures[:, :, nearest, :]
    lamp = _index_of(luminance, luminances, at_exposure, calibration)
    scale = exposure_ms / exposures[nearest]
    dark = scale * at_exposure[:, :, 0]
    given = luminances[lamp].item() if luminance is None else luminance
    return Reference(dark, scale * at_exposure[:, :, lamp] - dark, given, float(exposures[nearest]))


def _pictures(calibration: Calibration) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
    pictures, dims = calibration["rad_ref"], calibration.dims.get("rad_ref", _DIMS)
    along = [calibration.coordinates.get(axis) for axis in _DIMS[2:]]
    if sorted(dims) != sorted(_DIMS) or any(values is None or len(values) == 0 for values in along):
        raise LevelError(
            f"rad_ref of {calibration.name} lies on the axes {dims} with values along "
            f"{sorted(calibration.coordinates)}, expected {_DIMS} with values of exposure (ms) and luminance (cd/m^2)"
        )
    exposures, luminances = (np.asarray(values) for values in along)
    if not (exposures > 0).all():
        raise LevelError(f"rad_ref of {calibration.name}: exposure must be > 0 ms, got {exposures}")
    return np.transpose(pictures, [dims.index(axis) for axis in _DIMS]), exposures, luminances


def _index_of(luminance: float | None, known: NDArray[Any], pictures: NDArray[Any], calibration: Calibration) -> int:
    if luminance is not None:
        found = np.flatnonzero(known == luminance)
        if len(found) == 0 or found[0] == 0:
            raise LevelError(
                f"luminance={luminance:g} is none of {calibration.name}: expected one of "
                f"{known[1:].tolist()} cd/m^2, or None for the brightest"
            )
        return int(found[0])
    lit = [index for index in range(1, len(known)) if np.isfinite(pictures[:, :, index]).any()]
    if not lit:
        raise LevelError(
            f"rad_ref of {calibration.name} holds no lamp but the dark: its luminances are {known.tolist()}"
        )
    return int(max(lit, key=lambda index: known[index]))
