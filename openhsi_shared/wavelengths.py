"""Wavelengths in nm, of numbers with any unit."""

import unicodedata
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from openhsi_shared.errors import ArgumentError

__all__ = ["are_band_numbers", "in_nanometres", "units_in"]

_PREFIXES = {"": 1e9, "c": 1e7, "m": 1e6, "u": 1e3, "\u03bc": 1e3, "n": 1.0, "p": 1e-3}
_WORDS = {"": 1e9, "centi": 1e7, "milli": 1e6, "micro": 1e3, "nano": 1.0, "pico": 1e-3}
LENGTHS = (
    {f"{prefix}m": factor for prefix, factor in _PREFIXES.items()}
    | {f"{word}{metre}": factor for word, factor in _WORDS.items() for metre in ("meter", "meters", "metre", "metres")}
    | {"micron": 1e3, "microns": 1e3}
    | dict.fromkeys(("angstrom", "angstroms", "ang", "a"), 0.1)
)
"""Units of length, as `_plain` spells them, in nm."""
RECIPROCALS = (
    dict.fromkeys(("cm-1", "1/cm", "/cm", "percm", "kayser", "wavenumber", "wavenumbers"), 1e7)
    | dict.fromkeys(("m-1", "1/m", "/m"), 1e9)
    | {"um-1": 1e3, "1/um": 1e3, "\u03bcm-1": 1e3, "1/\u03bcm": 1e3, "nm-1": 1.0, "1/nm": 1.0}
    | {"hz": 299792458e9, "mhz": 299792458e3, "ghz": 299792458.0, "thz": 299792.458, "ev": 1239.841984}
)
"""Units of wavenumber, frequency and energy: the wavelength in nm of 1 unit, which is divided by the value."""
LONGEST_NM = 1e9
"""More is no wavelength of light, but a fill value."""
MIN_WHOLE_NM = 200
"""Whole numbers of an integer type that begin below are openhsi's numbers of bands, which it labels as nm."""
MIN_NM = 100
"""So are other numbers that are all below, which another program has averaged: no imaging spectrometer goes there."""


def in_nanometres(values: ArrayLike, units: Any) -> NDArray[np.float64]:
    """Convert wavelengths, wavenumbers, frequencies or photon energies to wavelengths in nm, in their order.

    The range of the values is not used to guess a unit. ArgumentError, with the reason, if the wavelengths are unknown:
    without units, with other units, for names, NaN, or values that are not above 0.

    >>> in_nanometres([0.4, 0.55], "micrometers").tolist(), in_nanometres([12500, 10000], "cm-1").tolist()
    ([400.0, 550.0], [800.0, 1000.0])
    """
    array = np.asarray(values)
    if array.dtype.kind not in "iuf" or array.ndim != 1:
        raise ArgumentError(f"wavelengths are {array!r:.60}, expected a number for each band")
    if units is None or not str(units).strip():
        raise ArgumentError("wavelengths have no units, expected such as 'nm'")
    unit = _plain(str(units))
    numbers = array.astype(np.float64)
    if unit in LENGTHS:
        found = numbers if LENGTHS[unit] == 1 else np.round(numbers * LENGTHS[unit], 9)
    elif unit in RECIPROCALS:
        with np.errstate(divide="ignore"):
            found = np.round(RECIPROCALS[unit] / numbers, 9)
    else:
        raise ArgumentError(f"wavelengths have the units {str(units)!r:.40}, expected such as 'nm', 'um' or 'cm-1'")
    wrong = ~(np.isfinite(found) & (found > 0) & (found < LONGEST_NM))
    if wrong.any():
        raise ArgumentError(f"wavelengths contain {array[wrong][0]} {units}, expected finite values above 0")
    return found


def are_band_numbers(values: ArrayLike, units: Any) -> bool:
    """Whether the values number the bands, as ours without a unit, or as openhsi's without a calibration ("nm").

    >>> [are_band_numbers(values, "nm") for values in (np.arange(5, 9), [0.5, 2.5, 4.5], [400, 401])]
    [True, True, False]
    """
    array = np.asarray(values)
    if str(units).strip() == "1":
        return True
    if array.dtype.kind not in "iuf" or _plain(str(units)) not in LENGTHS or array.size == 0:
        return False
    if LENGTHS[_plain(str(units))] != 1:
        return False
    is_whole = array.dtype.kind in "iu"
    return bool(array.min() < MIN_WHOLE_NM if is_whole else array.max() < MIN_NM) or np.array_equal(
        array, np.arange(array.size)
    )


def units_in(labels: Mapping[str, Any]) -> Any:
    """The units in the attributes of a variable, or in openhsi's name `wavelength_nm`; None if there are none."""
    units = labels.get("units")
    return "nm" if not units and labels.get("long_name") == "wavelength_nm" else units


def _plain(units: str) -> str:
    """One spelling: lower case, without accents, spaces, brackets and signs of powers."""
    letters = unicodedata.normalize("NFKD", units).replace("\u2212", "-").casefold()
    return "".join(letter for letter in letters if not unicodedata.combining(letter) and letter not in " \t[](){}^*_.")
