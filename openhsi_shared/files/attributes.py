"""Attributes of files, variables and groups as plain values."""

from collections.abc import Callable, Iterator, Mapping
from functools import cached_property, lru_cache
from typing import Any

import h5py
import numpy as np
from h5py import h5a, h5t

from openhsi_shared.dataset import ATTRIBUTE_CHECKSUMS, CONTENTS_CHECKSUMS
from openhsi_shared.files.checksums import COLUMN_CHECKSUM

__all__ = [
    "LIBRARY_ATTRIBUTES",
    "StoredAttributes",
    "attributes_of",
    "creation_order",
    "is_in_heap",
    "plain",
    "typed_attribute",
]

LIBRARY_ATTRIBUTES = {"CLASS", "NAME", "DIMENSION_LIST", "REFERENCE_LIST", "DIMENSION_LABELS"}
LIBRARY_ATTRIBUTES |= {"_Netcdf4Dimid", "_Netcdf4Coordinates", "_NCProperties", "_nc3_strict"}
"""Attributes that HDF5 and netCDF write for their own use."""
HIDDEN_ATTRIBUTES = LIBRARY_ATTRIBUTES - {"DIMENSION_LABELS", "_nc3_strict"} | {ATTRIBUTE_CHECKSUMS, CONTENTS_CHECKSUMS}
OWN_ATTRIBUTES = {COLUMN_CHECKSUM, ATTRIBUTE_CHECKSUMS, CONTENTS_CHECKSUMS, "_Encoding"}
"""Attributes that this library writes besides those that it was given."""


class StoredAttributes(Mapping[str | bytes, Any]):
    """Attributes of a variable, group or file, as h5py returns them; each is read once.

    Names that are not UTF-8 are bytes. Raises the errors of h5py.
    """

    def __init__(self, target: Any, check_heap: Callable[[], None]) -> None:
        """`check_heap` is called before an attribute is read from HDF5's global heap, which has no checksum."""
        self._attrs, self._check_heap = target.attrs, check_heap
        self._values: dict[str | bytes, Any] = {}

    def __getitem__(self, name: str | bytes) -> Any:
        if name not in self._values:
            self._values[name] = self._read(name)
        value = self._values[name]
        return value.copy() if isinstance(value, np.ndarray) else value

    def _read(self, name: str | bytes) -> Any:
        """As h5py, in half the time for what is not in the heap."""
        attribute = self._attrs.get_id(name)
        kind = attribute.get_type()
        if is_in_heap(kind):
            self._check_heap()
        shape, dtype = attribute.shape, kind.dtype
        if shape is None or dtype.kind not in "iufS":
            return self._attrs[name]
        value = np.zeros(shape, dtype)
        attribute.read(value, mtype=kind if dtype.kind == "S" else _in_memory(dtype))
        return value if value.ndim else value[()]

    def __contains__(self, name: object) -> bool:
        return name in self._values or name in self._attrs

    @cached_property
    def _names(self) -> tuple[str | bytes, ...]:
        return tuple(self._attrs)

    def __iter__(self) -> Iterator[str | bytes]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)


@lru_cache(maxsize=64)
def _in_memory(dtype: np.dtype[Any]) -> Any:
    return h5t.py_create(dtype)


def attributes_of(stored: StoredAttributes) -> dict[str, Any]:
    """Attributes of a variable, group or file, without those that libraries write for their own use."""
    return {name: plain(stored[name]) for name in stored if isinstance(name, str) and name not in HIDDEN_ATTRIBUTES}


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


def typed_attribute(stored: StoredAttributes, name: str) -> Any:
    """An attribute as a text, or as numbers in their stored type."""
    value = stored[name]
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
