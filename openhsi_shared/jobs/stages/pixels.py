"""What stages that compute with pixels have in common: the types, the labels, and the values of their parameters."""

import re
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from openhsi_shared.errors import ArgumentError, StageNotApplicable
from openhsi_shared.jobs.stages.stage import LineFormat

__all__ = [
    "as_compiled",
    "changes_in",
    "check_number",
    "check_real",
    "compiled_type",
    "float_type",
    "labels_of",
    "range_of",
]


def check_number(code: str, name: str, value: Any, least: int = 1) -> int:
    """An integer of at least `least`. ArgumentError."""
    if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < least:
        raise ArgumentError(f"{code}: {name} must be a whole number from {least} on, got {value!r}")
    return int(value)


def check_real(code: str, source: LineFormat) -> None:
    """StageNotApplicable unless the pixels are integers, or floats of at most 64 bits."""
    if source.dtype.kind not in "iuf" or source.dtype.itemsize > 8:
        raise StageNotApplicable(
            f"{code}: the pixels are {source.dtype}, expected integers or floats of at most 64 bits: convert them"
        )


def range_of(code: str, name: str, chosen: slice | None, n: int, what: str) -> range:
    """The numbers, of n, that a slice without steps means. StageNotApplicable if it means none, or others."""
    chosen = slice(None) if chosen is None else chosen
    ends = [one for one in (chosen.start, chosen.stop) if one is not None]
    found = range(*chosen.indices(n))
    if not found or any(not -n <= end <= n for end in ends):
        raise StageNotApplicable(
            f"{code}: {name}={slice_text(chosen)} is outside of the {n} {what}: expected at least one from 0 to {n - 1}"
        )
    return found


def slice_text(chosen: slice) -> str:
    """A slice as it is given in texts, such as 5-20.

    >>> slice_text(slice(5, None)), slice_text(slice(-7, -2))
    ('5-', '-7--2')
    """
    return "-".join("" if one is None else str(one) for one in (chosen.start, chosen.stop))


def check_slice(code: str, name: str, value: Any) -> None:
    """ArgumentError unless it is a slice of whole numbers without steps, or None."""
    whole = (int, np.integer, type(None))
    if value is None:
        return
    if not isinstance(value, slice) or not isinstance(value.start, whole) or not isinstance(value.stop, whole):
        raise ArgumentError(f"{code}: {name} must be a slice such as slice(5, 20), or 5-20 as text; got {value!r}")
    if value.step not in (None, 1):
        raise ArgumentError(f"{code}: {name} must be a slice without steps, got {value!r}: bin instead")


def float_type(dtype: np.dtype[Any]) -> np.dtype[Any]:
    """float32, or float64 if that has more digits than needed for 16 bits: for float64 and integers from 32 bits on."""
    return np.result_type(dtype, np.float32)


def compiled_type(dtype: np.dtype[Any]) -> np.dtype[Any]:
    """The type of pixels in compiled loops, which have no float16."""
    return np.dtype(np.float32) if dtype == np.float16 else dtype


def as_compiled(lines: NDArray[Any]) -> NDArray[Any]:
    """The same pixels as compiled loops take them: the same array, as a rule."""
    return np.ascontiguousarray(lines, compiled_type(lines.dtype))


_CHANGES = re.compile(r", (dark subtracted|sum of \d+ [a-z -]+|(?:median|mean) of \d+ lines subtracted)")


def changes_in(labels: Mapping[str, Any]) -> list[str]:
    """Which stages have changed what the numbers mean, by `labels_of`: a mean does not.

    >>> changes_in({"long_name": "digital numbers of the sensor, dark subtracted, mean of 2 lines, sum of 4 bands"})
    ['dark subtracted', 'sum of 4 bands']
    """
    found: list[str] = _CHANGES.findall(str(labels.get("long_name", "")))
    return found


def labels_of(source: LineFormat, what: str, *, is_same_quantity: bool = True) -> Mapping[str, Any]:
    """The attributes of the datacube with `what` added to its name; units stay."""
    labels = dict(source.labels)
    if not is_same_quantity:
        labels.pop("standard_name", None)
    return labels | {"long_name": f"{labels.get('long_name', 'values')}, {what}"}
