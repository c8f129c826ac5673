"""Attributes of files, variables and groups as plain values."""

from collections.abc import Callable, Iterator
from typing import Any

import h5py
import numpy as np
from h5py import h5a, h5t

from openhsi_shared.dataset import ATTRIBUTE_CHECKSUMS, CONTENTS_CHECKSUMS
from openhsi_shared.files.checksums import COLUMN_CHECKSUM

__all__ = ["LIBRARY_ATTRIBUTES", "attributes_of", "creation_order", "is_in_heap", "plain", "typed_attribute"]

LIBRARY_ATTRIBUTES = {"CLASS", "NAME", "DIMENSION_LIST", "REFERENCE_LIST", "DIMENSION_LABELS"}
LIBRARY_ATTRIBUTES |= {"_Netcdf4Dimid", "_Netcdf4Coordinates", "_NCProperties", "_nc3_strict"}
"""Attributes that HDF5 and netCDF write for their own use."""
HIDDEN_ATTRIBUTES = LIBRARY_ATTRIBUTES - {"DIMENSION_LABELS", "_nc3_strict"} | {ATTRIBUTE_CHECKSUMS, CONTENTS_CHECKSUMS}
OWN_ATTRIBUTES = {COLUMN_CHECKSUM, ATTRIBUTE_CHECKSUMS, CONTENTS_CHECKSUMS, "_Encoding"}
"""Attributes that this library writes besides those that it was given."""


def attributes_of(target: Any, check_heap: Callable[[], None]) -> dict[str, Any]:
    """Attributes of a variable, group or file, without those that libraries write for their own use.

    `check_heap` is called before an attribute is read from HDF5's global heap, which has no checksum.
    """
    found = {}
    for name in target.attrs:
        if name not in HIDDEN_ATTRIBUTES and isinstance(name, str):  # h5py gives names that are not UTF-8 as bytes
            if is_in_heap(target.attrs.get_id(name).get_type()):
                check_heap()
            found[name] = plain(target.attrs[name])
    return found


def creation_order(target: Any) -> Iterator[tuple[int, str]]:
    """Names of attributes, each with its number in creation order; none where that order is unknown."""
    for name in target.attrs:
        is_text = isinstance(name, str)
        known = h5a.get_info(target.id, name.encode("utf-8") if is_text else name)
        if known.corder_valid:
            yield known.corder, name if is_text else name.decode("utf-8", "backslashreplace")


def is_in_heap(kind: Any) -> bool:
    """Whether values of this HDF5 type are stored in its global heap."""
    is_text = kind.get_class() == h5t.STRING
    return bool(kind.is_variable_str()) if is_text else bool(kind.detect_class(h5t.VLEN))


def typed_attribute(target: Any, name: str) -> Any:
    """An attribute as a text, or as numbers in their stored type."""
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
