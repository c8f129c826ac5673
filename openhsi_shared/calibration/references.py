"""Reference frames of the dark and the lamps in `rad_ref`, by names and coordinates of its axes, in any order."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["REFERENCE_AXES", "lacks_of_reference", "pictures_of"]

REFERENCE_AXES = ("cross_track", "wavelength_index", "exposure", "luminance")
_UNITS = {"exposure": "ms", "luminance": "cd/m^2"}


def lacks_of_reference(
    pictures: Any, dims: tuple[str, ...], coordinates: Mapping[str, NDArray[Any]]
) -> tuple[str, ...]:
    """Describe what radiance needs and `pictures` lack; empty if they are complete.

    >>> lacks_of_reference(np.zeros((2, 3, 1, 1)), REFERENCE_AXES, {"exposure": np.ones(1), "luminance": np.ones(1)})
    ('rad_ref at luminance 0 (the dark)',)
    """
    array = np.asarray(pictures)
    if sorted(dims) != sorted(REFERENCE_AXES) or array.ndim != len(dims) or array.dtype.kind not in "iuf":
        return (f"rad_ref, numbers on the axes {', '.join(REFERENCE_AXES)} (it is {array.dtype} on {dims})",)
    lacks = []
    for axis, unit in _UNITS.items():
        values = np.asarray(coordinates.get(axis, ()))
        if values.shape != (array.shape[dims.index(axis)],) or values.dtype.kind not in "iuf" or not values.size:
            lacks.append(f"rad_ref with values of {axis} ({unit})")
    if lacks:
        return tuple(lacks)
    exposures, luminances = (np.asarray(coordinates[axis]) for axis in _UNITS)
    if not ((exposures > 0) & np.isfinite(exposures)).all():
        lacks.append(f"rad_ref at exposures > 0 ms (they are {exposures.tolist()})")
    if not (luminances == 0).any():
        lacks.append("rad_ref at luminance 0 (the dark)")
    if not (luminances > 0).any():
        lacks.append("rad_ref at a luminance above 0 (a lamp)")
    return tuple(lacks)


def pictures_of(
    pictures: NDArray[Any], dims: tuple[str, ...], coordinates: Mapping[str, NDArray[Any]]
) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
    """Frames (cross-track, column, exposure, luminance) of a complete `rad_ref`, exposures in ms, luminances in cd/m^2.

    The last two axes keep the order of the file.
    """
    ordered = np.transpose(pictures, [dims.index(axis) for axis in REFERENCE_AXES])
    return ordered, np.asarray(coordinates["exposure"]), np.asarray(coordinates["luminance"])
