"""Recognition of the level of lines whose file does not contain it, by their attributes, type, shape and bands."""

import re
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from openhsi_shared.errors import CalibrationError, LevelError
from openhsi_shared.levels.transforms import Transforms
from openhsi_shared.processing_levels import LEVELS, Quantity

__all__ = ["is_our_radiance", "quantity_of", "recognise_level"]


def quantity_of(labels: Mapping[str, Any]) -> Quantity:
    """Derive the quantity of the pixels from the attributes of a datacube; counts by default.

    >>> quantity_of({"units": "uW/cm^2/sr/nm"}), quantity_of({"units": "percentage reflectance"}), quantity_of({})
    ('radiance', 'reflectance', 'counts')
    """
    words = f"{labels.get('units', '')} {labels.get('long_name', '')}".lower()
    if "reflectance" in words or "percent" in words:
        return "reflectance"
    return "radiance" if "radiance" in words or re.search(r"\bsr\b", words) else "counts"


def is_our_radiance(units: str) -> bool:
    """Whether units of radiance are those of the levels, uW/cm^2/sr/nm in any spelling; also if there are none.

    >>> [is_our_radiance(text) for text in ("µW cm-2 sr-1 nm-1", "uW/(cm**2 sr nm)", "W/m^2/sr/um", "")]
    [True, True, False, True]
    """
    plain = units.strip().lower().translate(str.maketrans("µμ²⁻¹", "uu2-1"))
    plain = plain.replace("(", "").replace(")", "").replace("·", " ").replace(".", " ")
    factors = re.findall(r"(/?)\s*([a-z]+)\s*(?:\^|\*\*)?\s*(-?\d*)", plain)
    powers: dict[str, int] = {}
    is_below = False
    for mark, name, power in factors:
        is_below = is_below or mark == "/"
        number = int(power) if power not in ("", "-") else 1
        powers[name] = powers.get(name, 0) + (-number if is_below else number)
    return not plain or powers == {"uw": 1, "cm": -2, "sr": -1, "nm": -1}


def recognise_level(
    quantity: Quantity,
    dtype: np.dtype[Any],
    line_shape: tuple[int, int],
    wavelengths_nm: NDArray[Any] | None,
    sensor_shape: tuple[int, int] | None,
    transforms: Transforms,
) -> int | None:
    """Return the level of such lines, or None if it is ambiguous, or no level matches.

    `transforms` are those of the camera that recorded them. Integers are distinguished by their shape (raw if
    `sensor_shape` is unknown), floats by their bands. Levels 4 and 5 cannot be distinguished.
    """
    if dtype.kind in "iu" and quantity == "counts":
        shapes = {-1: line_shape if sensor_shape is None else sensor_shape, **transforms.shapes}
        return next((level for level, shape in shapes.items() if shape == line_shape), None)
    is_fast, is_slow = (_fits(transforms, name, line_shape[1], wavelengths_nm) for name in ("fast_bands", "slow_bands"))
    if is_fast == is_slow:
        return None
    binning = "fast_bin" if is_fast else "slow_bin"
    alike = [number for number, level in LEVELS.items() if (level.binning, level.quantity) == (binning, quantity)]
    return alike[0] if len(alike) == 1 else None


def _fits(transforms: Transforms, name: str, n_bands: int, wavelengths_nm: NDArray[Any] | None) -> bool:
    try:
        labels = getattr(transforms, name).wavelengths_nm
    except (LevelError, CalibrationError):
        return False  # the calibration does not support these bands
    if len(labels) != n_bands or wavelengths_nm is None:
        return False
    return bool(np.allclose(labels, wavelengths_nm, rtol=0, atol=0.06))
