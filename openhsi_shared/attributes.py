"""Attributes of files: any value of Python as what a file can store."""

import json
import math
import os
import re
from collections.abc import Collection, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from openhsi_shared.groups import RESERVED_ATTRIBUTES

__all__ = ["attribute_value", "finite_json", "json_value", "user_attributes"]

RESERVED = RESERVED_ATTRIBUTES | {"coordinates"}
"""Attributes that HDF5, netCDF and xarray reserve, like every name that begins with an underscore."""


def attribute_value(value: Any) -> str | int | float | NDArray[Any]:
    """Convert any value for an attribute: text, a number, or an array of numbers; all else becomes JSON text.

    >>> attribute_value(None), attribute_value({"a": [1, None]}), attribute_value([1, 2]).tolist()
    ('null', '{"a": [1, null]}', [1, 2])
    """
    if isinstance(value, np.generic):
        value = _item(value)
    if isinstance(value, str | os.PathLike):
        return _text(str(value))
    if isinstance(value, int | float) and not isinstance(value, bool) and _fits(value):
        return value
    if isinstance(value, np.ndarray):
        if value.ndim == 1 and value.size and value.dtype.kind in "uif":
            has_netcdf = value.dtype.kind != "f" or value.dtype.itemsize in (4, 8)
            return value if has_netcdf else value.astype(np.float64)
        value = value.tolist()
    if isinstance(value, list | tuple) and value and all(type(item) in (int, float) and _fits(item) for item in value):
        return np.asarray(value)
    try:
        return _text(json.dumps(value, default=json_value, ensure_ascii=False))
    except (TypeError, ValueError):
        return _text(str(value))  # keys that JSON does not support, or a circular reference


def json_value(value: Any) -> Any:
    """What JSON has instead of `value`, for `json.dumps`: numbers for those of numpy, texts for all else.

    >>> json.dumps([np.int64(7), np.ones(2), 1j], default=json_value)
    '[7, [1.0, 1.0], "1j"]'
    """
    if isinstance(value, np.number | np.bool_) and value.dtype.kind in "biuf":
        return _item(value)
    return value.tolist() if isinstance(value, np.ndarray) and value.dtype.kind in "biuf" else str(value)


def finite_json(value: Any) -> Any:
    """What JSON has instead of `value`, with None for numbers that are not finite; a named tuple becomes an object.

    >>> finite_json({1: (np.float32(0.5), math.nan), "at": np.arange(2)})
    {'1': [0.5, None], 'at': [0, 1]}
    """
    if hasattr(value, "_asdict"):
        value = value._asdict()
    if isinstance(value, Mapping):
        return {str(key): finite_json(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [finite_json(item) for item in value]
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else None
    return value if value is None or isinstance(value, str | int) else finite_json(json_value(value))


def _item(value: np.generic) -> Any:
    """The value of Python; a text of a time, of which numpy makes a number without a unit; a float of a longer one."""
    if isinstance(value, np.datetime64 | np.timedelta64):
        return str(value)
    found = value.item()
    return float(value) if isinstance(found, np.floating) else found


def _fits(value: float) -> bool:
    return not isinstance(value, int) or -(2**63) <= value < 2**63


def _text(text: str) -> str:
    """A text without what UTF-8 and C cannot store."""
    return text.replace("\0", "\ufffd").encode("utf-8", "replace").decode("utf-8")


def user_attributes(metadata: Mapping[str, Any], taken: Collection[str]) -> dict[str, Any]:
    """The user's metadata as attributes. A name in `taken`, or a reserved one, becomes `metadata_<name>`."""
    result: dict[str, Any] = {}
    for key, value in metadata.items():
        name = re.sub(r"[\x00-\x1f\x7f/]", "_", _text(str(key))).strip()[:200]
        if not name or name in taken or name in result or name in RESERVED or name.startswith("_"):
            name = f"metadata_{name}"
        plain, count = name, 1
        while name in taken or name in result:
            count += 1
            name = f"{plain}_{count}"
        result[name] = attribute_value(value)
    return result
