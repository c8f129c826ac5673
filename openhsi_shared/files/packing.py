"""Packed and masked numbers of a variable, decoded as CF and xarray do.

A packed variable stores small integers, and the attributes `scale_factor` and `add_offset` by which they become
numbers; a masked one names values that stand for a missing number: `_FillValue`, `missing_value`, and all outside of
`valid_range`, `valid_min`, `valid_max`.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from openhsi_shared.errors import FileError
from openhsi_shared.packages import require

__all__ = ["PACKING_ATTRIBUTES", "Packing", "packing_of"]

FILLS = ("_FillValue", "missing_value")
BOUNDS = ("valid_range", "valid_min", "valid_max")
PACKING_ATTRIBUTES = frozenset({"scale_factor", "add_offset", "_Unsigned", *FILLS, *BOUNDS})
"""Attributes that change what the stored numbers of a variable mean."""


class Packing(NamedTuple):
    """How stored numbers are decoded: NaN where one is missing."""

    dtype: np.dtype[Any]
    """Type of the decoded numbers: that which xarray chooses."""
    stored: np.dtype[Any]
    """Type as which the stored numbers are read: `_Unsigned` may change their sign."""
    fills: tuple[Any, ...]
    bounds: tuple[Any, Any]
    """Lowest and highest valid number; None: no limit."""
    bounds_are_decoded: bool
    """Whether the bounds are for decoded numbers, and not for stored ones."""
    scale: Any
    offset: Any

    @property
    def is_scaled(self) -> bool:
        """Whether decoded numbers differ from stored ones, also where none is missing."""
        return self.scale is not None or self.offset is not None

    def missing(self, raw: NDArray[Any]) -> NDArray[np.bool_]:
        """Which of the stored numbers stand for a missing one."""
        stored = raw.astype(self.stored, copy=False)
        missing = np.zeros(raw.shape, bool)
        for fill in self.fills:
            missing |= stored == fill
        return missing if self.bounds_are_decoded else missing | self._outside(stored)

    def decode(self, raw: NDArray[Any]) -> NDArray[Any]:
        """Decode stored numbers, in a new array."""
        decoded = raw.astype(self.stored, copy=False).astype(self.dtype)
        if decoded.dtype.kind == "f":
            decoded[self.missing(raw)] = np.nan
        with np.errstate(over="ignore", invalid="ignore"):
            if self.scale is not None:
                decoded *= self.scale
            if self.offset is not None:
                decoded += self.offset
        if self.bounds_are_decoded:
            decoded[self._outside(decoded)] = np.nan
        return decoded

    def _outside(self, numbers: NDArray[Any]) -> NDArray[np.bool_]:
        low, high = self.bounds
        outside = np.zeros(numbers.shape, bool)
        if low is not None:
            outside |= numbers < low
        if high is not None:
            outside |= numbers > high
        return outside


def packing_of(what: str, attributes: Mapping[str, Any], dtype: np.dtype[Any]) -> Packing | None:
    """How a variable of `dtype` is packed or masked; None if its stored numbers are its numbers.

    `what` names the variable in errors. FileError for attributes that are no numbers.
    """
    found = {name: attributes[name] for name in PACKING_ATTRIBUTES if name in attributes}
    if not found or dtype.kind not in "iuf":
        return None
    scale, offset = (_number(what, name, found.get(name)) for name in ("scale_factor", "add_offset"))
    stored = _stored(found.get("_Unsigned"), dtype)
    fills = tuple(dict.fromkeys(fill for name in FILLS for fill in _fills(found.get(name), dtype, stored)))
    bounds = tuple(None if bound is None else _signed(bound, dtype, stored) for bound in _bounds(what, found))
    low, high = (
        None if _is_no_limit(bound, stored, side) else bound for side, bound in zip((0, 1), bounds, strict=True)
    )
    is_masked = bool(fills) or low is not None or high is not None
    if scale is None and offset is None and stored.kind == dtype.kind and not is_masked:
        return None
    fill = stored.type(0) if is_masked else np.nan if stored.kind == "f" and set(FILLS) & set(found) else None
    decoded = _decoded_dtype({"scale_factor": scale, "add_offset": offset, "_FillValue": fill}, stored)
    of_decoded = any(bound is not None and bound.dtype.kind == "f" for bound in (low, high)) and stored.kind in "iu"
    if of_decoded:  # in the precision of the numbers that are compared with them
        low, high = (None if bound is None else decoded.type(bound) for bound in (low, high))
    return Packing(decoded, stored, fills, (low, high), of_decoded, scale, offset)


def _number(what: str, name: str, value: Any) -> Any:
    """An attribute that must be one number, in its own type; None if there is none."""
    if value is None:
        return None
    array = np.asarray(value)
    if array.size != 1 or array.dtype.kind not in "iuf":
        raise FileError(f"the attribute {name} of {what} is {value!r:.60}, expected one number: it cannot be decoded")
    return array.reshape(-1)[0]


def _bounds(what: str, found: Mapping[str, Any]) -> tuple[Any, Any]:
    low, high = (_number(what, name, found.get(name)) for name in ("valid_min", "valid_max"))
    both = found.get("valid_range")
    if both is None:
        return low, high
    array = np.asarray(both)
    if array.shape != (2,) or array.dtype.kind not in "iuf":
        raise FileError(f"the attribute valid_range of {what} is {both!r:.60}, expected two numbers")
    return array[0], array[1]


def _is_no_limit(bound: Any, stored: np.dtype[Any], side: int) -> bool:
    """Whether every number of the type is inside of a bound: 0 is the lower side, 1 the upper one."""
    if bound is None or np.isnan(bound):
        return True
    info: Any = np.iinfo(stored) if stored.kind in "iu" else np.finfo(stored)
    return bool(bound <= info.min) if side == 0 else bool(bound >= info.max)


def _stored(unsigned: Any, dtype: np.dtype[Any]) -> np.dtype[Any]:
    text = unsigned.decode("ascii", "replace") if isinstance(unsigned, bytes) else str(unsigned)
    if dtype.kind == "i" and text == "true":
        return np.dtype(f"u{dtype.itemsize}")
    if dtype.kind == "u" and text == "false":
        return np.dtype(f"i{dtype.itemsize}")
    return dtype.newbyteorder("=")


def _fills(value: Any, dtype: np.dtype[Any], stored: np.dtype[Any]) -> list[Any]:
    array = np.asarray(() if value is None else value).reshape(-1)
    if array.dtype.kind not in "iuf":
        return []  # a text is equal to no number
    return [_signed(fill, dtype, stored) for fill in array if not np.isnan(fill)]


def _signed(value: Any, dtype: np.dtype[Any], stored: np.dtype[Any]) -> Any:
    """A number of an attribute, with the sign as which the stored numbers are read."""
    is_other_sign = (
        stored.kind != dtype.kind and value.dtype.kind == dtype.kind and value.dtype.itemsize == dtype.itemsize
    )
    return np.asarray(value).astype(stored)[()] if is_other_sign else value


def _decoded_dtype(attributes: Mapping[str, Any], stored: np.dtype[Any]) -> np.dtype[Any]:
    """The type that xarray chooses; a float if it would have to cut numbers, or has no NaN for missing ones."""
    given = {name: number for name, number in attributes.items() if number is not None}
    if not given:
        return stored
    require("a file of packed or masked numbers", "xarray")
    import xarray as xr

    variable = xr.Variable(("number",), np.empty(0, stored), given)
    decoded: np.dtype[Any] = xr.conventions.decode_cf_variable("numbers", variable).dtype
    needs_float = stored.kind == "f" or "_FillValue" in given
    return np.dtype(np.float64) if needs_float and decoded.kind != "f" else decoded
