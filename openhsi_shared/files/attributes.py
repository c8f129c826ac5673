"""Attributes of files, variables and groups as plain values."""

from collections.abc import Callable, Iterator
from typing import Any

import h5py
import numpy as np
from h5py import h5a, h5t

from openhsi_shared.dataset import ATTRIBUTE_CHECKSUMS, CONTENTS_CHECKSUMS
from openhsi_shared.files.checksums import COLUMN_CHECKSUM

__all__ = ["OF_LIBRARIES", "attributes_of", "in_order", "in_own_type", "is_in_heap", "plain"]

OF_LIBRARIES = {"CLASS", "NAME", "DIMENSION_LIST", "REFERENCE_LIST", "DIMENSION_LABELS"}
OF_LIBRARIES |= {"_Netcdf4Dimid", "_Netcdf4Coordinates", "_NCProperties", "_nc3_strict"}
"""What HDF5 and netCDF say to themselves."""
HIDDEN = OF_LIBRARIES - {"DIMENSION_LABELS", "_nc3_strict"} | {ATTRIBUTE_CHECKSUMS, CONTENTS_CHECKSUMS}
OF_OURS = {COLUMN_CHECKSUM, ATTRIBUTE_CHECKSUMS, CONTENTS_CHECKSUMS, "_Encoding"}
"""What this library writes besides the attributes that it was given."""


def attributes_of(target: Any, check_heap: Callable[[], None]) -> dict[str, Any]:
    """Attributes of a variable, group or file, without what libraries say to themselves.

    `check_heap` is called before one is read that lies in HDF5's global heap, which has no checksum.
    """
    found = {}
    for name in target.attrs:
        if name not in HIDDEN:
            if is_in_heap(target.attrs.get_id(name).get_type()):
                check_heap()
            found[name] = plain(target.attrs[name])
    return found


def in_order(target: Any) -> Iterator[tuple[int, str]]:
    """Names of attributes with the number of each in the order in which they were made; nothing if that is unknown."""
    for name in target.attrs:
        known = h5a.get_info(target.id, name.encode("utf-8"))
        if known.corder_valid:
            yield known.corder, name


def is_in_heap(kind: Any) -> bool:
    """Whether values of this type of HDF5 lie in its global heap."""
    is_text = kind.get_class() == h5t.STRING
    return bool(kind.is_variable_str()) if is_text else bool(kind.detect_class(h5t.VLEN))


def in_own_type(target: Any, name: str) -> Any:
    """An attribute as a text, or as numbers in the type in which they are stored."""
    value = target.attrs[name]
    is_number = isinstance(value, np.ndarray | np.generic) and value.dtype.kind in "iuf"
    return value if is_number else plain(value)


def plain(value: Any) -> Any:
    """A text, a number, a row of numbers, or a list of texts."""
    if isinstance(value, h5py.Empty):
        return ""
    if isinstance(value, np.ndarray) and value.size == 1:
        value = value.reshape(-1)[0]
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace").rstrip("\0")
    if isinstance(value, np.ndarray) and value.dtype.kind in "SO":
        return [item.decode("utf-8", "replace") if isinstance(item, bytes) else item for item in value.tolist()]
    return value.item() if isinstance(value, np.generic) else value
