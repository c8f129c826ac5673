"""Tables of wavelengths in a calibration: in nm, and what makes them unusable.

`wavelengths` is measured, `wavelengths_linear` is the linear approximation of it that openhsi uses for bands of equal
column count. Without units they are in nm, as openhsi writes them.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from openhsi_shared.errors import ArgumentError
from openhsi_shared.wavelengths import in_nanometres

__all__ = ["IN_NANOMETRES", "contradiction_of", "flaw_of_table", "to_nanometres"]

TABLES = ("wavelengths", "wavelengths_linear")
IN_NANOMETRES = (*TABLES, "sfit_x", "rad_fit_x")
"""Values that are wavelengths."""
SENSORS_NM = (100.0, 30_000.0)
"""Range of imaging spectrometers. Numbers outside that have no units are not in nm."""
MAX_DIFFERENCE, MAX_DIFFERENCE_NM = 0.02, 5.0
"""Largest difference of the two tables that a linear approximation may have: a fraction of their range, or in nm."""


def to_nanometres(key: str, values: NDArray[Any], units: Any) -> tuple[NDArray[Any], str]:
    """Convert a value of `IN_NANOMETRES` that has `units`; also return why it is unknown, or an empty text."""
    if units is None or values.ndim != 1:
        return values, ""
    try:
        found = in_nanometres(values, units)
    except ArgumentError as error:
        return values, f"{key}: {error}"
    return (values if np.array_equal(found, values) else found), ""


def flaw_of_table(key: str, values: Any) -> str:
    """Why a table of wavelengths in nm cannot be used; an empty text if it can."""
    table = np.asarray(values)
    if key not in TABLES or table.ndim != 1 or table.dtype.kind not in "iuf" or table.size < 2:
        return ""
    first, last = table[0], table[-1]
    if not np.isfinite(table).all():
        return f"{key} contains NaN or infinity, expected the wavelength of each column in nm"
    if table.min() < SENSORS_NM[0] or table.max() > SENSORS_NM[1]:
        return (
            f"{key} goes from {first:g} to {last:g}, which are not nm: give the variable its units, such as 'um' or "
            f"'nm', or convert it with Calibration.with_values"
        )
    steps = np.diff(table.astype(np.float64))
    if not ((steps > 0).all() or (steps < 0).all() or (steps == 0).all()):
        return f"{key}, from {first:g} to {last:g} nm, neither ascends nor descends from column to column"
    return ""


def contradiction_of(values: Mapping[str, Any]) -> str:
    """How the two tables contradict each other; an empty text if they do not."""
    if any(key not in values for key in TABLES):
        return ""
    measured, linear = (np.asarray(values[key]) for key in TABLES)
    if measured.shape != linear.shape or measured.ndim != 1 or measured.size < 2:
        return ""
    differences = np.abs(measured.astype(np.float64) - linear)
    worst = int(np.argmax(differences))
    if differences[worst] <= max(MAX_DIFFERENCE * np.ptp(measured), MAX_DIFFERENCE_NM):
        return ""
    return (
        f"wavelengths_linear differs from wavelengths by up to {differences[worst]:.1f} nm ({linear[worst]:.1f} and "
        f"{measured[worst]:.1f} nm at column {worst}): recalibrate, or make them agree with "
        f"Calibration.with_values(wavelengths_linear=...)"
    )
